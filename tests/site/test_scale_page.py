"""The page of several processes: without a file, with one, with one that is wrong."""

from __future__ import annotations

import pytest

from scripts.scale_table import STRONG, WEAK, NotScale, Scale, Scaled
from scripts.site import benchmarks, scaling


def made(device: str = "CPU X") -> Scale:
    rows = [
        Scaled(STRONG, 1, False, 64, 40.0, 39.0, 41.0, 0.02, 44.0),
        Scaled(STRONG, 4, True, 64, 60.0, 60.0, 60.0, 0.025, 11.0, 2.5e-6, 0.01),
        Scaled(WEAK, 4, False, 256, 70.0, 60.0, 75.0, 0.03, 44.0),
    ]
    settings = {"method": "simclr", "backbone": "resnet18", "quick": False}
    return Scale("2026-01-02T03:04:05Z", "abc", device, "cpu", 2, {"torch": "2"}, settings, rows)


def test_without_a_file_it_says_how_to_get_one(tmp_path):
    page = scaling.page(scaling.read_all(tmp_path / "nowhere"))
    assert "No measurement is on record yet" in page and "python -m scripts.scale" in page


def test_a_table_is_shown_and_four_processes_on_two_cores_are_said(tmp_path):
    (tmp_path / "scale-x.json").write_text(made("<X>").as_json())
    found = scaling.read_all(tmp_path)
    assert found == [("scale-x.json", made("<X>"))]
    page = scaling.page(found)
    for told in ("&#60;X&#62;", "4, sharded", "1.50 <svg", "1.75 <svg", "2.5e-06", "1.0e-02",
                 "This machine has 2 cores.",
                 "More processes than that share them", "method simclr, backbone resnet18", "44 MiB", "≤ 1.60",
                 "api/v1/benchmarks/scale-x.json"):  # fmt: skip
        assert told in page, told
    assert page.count('scope="row">1<') == 2, "one process stands in both tables"
    assert benchmarks.read_all(tmp_path) == []


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "scale-x.json").write_text('{"scale": 1, "rows": 3}')
    with pytest.raises(NotScale, match=r"scale-x\.json"):
        scaling.read_all(tmp_path)
