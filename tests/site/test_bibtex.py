import re

import pytest

from scripts.site.bibtex import bibtex

PAPER = {"title": "Learning", "authors": ["Ann Bee"], "year": 2020}


def test_a_conference_paper():
    shown = bibtex("simclr", {**PAPER, "authors": ["Ann Bee", "Ché Dé"], "venue": "ICML", "arxiv": "2002.05709"})
    assert shown.startswith("@inproceedings{bee2020simclr,")
    assert "author = {Ann Bee and Ché Dé}" in shown
    assert "booktitle = {ICML}" in shown
    assert "eprint = {2002.05709}" in shown


@pytest.mark.parametrize(
    "venue, kind", [("IEEE TGRS", "article"), ("arXiv", "misc"), ("CVPR Workshops", "inproceedings")]
)
def test_kind_follows_the_venue(venue, kind):
    assert bibtex("x", {**PAPER, "venue": venue}).startswith(f"@{kind}{{")


@pytest.mark.parametrize(
    "title", ["50% & more_than {one} #1 $2", "}, note = {injected", "back\\slash ^ ~", "{{{", "}}}"]
)
def test_braces_stay_balanced_and_specials_are_escaped(title):
    shown = bibtex("x", {**PAPER, "title": title, "doi": "10.1/a}b_c"})
    bare = re.sub(r"\\[{}%&#$_]", "", shown)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert not re.search(r"(?<!\\)[%&#$]", bare.partition("title")[2].partition("author")[0])
    assert "doi = {10.1/a%7Db_c}" in shown
    assert len(re.findall(r"^  \w+ = ", shown, re.MULTILINE)) == 4


def test_names_that_bibtex_would_split_are_braced():
    shown = bibtex("x", {**PAPER, "authors": ["Research and Data Group", "Li, Wei", "Bo Chu"]})
    assert "author = {{Research and Data Group} and {Li, Wei} and Bo Chu}" in shown


def test_an_odd_paper_still_has_a_key():
    assert bibtex("a_b", {"title": "T", "authors": ["李"], "year": 2020}).startswith("@misc{2020ab,")
