"""The tree: every entry under its kind and family, counts that add up, words that lead to what has them."""

from __future__ import annotations

import re

import pytest
from real import real, real_facets

from scripts.site import taxonomy
from scripts.site.links import TITLES, entry_page


@pytest.fixture(scope="module")
def page():
    return taxonomy.page(real(), real_facets())


@pytest.mark.parametrize("kind", TITLES)
def test_families_hold_every_entry_of_a_kind_once(kind, page):
    found = taxonomy.families(real(), kind)
    members = [e.id for *_, entries in found for e in entries]
    assert sorted(members) == sorted(e.id for e in real().of_kind(kind))
    assert all(page.count(f'href="../{entry_page(kind, i)}"') == 1 for i in members)
    for name, label, about, _ in found:
        assert label and (about or not name)


def test_families_stand_in_the_order_of_the_vocabulary():
    words = list(real().catalog.vocabulary["framework_family"])
    assert [name for name, *_ in taxonomy.families(real(), "framework")] == words


def test_counts_add_up(page):
    totals = [int(n) for n in re.findall(r'class="kind" open>.*?<i>(\d+)</i>', page)]
    assert sum(totals) == len(real().all) and len(totals) == len(TITLES)
    assert sum(int(n) for n in re.findall(r"</em><b>(\d+)</b></i>", page)) == len(real().all)


def test_words_lead_to_the_page_of_their_value_or_to_nothing(page):
    known = {f"../{f.page(v)}" for f in real_facets() for v in f.values.values()}
    linked = re.findall(r'<dt><a href="([^"]+)"', page)
    assert set(linked) <= known and len(linked) > 40
    for code, vocabulary, _ in taxonomy.LISTS:
        assert page.count("<dt>") >= len(real().catalog.vocabulary[vocabulary]), code


def test_without_pages_of_values_the_words_stand_alone():
    assert "facets/" not in taxonomy.page(real(), [])


def test_a_large_family_names_some_and_leads_to_all(monkeypatch):
    monkeypatch.setattr(taxonomy, "LEAVES", 3)
    page = taxonomy.page(real(), real_facets())
    assert '<a href="../facets/family/framework-contrastive/">all ' in page
    assert page.count('href="../frameworks/') < len(real().of_kind("framework")) / 2
