"""The search, in a real browser on the real site: a gold set of queries, its speed, its keys."""

import json
import zlib
from pathlib import Path

import pytest
import yaml

from scripts.site.index import INDEX, WORDS

pytestmark = pytest.mark.browser
GOLD = yaml.safe_load((Path(__file__).parent / "search_gold.yml").read_text(encoding="utf-8"))
QUERIES = [
    (query, [right] if isinstance(right, str) else right) for group in GOLD.values() for query, right in group.items()
]
ANSWER = """async (queries) => {
  await Catalog.ready(); await Catalog.words();
  return queries.map((query) => Catalog.search(query).slice(0, 10).map((hit) => hit.document.page.replace(/\\/$/, "")));
}"""


def held_out(query: str) -> bool:
    """The third of the queries that nothing is ever tuned on."""
    return zlib.crc32(query.encode()) % 3 == 0


@pytest.fixture(scope="module")
def answers(browser, address):
    page = browser.new_page()
    page.goto(address + "/")
    found = page.evaluate(ANSWER, [query for query, _ in QUERIES])
    page.close()
    return dict(zip((query for query, _ in QUERIES), found))


def test_the_gold_set_is_what_it_says():
    assert len(QUERIES) == len({query for query, _ in QUERIES}) >= 250
    assert 0.28 < sum(held_out(query) for query, _ in QUERIES) / len(QUERIES) < 0.4


def test_right_pages_of_the_gold_set_exist(real_site):
    for query, right in QUERIES:
        assert any((real_site / page / "index.html").exists() for page in right), query


@pytest.mark.parametrize("part", ["tuned", "held out"])
def test_gold_set(answers, part):
    queries = [(query, right) for query, right in QUERIES if held_out(query) == (part == "held out")]
    places = {q: next((i for i, page in enumerate(answers[q]) if page in right), 99) for q, right in queries}
    first = sum(place == 0 for place in places.values()) / len(places)
    three = sum(place < 3 for place in places.values()) / len(places)
    # What fails on the held-out part is not shown, so that nobody is led to mend it.
    missed = [q for q, place in places.items() if place] if part == "tuned" else "not shown"
    print(f"{part}: {len(places)} queries, first {first:.1%}, among three {three:.1%}; not first: {missed}")
    assert first >= 0.92 and three >= 0.98, missed


def enlarged(text: str, entries: int) -> str:
    """The index script or the words script as if the catalog had so many entries."""
    head, _, body = text.partition("=")
    data = json.loads(body.rstrip().rstrip(";"))
    if "names" not in data:
        data["entries"] = (data["entries"] * (entries // len(data["entries"]) + 1))[:entries]
        return f"{head}={json.dumps(data)};"
    size = len(data["names"])
    turn = lambda name, n: name if not n else name[::-1] + " " + chr(96 + n)  # noqa: E731
    numbers = [(i % size, i // size) for i in range(entries)]
    for column in ("names", "full"):
        data[column] = [turn(data[column][i], n) if data[column][i] else "" for i, n in numbers]
    data["aliases"] = ["|".join(turn(a, n) for a in data["aliases"][i].split("|") if a) for i, n in numbers]
    ids = data["ids"].split(",")
    data["ids"] = ",".join((ids[i] or f"id{i}") + (f"_{n}" if n else "") for i, n in numbers)
    data["weight"] = "".join(data["weight"][i] for i, n in numbers)
    for code, column in data["values"].items():
        values = column.split(",")
        data["values"][code] = ",".join(values[i] for i, n in numbers)
    return f"{head}={json.dumps(data)};"


def with_entries(page, real_site, entries: int) -> None:
    """Lets a page see a catalog of so many entries."""

    def answer(route):
        path = route.request.url.partition("/assets/")[2]
        text = (real_site / "assets" / path).read_text(encoding="utf-8")
        route.fulfill(body=enlarged(text, entries), content_type="text/javascript")

    for path in (INDEX, WORDS):
        page.route(f"**/{path}", answer)


def test_answers_within_100_ms_at_1000_entries(browser, address, real_site):
    page = browser.new_page()
    with_entries(page, real_site, 1000)
    page.goto(address + "/")
    ready, times = page.evaluate(
        """async (queries) => {
          const now = () => performance.now();
          const timed = (query) => { const t = now(); Catalog.search(query); return now() - t; };
          await Catalog.ready(); await Catalog.words();
          return [timed("first"), queries.map(timed)];
        }""",
        [query for query, _ in QUERIES],
    )
    each = sorted(times)
    middle, most = each[len(each) // 2], each[int(0.95 * len(each))]
    print(
        f"1,000 entries: ready in {ready:.0f} ms; then median {middle:.1f}, 95 % {most:.1f}, slowest {each[-1]:.0f} ms"
    )
    assert most < 100
    page.close()


def test_keys_and_roles(browser, address):
    page = browser.new_page()
    page.goto(address + "/verification/")
    page.keyboard.press("s")
    box = page.get_by_role("combobox", name="Search the catalog")
    assert box.evaluate("e => e === document.activeElement") and box.get_attribute("aria-expanded") == "false"
    page.keyboard.type("mocov2")
    options = page.locator("[role=listbox] [role=option]")
    options.first.wait_for()
    assert box.get_attribute("aria-expanded") == "true"
    assert "MoCo v2" in options.first.inner_text() and "framework" in options.first.inner_text()
    page.keyboard.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    assert options.first.get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowUp")
    assert box.get_attribute("aria-activedescendant") is None
    page.keyboard.press("Escape")
    assert box.get_attribute("aria-expanded") == "false" and box.input_value() == "mocov2"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/frameworks/moco_v2/")
    page.keyboard.press("/")
    page.keyboard.type("sentinel 2 change")
    page.keyboard.press("Enter")
    page.wait_for_url("**/explore/?q=sentinel%202%20change")
    page.locator(".rows li").first.wait_for()
    page.close()


def test_nothing_found_says_so(browser, address):
    page = browser.new_page()
    page.goto(address + "/")
    page.keyboard.press("/")
    page.keyboard.type("qqqxxyyzz")
    page.locator(".find__status", has_text="Nothing found").wait_for()
    page.close()


def test_without_script_the_box_is_a_link(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "/frameworks/mae/")
    assert not page.locator(".find__input").is_visible()
    page.locator(".find").get_by_role("link").click()
    page.wait_for_url("**/explore/")
    page.locator(".facets").get_by_role("link", name="SAR").first.click()
    assert page.locator("ul.names a").count() > 10
    context.close()


def test_works_from_a_file(browser, real_site):
    page = browser.new_page()
    page.goto((real_site / "terms" / "view" / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("ijepa")
    page.locator(".find__list a").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/frameworks/i_jepa/index.html")
    page.close()
