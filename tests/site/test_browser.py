"""The way of a visitor, in a real browser: home, search by an alias, open the entry, copy its command."""

import functools
import http.server
import os
import shutil
import threading

import pytest

from refimpl import registry
from scripts.catalog import load_catalog

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(real_site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(real_site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        assert not os.environ.get("CI"), "no browser found: install chromium (apt-get install chromium)"
        pytest.skip("no browser found: install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


def runnable():
    """An entry with an implementation, and an alias of it that is not its name."""
    for entry in load_catalog().kind("framework"):
        name = entry.get("refimpl.name")
        aliases = [a for a in entry.get("aliases", list, []) if a.lower() != entry.name.lower()]
        if name in registry.methods() and aliases:
            return entry, aliases[0], registry.find(name).command
    raise AssertionError("no framework in the catalog has both an implementation and an alias")


def test_search_an_alias_open_the_entry_copy_its_command(browser, address):
    entry, alias, command = runnable()
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address + "/")
    assert "every entry" in page.locator("h1").inner_text()
    page.keyboard.press("/")
    page.locator(".md-search__input").press_sequentially(alias)  # the search listens to keys, as a visitor presses them
    result = page.locator(f'.md-search-result__link[href*="/frameworks/{entry.id}/"]').first
    result.wait_for(timeout=15_000)
    result.click()
    page.wait_for_url(f"**/frameworks/{entry.id}/**")
    box = page.locator(".cmd", has_text=command)
    box.locator("button.copy").click()
    box.locator("text=Copied").wait_for(timeout=5_000)
    assert page.evaluate("navigator.clipboard.readText()") == command
    assert errors == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen_and_work_without_script(browser, address, width):
    entry, _, command = runnable()
    context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    for place in (
        "",
        "frameworks/",
        f"frameworks/{entry.id}/",
        f"implementations/{entry.get('refimpl.name')}/",
        "terms/",
    ):
        page.goto(f"{address}/{place}")
        assert page.locator("h1").is_visible()
        shot_width = page.locator("body").bounding_box()["width"]
        assert shot_width <= width, place
    page.goto(f"{address}/frameworks/{entry.id}/")
    assert page.get_by_text(command, exact=True).is_visible()
    assert not page.locator("button.copy").first.is_visible()
    context.close()
