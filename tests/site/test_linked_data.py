"""schema.org data: valid JSON on every page, of a fitting type, and never able to leave its element."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from scripts.catalog import load_catalog
from scripts.site.linked_data import TYPES, linked_data, script

ENTRIES = list(load_catalog().entries.values())


def read(element: str) -> dict:
    return json.loads(re.fullmatch(r'<script type="application/ld\+json">(.*)</script>', element, re.DOTALL)[1])


def test_every_entry_has_a_type_a_name_and_addresses_that_are_addresses():
    for entry in ENTRIES:
        found = read(script(entry))
        assert found["@context"] == "https://schema.org", entry.id
        assert found["@type"] in {TYPES[entry.kind], "SoftwareSourceCode"}, entry.id
        assert found["name"] and (found.get("description") or entry.kind != "dataset"), entry.id
        paper = found.get("citation", found if entry.kind == "survey" else {})
        for url in (found.get("codeRepository"), found.get("url"), *paper.get("sameAs", ())):
            assert url is None or re.match(r"https?://\S+$", url), (entry.id, url)


@pytest.mark.parametrize("kind", ["framework", "dataset", "survey"])
def test_the_paper_is_cited(kind):
    entry = next(e for e in ENTRIES if e.kind == kind and e.get("paper.arxiv"))
    found = linked_data(entry)
    paper = found if kind == "survey" else found["citation"]
    assert f"https://arxiv.org/abs/{entry.data['paper']['arxiv']}" in paper["sameAs"]
    assert [a["name"] for a in paper["author"]] == entry.data["paper"]["authors"]


def test_no_text_ends_the_element():
    entry = next(e for e in ENTRIES if e.kind == "dataset")
    hostile = "</script><script>alert(1)</script> `code` ~~~ <!-- & \u2028"
    entry = replace(entry, document=replace(entry.document, data={**entry.data, "summary": hostile}))
    element = script(entry)
    assert element.count("<") == 2 and "`" not in element and "~" not in element
    assert read(element)["description"].startswith("</script><script>alert(1)</script> `code` ~~~ <!-- &")
