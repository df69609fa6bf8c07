"""The explorer, in a real browser, against the pages that do without it."""

import csv
import io
import json
import re

import pytest

from scripts.site.index import INDEX
from tests.site.test_index import value
from tests.site.test_search import with_entries

pytestmark = pytest.mark.browser
STATE = """(query) => {
  history.replaceState(null, "", location.pathname + query);
  dispatchEvent(new PopStateEvent("popstate"));
  return Catalog.found();
}"""


@pytest.fixture(scope="module")
def explorer(browser, address):
    page = browser.new_page()
    page.goto(address + "/explore/")
    page.locator(".rows li").first.wait_for()
    page.evaluate("Catalog.words()")
    yield page
    page.close()


@pytest.fixture
def fresh(browser, address):
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    raised = []
    page.on("pageerror", lambda error: raised.append(str(error)))
    page.goto(address + "/explore/")
    page.locator(".rows li").first.wait_for()
    yield page
    assert raised == []
    context.close()


def listed(path) -> list[str]:
    """Addresses of the entries that a facet page lists."""
    lists = re.findall(r'<ul class="names">(.*?)</ul>', path.read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r'href="(?:\.\./)*([a-z_]+/[a-z0-9_]+)/"', "".join(lists))


def test_explorer_and_page_of_every_facet_value_hold_the_same_entries(explorer, real_site):
    data = value(real_site, INDEX)
    folder = {kind: name for kind, name, *_ in data["kinds"]}
    checked = 0
    for code, _, values in data["facets"]:
        for name, _ in values:
            found = explorer.evaluate(STATE, f"?{code}={name}")
            pages = sorted(f"{folder[key.split('/')[0]]}/{key.split('/')[1]}" for key in found)
            assert pages == sorted(listed(real_site / "facets" / code / name / "index.html")), f"{code}/{name}"
            assert pages, f"{code}/{name}"
            checked += 1
    assert checked > 100
    assert checked == len(list((real_site / "facets").glob("*/*/index.html")))


def test_and_across_facets_or_within_one(explorer):
    sar, rgb, both, change, mixed = (
        set(explorer.evaluate(STATE, query))
        for query in (
            "?modality=sar", "?modality=rgb", "?modality=sar,rgb", "?task=change_detection",
            "?modality=sar,rgb&task=change_detection",
        )
    )  # fmt: skip
    assert both == sar | rgb and mixed == both & change and mixed and mixed != change


def test_counts_say_what_a_further_tick_would_leave(explorer):
    explorer.evaluate(STATE, "?modality=sar&kind=dataset")
    shown = explorer.locator('details[data-facet="kind"] li', has_text="Frameworks").inner_text()
    sar_datasets = explorer.locator('details[data-facet="modality"] li', has_text="SAR").inner_text()
    assert int(shown.split()[-1]) == len(explorer.evaluate(STATE, "?modality=sar&kind=framework"))
    assert int(sar_datasets.split()[-1]) == len(explorer.evaluate(STATE, "?modality=sar&kind=dataset"))


def test_words_and_filters_together(explorer):
    found = explorer.evaluate(STATE, "?q=satmea")
    assert found[0] == "framework/satmae"
    assert "framework/leenstra_2021_change_detection" in explorer.evaluate(STATE, "?q=sentinel+2&task=change_detection")


@pytest.mark.parametrize("sort", ["name", "year", "rung", "kind"])
def test_sorting(explorer, sort):
    explorer.evaluate(STATE, f"?kind=framework,dataset&sort={sort}")
    order = explorer.evaluate(
        """(sort) => Catalog.found().map((key) => {
          const entry = Catalog.data().byKey[key];
          return { name: entry.name, year: -Number(Catalog.labels(entry, "year")[0] || 0), rung: -entry.has.rung.length,
                   kind: entry.has.kind[0] }[sort];
        })""",
        sort,
    )
    if sort == "name":
        assert [n[0].lower() for n in order if n[0].isalpha()] == sorted(n[0].lower() for n in order if n[0].isalpha())
    else:
        assert order == sorted(order)


def test_clicks_write_the_address_and_the_address_restores_them(fresh):
    fresh.locator('details[data-facet="modality"]').get_by_label("Hyperspectral").check()
    fresh.get_by_label("Find").fill("unmixing")
    fresh.get_by_label("Sort by").select_option("year")
    fresh.wait_for_url("**/explore/?q=unmixing&modality=hyperspectral&sort=year")
    said = fresh.locator(".count").inner_text()
    assert fresh.locator(".count").get_attribute("aria-live") == "polite"
    fresh.reload()
    fresh.locator(".rows li").first.wait_for()
    assert fresh.locator('details[data-facet="modality"]').get_by_label("Hyperspectral").is_checked()
    assert fresh.get_by_label("Find").input_value() == "unmixing"
    fresh.wait_for_function("said => document.querySelector('.count').innerText === said", arg=said)
    fresh.get_by_role("button", name="Remove filter all filters").click()
    assert fresh.url.endswith("/explore/?sort=year")


