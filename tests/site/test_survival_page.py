"""The page of what runs survive: without a table, with one, and with a file that is none."""

from __future__ import annotations

import pytest

from scripts.fault_table import Case, Faults, Killed, NotFaults
from scripts.site import survival


def table(message: str = "") -> Faults:
    kills = {"start": 3, "steps": 4, "checkpoint": 0, "judging": 1}
    killed = Killed("simclr", "joint_embedding", 2, "command line", kills, 2, 1, 9.5, message)
    case = Case("disk full", 2, 2, "no room", "resumed to the same bits")
    return Faults("2026-01-02T03:04:05Z", "abc", "CPU X", {"torch": "2"}, {}, [killed], [case])


def test_without_a_table_it_says_how_to_get_one(tmp_path):
    page = survival.page(survival.read_all(tmp_path / "nowhere"))
    assert "No table is on record yet" in page and "python -m scripts.faults --kills 100" in page


def test_a_table_is_shown_as_it_was_written(tmp_path):
    (tmp_path / "faults-x.json").write_text(table("a < b").as_json())
    (tmp_path / "other.json").write_text("{}")
    (read,) = survival.read_all(tmp_path)
    assert read == table("a < b")
    page = survival.page([read])
    for told in (
        "simclr",
        "2, command line",
        ">8<",
        "1 of 2",
        "start 3, steps 4, judging 1",
        "a &lt; b",
        "disk full",
        "2 of 2",
    ):
        assert told in page, told


def test_tables_of_one_machine_are_one_section():
    one, other = table(), table()
    other.commit, other.device = "def", "CPU X"
    page = survival.page([one, other])
    assert page.count("## CPU X, ") == 1 and "abc, def" in page and "16 kills; 2 of 4 runs" in page
    other.device = "CPU Y"
    assert survival.page([one, other]).count("### Killed") == 2


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "faults-x.json").write_text('{"faults": 1, "killed": 3}')
    with pytest.raises(NotFaults, match=r"faults-x\.json"):
        survival.read_all(tmp_path)
