"""The list that this catalog started from: every row has an entry, and every entry names real rows."""

from __future__ import annotations

import csv
import re

from scripts.catalog import ROOT, load_catalog


def test_rows_are_whole():
    with (ROOT / "origin.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 178
    assert list(rows[0]) == ["row", "kind", "name"]
    assert len({row["row"] for row in rows}) == 178
    assert all(re.fullmatch(r"[A-Z]\d\d", row["row"]) and row["kind"] and row["name"] for row in rows)


def test_every_row_stands_in_an_entry_and_every_origin_is_a_row():
    catalog = load_catalog()
    named = {row for entry in catalog.entries.values() for row in entry.get("origin", list, [])}
    assert sorted(set(catalog.rows) - named) == [], "rows without an entry"
    assert sorted(named - set(catalog.rows)) == [], "origins that are no rows"


def test_an_entry_made_from_a_row_says_what_that_row_has_wrong_by_a_source():
    for entry in load_catalog().entries.values():
        keys = {source["key"] for source in entry.get("sources", list, [])}
        assert all(correction["source"] in keys for correction in entry.get("corrections", list, [])), entry.id
        assert "origin" in entry.data or "corrections" not in entry.data, f"{entry.id} corrects a row but names none"