def test_keyboard_alone(fresh):
    fresh.get_by_label("Frameworks").focus()
    fresh.keyboard.press("Space")
    fresh.wait_for_url(re.compile("kind=framework"))
    fresh.locator(".more").focus()
    fresh.keyboard.press("Enter")
    fresh.wait_for_function("document.querySelectorAll('.rows li').length === 120")
    assert fresh.evaluate("document.activeElement === document.querySelectorAll('.rows li a')[60]")


def exported(page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.path().read_text(encoding="utf-8")


def test_export(fresh):
    fresh.locator('details[data-facet="modality"]').get_by_label("Hyperspectral").check()
    keys = fresh.evaluate("Catalog.found()")
    table = list(csv.DictReader(io.StringIO(exported(fresh, "CSV"))))
    assert [f"{row['kind']}/{row['id']}" for row in table] == keys
    assert all("hyperspectral" in row["modality"].split("; ") for row in table)
    objects = json.loads(exported(fresh, "JSON"))
    assert [f"{o['kind']}/{o['id']}" for o in objects] == keys and objects[0]["aliases"] is not None
    references = exported(fresh, "BibTeX")
    assert len(re.findall(r"^@\w+\{", references, re.MULTILINE)) > len(keys) / 2
    fresh.locator(".rows input").nth(0).check()
    fresh.locator(".rows input").nth(1).check()
    assert len(json.loads(exported(fresh, "JSON"))) == 2


def test_selection_leads_to_a_comparison_of_at_most_five(fresh):
    for number in range(5):
        fresh.locator(".rows input").nth(number).check()
    assert fresh.locator(".rows input").nth(5).is_disabled()
    keys = [fresh.locator(".rows li").nth(n).get_attribute("data-key") for n in range(5)]
    fresh.get_by_role("link", name="Compare 5").click()
    fresh.wait_for_url("**/compare/?ids=" + ",".join(keys))
    fresh.locator("table.versus thead th").nth(4).wait_for()


def test_3000_entries_stay_quick(browser, address, real_site):
    page = browser.new_page()
    with_entries(page, real_site, 3000)
    page.goto(address + "/explore/")
    page.locator(".rows li").nth(59).wait_for()
    assert "3000 entries" in page.locator(".count").inner_text() and page.locator(".rows li").count() == 60
    page.evaluate("() => Catalog.search('warm')")
    times = page.evaluate(
        """() => ["?kind=framework", "?modality=sar&task=change_detection", "?q=contrastive", ""].map((query) => {
          const started = performance.now();
          history.replaceState(null, "", location.pathname + query);
          dispatchEvent(new PopStateEvent("popstate"));
          document.body.offsetHeight;
          return performance.now() - started;
        })"""
    )
    print("a change at 3,000 entries, ms:", [round(t) for t in times])
    assert min(times) < 200 and sorted(times)[2] < 500
    page.close()


def test_from_a_file_without_network(browser, real_site):
    context = browser.new_context(offline=True, accept_downloads=True)
    page = context.new_page()
    page.goto((real_site / "explore" / "index.html").as_uri() + "?modality=sar")
    page.locator(".rows li").first.wait_for()
    page.get_by_label("Datasets").check()
    assert len(json.loads(exported(page, "JSON"))) == len(page.evaluate("Catalog.found()")) > 3
    assert exported(page, "BibTeX").startswith("@")
    page.locator(".rows a").first.click()
    page.wait_for_url("**/datasets/*/index.html")
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "place", ["explore/", "facets/sensor/sentinel_2/", "compare/?ids=framework/mae,framework/byol"]
)
def test_pages_fit_the_screen(browser, address, width, place):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(f"{address}/{place}")
    page.locator("h1").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("width", [412, 1280])
@pytest.mark.parametrize(
    "place, last", [("explore/", ".rows li"), ("compare/?ids=framework/mae,framework/byol", "table.versus")]
)
def test_the_page_stays_where_it_is_while_it_starts(browser, address, width, place, last):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.add_init_script(
        """window.moved = 0;
        new PerformanceObserver((list) => list.getEntries().forEach((e) => (window.moved += e.value)))
          .observe({ type: "layout-shift", buffered: true });"""
    )
    page.goto(address + "/" + place)
    page.locator(last).first.wait_for()
    page.wait_for_timeout(300)
    moved = page.evaluate("window.moved")
    print(f"layout shift of {place} {moved:.3f}")
    assert moved < 0.02
    page.close()
