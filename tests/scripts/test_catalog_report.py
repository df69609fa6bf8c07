"""The counts of the catalog add up, and follow what entries say."""

from __future__ import annotations

import json

from scripts.catalog import load_catalog
from scripts.catalog_report import COLUMNS, main, report


def test_counts_of_a_small_catalog(small_catalog, capsys):
    path = small_catalog / "frameworks/alpha.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("supports: [code]", "supports: [code.url]"), encoding="utf-8")
    found = report(load_catalog(small_catalog))
    frameworks = found["kinds"]["framework"]
    assert frameworks == {
        **{"entries": 2, "confirmed": 1, "generic": 0, "unidentified": 1, "rows": 1, "corrections": 1, "results": 1},
        **{"sourced": 14, "unbacked": 1, "recalled": 0, "unknown": 2, "whole": 1},
    }
    assert found["all"]["entries"] == 5 and found["all"]["rows"] == 1
    assert len(found["missing"]) == 177 and "F01" not in found["missing"]
    assert main(["--catalog", str(small_catalog), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_counts_of_the_catalog_add_up(capsys):
    found = report(load_catalog())
    for column in COLUMNS:
        if column != "rows":
            assert found["all"][column] == sum(numbers[column] for numbers in found["kinds"].values())
    assert found["missing"] == []
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == list(COLUMNS)
