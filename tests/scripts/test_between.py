"""What entries say of one another and of a paper that they share."""

from __future__ import annotations

import pytest

PAPER = """\
year: {year}
family: {family}
paper:
  title: {title}
  authors: {authors}
  venue: {venue}
  year: {year}
  arxiv: "{arxiv}"
  doi: {doi}
"""
SAID = {
    "title": "Title of alpha",
    "authors": "[Given Family]",
    "venue": "CVPR",
    "year": "2020",
    "arxiv": "2002.05709",
    "doi": "10.1000/alpha",
}


def sharing(add_entry, kind: str = "technique", family: str = "loss_function", name: str = "Gamma", **other: str):
    """An entry that describes the paper of alpha, but for what `other` says."""
    return add_entry(kind, name, PAPER.format(family=family, **{**SAID, **other}))


def test_entries_of_other_kinds_may_share_a_paper(small_catalog, add_entry, problems):
    sharing(add_entry)
    sharing(add_entry, "pretext_task", "predictive", "Delta")
    assert problems(small_catalog) == []


def test_techniques_may_share_a_paper(small_catalog, add_entry, problems):
    sharing(add_entry)
    sharing(add_entry, name="Delta")
    assert problems(small_catalog) == []


@pytest.mark.parametrize(
    "field, other, told",
    [
        ("title", "Title of Alpha", "paper.title is 'Title of Alpha' but it is 'Title of alpha'"),
        ("authors", "[Gavin Family]", "paper.authors is 'Gavin Family' but it is 'Given Family'"),
        ("authors", "[Given Family, One More]", "paper.authors is '2 authors' but it is '1 authors'"),
        ("venue", "ICCV", "paper.venue is 'ICCV' but it is 'CVPR'"),
        ("year", "2021", "paper.year is '2021' but it is '2020'"),
        ("arxiv", "2002.05710", "paper.arxiv is '2002.05710' but it is '2002.05709'"),
        ("doi", "10.1000/beta", "paper.doi is '10.1000/beta' but it is '10.1000/alpha'"),
    ],
)
def test_entries_that_share_a_paper_say_the_same_of_it(small_catalog, add_entry, problems, field, other, told):
    path = sharing(add_entry, **{field: other})
    found = problems(small_catalog)
    assert [p.path for p in found] == [path]
    line = small_catalog.joinpath("frameworks/alpha.yml").read_text(encoding="utf-8").split(f"\n  {field}: ")[0]
    assert found[0].wrong == f"{told} for the same paper in frameworks/alpha.yml:{line.count(chr(10)) + 2}"
    assert problems(small_catalog, small_catalog / "frameworks/alpha.yml")[0].path.stem == "alpha"


def test_what_only_one_of_two_entries_knows_of_a_paper_is_told(small_catalog, add_entry, problems):
    path = sharing(add_entry)
    path.write_text(path.read_text(encoding="utf-8").replace("  doi: 10.1000/alpha\n", ""), encoding="utf-8")
    found = problems(small_catalog)
    assert [(p.path, p.line) for p in found] == [(path, 7)]
    assert found[0].wrong.startswith("paper lacks doi but it is '10.1000/alpha'")


def test_frameworks_share_a_paper_only_on_purpose(small_catalog, add_entry, problems):
    more = "  url: https://example.org\nmodality: [rgb]\nfacts:\n  predicts: it\n"
    add_entry("framework", "Gamma", PAPER.format(family="contrastive", **SAID) + more)
    found = problems(small_catalog)
    assert [p.wrong for p in found] == [
        "arXiv id '2002.05709' is also that of 'alpha'",
        "DOI '10.1000/alpha' is also that of 'alpha'",
    ]
    assert "related_to: [framework/alpha]" in found[0].right
    add_entry(
        "framework",
        "Gamma",
        PAPER.format(family="contrastive", **SAID) + more + "relations:\n  related_to: [framework/alpha]\n",
    )
    assert problems(small_catalog) == []


def test_a_plus_sign_tells_names_apart(small_catalog, problems):
    path = small_catalog / "frameworks/beta.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("name: Beta", "name: Alpha++"), encoding="utf-8")
    assert problems(small_catalog) == []


def test_a_method_says_that_no_task_fits_it(small_catalog, damage, problems):
    path = small_catalog / "frameworks/alpha.yml"
    damage(path, "[relations.solves_pretext_task, code.weights]", "¦[code.weights]")
    assert [p.wrong for p in problems(small_catalog)] == ["the method names no solves_pretext_task"]
    damage(path, "[code.weights]", "¦[code.weights, relations]")
    assert "this entry does say relations" in problems(small_catalog)[0].wrong


@pytest.mark.parametrize("kind, instead", [("dataset", "url"), ("framework", "code")])
def test_what_has_no_paper_is_shown_by_something_else(small_catalog, add_entry, problems, kind, instead):
    about = {"dataset": "url: https://example.org\n", "framework": "code:\n  url: https://example.org\n"}[kind]
    facts = {"dataset": "  classes: 2\n", "framework": "  predicts: it\n"}[kind]
    known = "relations:\n  related_to: [framework/alpha]\n"
    for text, right in (("", f"add paper or {instead}, or make it generic or unidentified"), (about, None)):
        family = "family: contrastive\n" if kind == "framework" else ""
        path = add_entry(kind, "Gamma", f"{family}{text}modality: [rgb]\nfacts:\n{facts}{known}")
        path.write_text(path.read_text(encoding="utf-8").replace("identity: generic", "identity: confirmed"))
        told = [p.right for p in problems(small_catalog) if p.wrong.startswith("identity")]
        assert told == ([right] if right else [])
