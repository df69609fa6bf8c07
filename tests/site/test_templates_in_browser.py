"""Every sort of page in a real browser: accessible (axe), light and dark, narrow and wide; steady; and from a file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from refimpl import registry
from scripts.catalog import FOLDERS, load_catalog
from scripts.site import boards
from scripts.site.model import gather

pytestmark = pytest.mark.browser

SEVERE = {"serious", "critical"}


def templates() -> list[str]:
    """An address of every sort of page: one entry of each kind, its listing, one implementation, all single pages."""
    catalog = load_catalog()
    entries = [f"{folder}/{catalog.kind(kind)[0].id}/" for kind, folder in FOLDERS.items()]
    single = ["", "lineage/", "timeline/", "benchmark/", "survival/", "verification/", "contributing/", "background/"]
    single += ["explore/", "compare/", "implementations/", f"implementations/{min(registry.methods())}/"]
    single += ["leaderboards/", "guide/", "taxonomy/", "whats-new/", "running/", "data/", "api/"]
    records = sorted(p.stem for p in (catalog.root / "results").glob("*.json") if ".verify." not in p.name)
    single += ["leaderboards/reported/imagenet/", *(f"records/{name}/" for name in records[:1])]
    single += [f"leaderboards/{board.slug}/" for board in boards.gather(gather(catalog, catalog.root))[:1]]
    return [*single, *(f"{folder}/" for folder in FOLDERS.values()), *entries]


@pytest.fixture(scope="module")
def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 390)])
def test_no_page_has_a_serious_fault_of_accessibility(browser, address, real_site, axe, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    found, looked = [], 0
    for place in templates():
        if not (real_site / place / "index.html").exists():
            continue
        looked += 1
        page.goto(f"{address}/{place}")
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for fault in result["violations"]:
            if fault["impact"] in SEVERE:
                where = "; ".join(node["html"][:90] for node in fault["nodes"][:2])
                found.append(f"/{place}: {fault['id']} ({fault['impact']}, {len(fault['nodes'])}): {where}")
    context.close()
    assert looked > 25
    assert found == [], "\n".join(found)


def test_pages_do_not_jump_while_they_load(browser, address, real_site):
    """No layout shift (Chromium's own measure; up to 0.1 counts as good, here nearly none is allowed)."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(
        "window.shift = 0; new PerformanceObserver(l => l.getEntries().forEach(e => window.shift += e.value))"
        ".observe({type: 'layout-shift', buffered: true});"
    )
    page = context.new_page()
    page.route("**/*.js", lambda route: (time.sleep(0.1), route.continue_()))  # scripts come late, as from afar
    jumping = {}
    for place in templates():
        if (real_site / place / "index.html").exists():
            page.goto(f"{address}/{place}")
            page.wait_for_timeout(150)
            if (shift := page.evaluate("window.shift")) > 0.02:
                jumping[place] = shift
    context.close()
    assert jumping == {}


def test_no_page_is_wider_than_a_phone(browser, address, real_site):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    wide = {}
    for place in templates():
        if (real_site / place / "index.html").exists():
            page.goto(f"{address}/{place}")
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                wide[place] = width
    context.close()
    assert wide == {}
