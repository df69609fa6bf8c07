"""A template, copied, is right but for the words that have to be replaced; so is all that it offers in comments."""

from __future__ import annotations

import re

import pytest

from scripts.catalog import FOLDERS, ROOT, load_catalog
from scripts.validate import validate

COMMENTED = re.compile(r"^( *)# (?= *(- |[a-z_]+:|\w))", re.MULTILINE)


def copy(catalog, kind: str, text: str):
    """Puts a template's text where an entry of its kind belongs, under the id the template has."""
    folder = catalog / FOLDERS[kind]
    folder.mkdir(exist_ok=True)
    path = folder / f"{kind}.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_copied_template_lacks_only_its_own_words(small_catalog, problems, kind):
    path = copy(small_catalog, kind, (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8"))
    found = problems(small_catalog, path)
    assert {"name", "summary"} <= {p.wrong.split()[0] for p in found}
    assert [p.message for p in found if "is still the template's" not in p.wrong] == []


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_filled_in_template_is_right(small_catalog, today, kind):
    text = (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8")
    for old in ("name: Name", "  One to four", "  What the word", "title: Title as", "  predicts: What"):
        text = text.replace(old, old + " other")
    path = copy(small_catalog, kind, text)
    assert validate(small_catalog, [path], today).summary == "1 entry, 0 errors"


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_a_template_offers_in_comments_is_right_too(small_catalog, problems, kind):
    _, start, body = (ROOT / "templates" / f"{kind}.yml").read_text(encoding="utf-8").partition("id: ")
    path = copy(small_catalog, kind, start + COMMENTED.sub(r"\1", body))
    unavoidable = ("is still the template's", "there is no ", "not a term", "this entry does say", "https://...")
    assert [p.message for p in problems(small_catalog, path) if not any(u in p.wrong for u in unavoidable)] == []
    offered = set(re.findall(r"^(?:# )?([a-z_]+):", body, re.MULTILINE)) | {"id"}
    assert set(load_catalog().schemas[kind].order) - offered <= {"closest"}
