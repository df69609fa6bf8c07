"""What's new: the page sums up what is much and tells what is little; the feed is valid and its identifiers stay."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as Xml
from dataclasses import replace
from datetime import datetime

import pytest
from real import real

from scripts.change_log import WHAT, Change, NotALog
from scripts.site import news
from scripts.site.build import SiteError, site_address
from scripts.site.output import Output

ATOM = "{http://www.w3.org/2005/Atom}"
ADDED = ("2026-01-01", "framework", "simclr", "added", "")


class Written:
    """Page, feed and table of a log."""

    def __init__(self, folder, *lines, address=""):
        if lines:
            with (folder / "changes.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("date", "kind", "id", "what", "detail"), *lines])
        output = Output(folder)
        news.write(replace(real(), catalog=replace(real().catalog, root=folder)), output, address)
        self.page, feed, self.table = (
            output.content(path).decode("utf-8") for path in ("whats-new.md", "feed.xml", "api/v1/changes.csv")
        )
        self.feed = Xml.fromstring(feed)
        self.items = self.feed.findall(f"{ATOM}entry")

    def told(self, name: str) -> list[str]:
        return [item.findtext(ATOM + name) for item in self.items]


def test_without_a_log_page_and_feed_are_there_and_empty(tmp_path):
    found = Written(tmp_path)
    assert "Nothing is on record yet" in found.page and found.items == []
    assert found.table == "date,kind,id,what,detail\n"


def test_little_is_told_line_by_line_with_a_link(tmp_path):
    changed, removed = (
        ("2026-01-02", "framework", "simclr", "changed", "facts"),
        ("2026-01-02", "term", "x", "removed", ""),
    )
    page = Written(tmp_path, ADDED, changed, removed).page
    assert page.index("## 2026-01-02") < page.index("## 2026-01-01")
    assert '<a href="../frameworks/simclr/">SimCLR</a> <span class="quiet">facts</span>' in page
    assert "<li>x</li>" in page


def test_much_of_one_sort_on_one_day_is_a_number(tmp_path):
    many = [("2026-01-01", "framework", f"m{n}", "added", "") for n in range(news.TOLD + 1)]
    found = Written(tmp_path, *many)
    assert f'<a href="../frameworks/">{len(many)} frameworks</a>' in found.page
    assert found.told("title") == [f"Added: {len(many)} frameworks"]
    assert found.table.count("\n") == 1 + len(many)
    assert len(Written(tmp_path, *many[:-1]).items) == news.TOLD


def test_the_feed_is_valid(tmp_path):
    found = Written(tmp_path, ADDED, ("2026-01-03", "implementation", "simclr", "broken", "runs"))
    assert found.feed.tag == f"{ATOM}feed"
    assert found.told("title") == ["Broken: SimCLR (runs)", "Added: SimCLR"]
    for element in (found.feed, *found.items):
        for name in ("id", "title", "updated"):
            assert len(element.findall(ATOM + name)) == 1
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", element.findtext(f"{ATOM}id"))
        datetime.fromisoformat(element.findtext(f"{ATOM}updated").replace("Z", "+00:00"))
        assert element.find(f"{ATOM}link[@rel='alternate']").get("href")
    assert found.feed.find(f"{ATOM}author/{ATOM}name") is not None
    assert found.feed.find(f"{ATOM}link[@rel='self']").get("href") == "feed.xml"
    assert found.feed.findtext(f"{ATOM}updated") == "2026-01-03T00:00:00Z"
    assert len({found.feed.findtext(f"{ATOM}id"), *found.told("id")}) == 3


def test_identifiers_stay_for_ever(tmp_path):
    before = Written(tmp_path, ADDED).told("id")
    assert before == ["urn:uuid:89fcbbe6-aef0-58fc-8eeb-9d216370ad4e"]
    assert Written(tmp_path, ADDED, ("2026-01-02", "framework", "simclr", "changed", "facts")).told("id")[1:] == before


def test_links_of_the_feed_are_whole_where_the_address_is_known(tmp_path):
    settings = tmp_path / "mkdocs.yml"
    assert site_address(settings) == ""
    settings.write_text('site_name: a\nsite_url: "https://example.org/a"\n')
    found = Written(tmp_path, ADDED, address=site_address(settings))
    assert [link.get("href").removeprefix("https://example.org/a/") for link in found.feed.iter(f"{ATOM}link")] == [
        "feed.xml", "whats-new/", "frameworks/simclr/",
    ]  # fmt: skip


def test_an_old_name_leads_to_where_the_entry_went(tmp_path):
    site = replace(real(), catalog=replace(real().catalog, moved={("framework", "old"): "simclr"}))
    ((_, (item,)),) = news.days(site, [Change("2026-01-01", "framework", "old", "moved", "simclr")])
    assert (item.name, item.page) == ("SimCLR", "frameworks/simclr/")


def test_nothing_in_the_log_becomes_markup(tmp_path):
    bad = '"><script>hostile()</script> `x` [y](javascript:hostile()) \ufffe'
    found = Written(tmp_path, ("2026-01-01", bad, bad, "changed", bad))
    assert "<script>" not in found.page and "`x`" not in found.page
    assert "<script>hostile()</script>" in found.told("title")[0]


@pytest.mark.parametrize(
    "line, said",
    [
        (
            ("2026-01-01", "framework", "one", "better", ""),
            "changes.csv:2: what is 'better'; right is one of reproduced",
        ),
        (
            ("yesterday", "framework", "one", "added", ""),
            "changes.csv:2: date is 'yesterday'; right is like 2026-01-31",
        ),
        (("2026-01-01", "framework"), "changes.csv:2: 2 cells; right are 5"),
    ],
)
def test_a_damaged_log_is_told_in_one_line(tmp_path, line, said):
    with pytest.raises(NotALog, match=re.escape(said)):
        Written(tmp_path, line)


def test_a_damaged_log_stops_the_build_with_its_line(repository):
    (repository.root / "catalog" / "changes.csv").write_text("a,b\n")
    with pytest.raises(SiteError, match=r"changes\.csv:1: its columns are date, kind, id, what, detail"):
        repository.generate()


def test_every_word_is_explained_and_ordered():
    changes = [Change("2026-01-01", "framework", what, what) for what in reversed(WHAT)]
    ((_, items),) = news.days(real(), changes)
    assert [item.what for item in items] == list(WHAT)


def test_every_page_names_the_feed(real_site):
    for page in ("index.html", "frameworks/simclr/index.html"):
        assert 'type="application/atom+xml"' in (real_site / page).read_text(encoding="utf-8")
    assert Xml.parse(real_site / "feed.xml").getroot().findall(f"{ATOM}entry")
