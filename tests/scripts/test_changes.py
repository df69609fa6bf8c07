"""The log of changes: what is told, what is not, and that a recording can be cut off and repeated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from refimpl import registry
from scripts import change_log, changes

REAL = Path(__file__).resolve().parents[2] / "catalog"
NAME = next(iter(registry.methods()))


@pytest.fixture
def root(tmp_path) -> Path:
    """A catalog with one framework and one term."""
    shutil.copytree(REAL / "schema", tmp_path / "schema")
    shutil.copy(REAL / "vocabulary.yml", tmp_path)
    entry(tmp_path, "frameworks", "first", last_verified="2026-01-02", year=2020)
    entry(tmp_path, "terms", "view", last_verified="2026-01-03")
    return tmp_path


def entry(root: Path, folder: str, name: str, **fields) -> None:
    path = root / folder / f"{name}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"id": name, "name": name, "summary": "A summary.", **fields}))


def told(root: Path, date: str = "2026-05-05") -> list[tuple[str, str, str, str]]:
    """Records; what of it concerns entries and runs."""
    new = changes.record(root, date)
    return [(c.date, f"{c.kind}/{c.id}", c.what, c.detail) for c in new if c.kind != "implementation"]


def test_the_first_record_takes_the_dates_of_the_entries(root):
    assert told(root) == [
        ("2026-01-02", "framework/first", "added", ""),
        ("2026-01-03", "term/view", "added", ""),
    ]
    assert len(change_log.read(root / "changes.csv")) == 2 + len(registry.methods())


def test_what_did_not_change_is_not_told_and_the_files_stay_as_they_are(root):
    told(root)
    before = [(root / name).read_bytes() for name in (changes.LOG, changes.STATE)]
    assert told(root, "2026-06-06") == []
    assert [(root / name).read_bytes() for name in (changes.LOG, changes.STATE)] == before


def test_added_changed_removed(root):
    told(root)
    entry(root, "frameworks", "first", last_verified="2026-01-02", year=2021, results=[{"value": 1}])
    entry(root, "terms", "new")
    (root / "terms" / "view.yml").unlink()
    assert told(root) == [
        ("2026-05-05", "framework/first", "changed", "paper, scores"),
        ("2026-05-05", "term/new", "added", ""),
        ("2026-05-05", "term/view", "removed", ""),
    ]


@pytest.mark.parametrize(
    "field, part",
    [("summary", "words"), ("paper", "paper"), ("modality", "facts"), ("relations", "links"), ("code", "code"),
     ("results", "scores"), ("last_verified", "sources"), ("a_field_of_the_future", "facts")],
)  # fmt: skip
def test_a_change_names_the_part_of_the_entry(root, field, part):
    entry(root, "frameworks", "first", **{field: "before"})
    told(root)
    entry(root, "frameworks", "first", **{field: "after"})
    assert told(root) == [("2026-05-05", "framework/first", "changed", part)]


def test_the_order_of_keys_and_the_format_are_no_change(root):
    told(root)
    path = root / "frameworks" / "first.yml"
    data = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(dict(reversed(data.items())), sort_keys=False, default_flow_style=True))
    assert told(root) == []


def test_an_entry_that_cannot_be_read_is_not_told_as_removed(root, capsys):
    told(root)
    (root / "frameworks" / "first.yml").write_text("id: first\n  name: x")
    assert changes.main(["--record", "--root", str(root)]) == 2
    assert "first.yml: cannot be read" in capsys.readouterr().err
    assert len(changes.load_state(root / changes.STATE)["entries"]) == 2


def test_a_renamed_entry_is_moved_and_not_new(root):
    told(root)
    (root / "terms" / "view.yml").unlink()
    entry(root, "terms", "new_name")
    (root / "moved.csv").write_text("kind,old,new\nterm,view,new_name\n")
    assert told(root) == [("2026-05-05", "term/view", "moved", "new_name")]


@pytest.mark.parametrize(
    "before, now, happened",
    [
        ("oooo", "rroo", [("reproduced", "runs, matches")]),
        ("rrro", "eeeo", [("expired", "runs, matches, learns")]),
        ("eeeo", "rreo", [("reproduced", "runs, matches")]),
        ("rrro", "roro", [("broken", "matches")]),
        ("eooo", "oooo", [("broken", "runs")]),
        ("eeee", "eeee", []),
        ("rrrr", "oeer", [("broken", "runs"), ("expired", "matches, learns")]),
    ],
)
def test_rungs(before, now, happened):
    found = list(changes._implementations({"m": before}, {"m": now}))
    assert found == [("implementation", "m", *one) for one in happened]


def test_new_and_gone_implementations():
    assert list(changes._implementations({"a": "oooo"}, {"b": "rooo"})) == [
        ("implementation", "a", "removed", ""),
        ("implementation", "b", "added", ""),
        ("implementation", "b", "reproduced", "runs"),
    ]


def test_a_new_record_of_a_run_tells_its_score(root):
    told(root)
    (root / "results").mkdir()
    source = next(REAL.glob("results/simclr-*.json"))
    shutil.copy(source, root / "results")
    ((_, name, what, detail),) = told(root)
    assert (name, what) == (f"run/{source.stem}", "reproduced")
    assert detail.startswith("simclr on ") and " %" in detail
    (root / "results" / source.name).unlink()
    assert told(root) == [("2026-05-05", f"run/{source.stem}", "removed", "")]


def test_a_recording_that_was_cut_off_is_repeated(root):
    told(root)
    before = (root / changes.STATE).read_bytes()
    entry(root, "terms", "new")
    told(root)
    log = (root / changes.LOG).read_bytes()
    (root / changes.STATE).write_bytes(before)  # as if it had ended between the two files
    assert told(root) == []
    assert (root / changes.LOG).read_bytes() == log
    assert (root / changes.STATE).read_bytes() != before


def test_check_says_what_is_to_record_and_writes_nothing(root, capsys):
    assert changes.main(["--check", "--root", str(root)]) == 1
    assert "added term/view" in capsys.readouterr().out
    assert not (root / changes.STATE).exists() and not (root / changes.LOG).exists()
    assert changes.main(["--record", "--root", str(root)]) == 0
    assert changes.main(["--check", "--root", str(root)]) == 0
    assert capsys.readouterr().out.endswith("0 changes to record\n")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 0, "entries": {}}'])
def test_a_damaged_state_is_told(root, capsys, content):
    (root / changes.STATE).write_text(content)
    assert changes.main(["--check", "--root", str(root)]) == 2
    assert "state.json: is not a state of this version" in capsys.readouterr().err


def test_a_wrong_date_is_told(root, capsys):
    assert changes.main(["--record", "--date", "today", "--root", str(root)]) == 2
    assert "today" in capsys.readouterr().err


def test_the_real_files_can_be_read_and_have_a_place(monkeypatch):
    log = change_log.read(REAL / changes.LOG)
    state = changes.load_state(REAL / changes.STATE)
    assert len(log) > 500 and set(state) == {"schema", "entries", "implementations", "runs"}
    text = json.dumps(state, indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    assert (REAL / changes.STATE).read_text(encoding="utf-8") == text
    assert change_log.text(log) == (REAL / changes.LOG).read_text(encoding="utf-8")
