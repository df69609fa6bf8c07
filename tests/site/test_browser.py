"""The way of a visitor, in a real browser: home, search by an alias, open the entry, copy its command."""

import pytest

from refimpl import registry
from scripts.catalog import load_catalog

pytestmark = pytest.mark.browser


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
    page.keyboard.type(alias)
    result = page.locator(f'.find__list a[href*="frameworks/{entry.id}/"]').first
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
