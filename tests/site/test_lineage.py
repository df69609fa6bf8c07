"""The map of methods and the timeline: nothing overlaps, time never runs backwards, and the words say what is drawn."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from scripts.site import lineage, timeline
from scripts.site.build import ROOT, load_catalog
from scripts.site.model import gather


@pytest.fixture(scope="module")
def site():
    return gather(load_catalog(), ROOT / "no-runs")


@pytest.fixture(scope="module")
def placed(site):
    methods = [e for e in site.of_kind("framework") if e.data.get("year")]
    known = {e.id for e in methods}
    parents = {e.id: [p for p in site.catalog.related(e).get("extends", []) if p.id in known] for e in methods}
    return methods, parents, *lineage.place(methods, parents, site.family)


def test_no_two_methods_stand_in_one_place(site, placed):
    methods, _, places, rows, _ = placed
    spots = [(site.family(e), places[e.id].column, places[e.id].row) for e in methods]
    assert len(set(spots)) == len(methods) > 150
    assert all(places[e.id].row < rows[site.family(e)] for e in methods)


def test_columns_are_years_and_what_extends_stands_to_the_right(placed):
    methods, parents, places, _, years = placed
    assert years == sorted(years)
    assert all(years[places[e.id].column] == e.data["year"] for e in methods)
    wrong = [(e.id, p.id) for e in methods for p in parents[e.id] if places[p.id].column >= places[e.id].column]
    assert wrong == []


class Links(HTMLParser):
    """Addresses of links within and outside of drawings, and how many lines were drawn."""

    def __init__(self, page: str):
        super().__init__()
        self.drawn, self.written, self.lines, self.inside = [], [], 0, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.inside |= tag == "svg"
        self.lines += tag == "path" and "edge" in (values.get("class") or "")
        if tag == "a":
            (self.drawn if self.inside else self.written).append(values["href"])

    def handle_endtag(self, tag):
        self.inside &= tag != "svg"


def test_words_and_drawing_show_the_same_methods_and_links(site, placed):
    methods, parents, *_ = placed
    found = Links(lineage.page(site))
    assert sorted(found.drawn) == sorted(f"../frameworks/{e.id}/" for e in methods)
    assert set(found.drawn) <= set(found.written)
    everyone = site.of_kind("framework")
    links = sum(len(site.catalog.related(e).get("extends", [])) for e in everyone)
    assert len(found.written) == len(everyone) + links
    assert found.lines == sum(map(len, parents.values())) > 100


def test_timeline_has_every_dated_entry_under_its_year(site):
    page = timeline.page(site)
    years = dict(zip(re.findall(r"^## (\d+)", page, re.MULTILINE), re.split(r"^## .*$", page, flags=re.MULTILINE)[1:]))
    dated = [e for e in site.all if e.kind in timeline.KINDS and e.data.get("year")]
    assert len(dated) > 300
    missing = [e.id for e in dated if f"/{e.id}/" not in years[str(e.data["year"])]]
    assert missing == []
    assert sum(len(Links(text).written) for text in years.values()) == len(dated)
