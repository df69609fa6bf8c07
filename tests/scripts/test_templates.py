"""A template, copied, is right but for the words that have to be replaced; so is all that it offers in comments."""

from __future__ import annotations

import re

import pytest

from scripts.catalog import FOLDERS, ROOT, load_catalog
from scripts.validate import validate

COMMENTED = re.compile(r"^( *)# (?= *(- |[a-z_]+:|\w))", re.MULTILINE)


@pytest.fixture
def copy(small_catalog, add_entry):
    """copy(kind, text): puts a template's text where an entry of its kind belongs, under the id the template has.

    The entries that templates link to are there too.
    """
    add_entry("pretext_task", "Instance_discrimination", "family: predictive\n")
    add_entry("dataset", "ImageNet", "modality: [rgb]\nfacts:\n  classes: 2\n")

    def put(kind: str, text: str):
        path = small_catalog / FOLDERS[kind] / f"{kind}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return put


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_copied_template_lacks_only_its_own_words(small_catalog, copy, problems, kind):
    path = copy(kind, (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8"))
    found = problems(small_catalog, path)
    assert {"name", "summary"} <= {p.wrong.split()[0] for p in found}
    assert [p.message for p in found if "is still the template's" not in p.wrong] == []


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_filled_in_template_is_right(small_catalog, copy, today, kind):
    text = (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8")
    for old in ("name: Name", "  One to four", "  What the word", "title: Title as", "  predicts: What"):
        text = text.replace(old, old + " other")
    path = copy(kind, text)
    assert validate(small_catalog, [path], today).summary == "1 entry, 0 errors"


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_a_template_offers_in_comments_is_right_too(small_catalog, copy, problems, kind):
    _, start, body = (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8").partition("id: ")
    path = copy(kind, start + COMMENTED.sub(r"\1", body))
    unavoidable = ("is still the template's", "there is no ", "not a term", "this entry does say", "https://...")
    assert [p.message for p in problems(small_catalog, path) if not any(u in p.wrong for u in unavoidable)] == []
    offered = set(re.findall(r"^(?:# )?([a-z_]+):", body, re.MULTILINE)) | {"id"}
    assert set(load_catalog().schemas[kind].order) - offered <= {"closest"}
