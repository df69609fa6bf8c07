"""What the validator looks at, in which order it reports, how it prints; and that no file can upset it."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from scripts.validate import main, validate


def test_a_right_catalog_has_no_errors(small_catalog, capsys):
    assert main(["--catalog", str(small_catalog)]) == 0
    assert capsys.readouterr().out == "5 entries, 0 errors\n"


def test_all_errors_come_at_once_in_order_of_file_and_line(small_catalog, problems):
    path = small_catalog / "frameworks/alpha.yml"
    for old, new in (("2020\nfam", "2021\nfam"), ("[rgb]", "[rbg]"), ("venue", "venu"), ("extends", "extend")):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    (small_catalog / "datasets/landscapes.yml").write_bytes(b"\xff")
    found = problems(small_catalog)
    assert [(p.path.stem, p.line) for p in found] == [("landscapes", 1), ("alpha", 7), ("alpha", 12), ("alpha", 19)]


def test_what_two_entries_share_is_told_once_and_at_the_file_asked_for(small_catalog, problems):
    twin = small_catalog / "frameworks/beta.yml"
    twin.write_text(twin.read_text(encoding="utf-8").replace("name: Beta", "name: Alpha"), encoding="utf-8")
    for asked in ([], [small_catalog], [twin], [small_catalog / "frameworks/alpha.yml"]):
        found = problems(small_catalog, *asked)
        assert len(found) == 1
        expected = asked[0] if asked and asked[0].is_file() else twin
        assert found[0].path == expected


def test_paths_choose_what_is_reported_but_links_see_everything(small_catalog, problems, today):
    (small_catalog / "backbones/resnet.yml").write_text("id: wrong\n", encoding="utf-8")
    alpha = small_catalog / "frameworks/alpha.yml"
    assert validate(small_catalog, [alpha], today).summary == "1 entry, 0 errors"
    assert validate(small_catalog, [alpha.parent], today).summary == "2 entries, 0 errors"
    assert {p.path.stem for p in problems(small_catalog, small_catalog / "backbones")} == {"resnet"}


@pytest.mark.parametrize("asked", ["nowhere.yml", "schema/common.schema.json", "templates/term.yml", "bad\0name"])
def test_a_path_that_is_no_entry_is_one_error(small_catalog, asked, problems):
    found = problems(small_catalog, small_catalog / asked)
    assert len(found) == 1
    assert found[0].wrong in ("there is no such file or folder", "is not part of the catalog")


def test_files_that_do_not_belong_are_named(small_catalog, problems):
    (small_catalog / "frameworks/gamma.yaml").write_text("id: gamma\n", encoding="utf-8")
    (small_catalog / "framework").mkdir()
    (small_catalog / "results/notes.txt").write_text("", encoding="utf-8")
    (small_catalog / "terms").mkdir()
    (small_catalog / "terms/folder.yml").mkdir()
    (small_catalog / "terms/empty.yml").write_text("", encoding="utf-8")
    (small_catalog / "terms/large.yml").write_text("#" * 65 * 1024, encoding="utf-8")
    found = {p.path.name: p.message for p in problems(small_catalog)}
    assert found == {
        "gamma.yaml": "is not an entry; entries are catalog/frameworks/<id>.yml",
        "framework": "'framework' has no place here; did you mean frameworks?",
        "notes.txt": "is not a record; records are written by refimpl as .json",
        "folder.yml": "is not a regular file; put an ordinary text file there",
        "empty.yml": "is empty; begin with `id:`; catalog/templates shows the rest",
        "large.yml": "is larger than 64 kB; shorten it",
    }


def test_formats_say_the_same(small_catalog, capsys, monkeypatch, damage):
    monkeypatch.chdir(small_catalog.parent)
    place = damage(small_catalog / "frameworks/beta.yml", "[alpha]", "[¦'al,pha: 50%']")
    line, column = place
    said = {}
    for name in ("text", "github", "json"):
        assert main(["--catalog", "catalog", "--format", name]) == 1
        said[name] = capsys.readouterr().out
    wrong, right = "relations.extends[0] is 'al,pha: 50%'", "write it as: Id of an entry of the same kind"
    assert said["text"] == f"catalog/frameworks/beta.yml:{line}:{column}: {wrong}; {right}\n5 entries, 1 error\n"
    annotation = f"::error file=catalog/frameworks/beta.yml,line={line},col={column}::{wrong}; {right}"
    assert said["github"].splitlines()[0] == annotation.replace("50%", "50%25")
    error = {"file": "catalog/frameworks/beta.yml", "line": line, "column": column, "wrong": wrong, "right": right}
    assert json.loads(said["json"]) == {"entries": 5, "records": 0, "errors": [error]}


def test_hostile_text_cannot_reach_the_terminal(small_catalog, capsys):
    (small_catalog / "frameworks/beta.yml").write_text('"\\e[31mred\\u202e\\n": 1\n"a\\nb": 2\n', encoding="utf-8")
    (small_catalog / "terms").mkdir()
    (small_catalog / "terms/\033[2J\n.yml").write_text("id: x\n", encoding="utf-8")
    assert main(["--catalog", str(small_catalog)]) == 1
    out = capsys.readouterr().out
    assert all(c == "\n" or c.isprintable() for c in out)


def test_a_broken_vocabulary_or_schema_is_one_line(small_catalog, capsys):
    (small_catalog / "vocabulary.yml").write_text("modality:\n  rgb: RGB\n", encoding="utf-8")
    assert main(["--catalog", str(small_catalog)]) == 1
    assert "vocabulary.yml:2:3: a word needs label and description" in capsys.readouterr().err
    (small_catalog / "schema/term.schema.json").write_text("{", encoding="utf-8")
    assert main(["--catalog", str(small_catalog)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_unreadable_implementations_do_not_hide_the_catalog(small_catalog, monkeypatch, problems):
    def broken():
        raise SyntaxError("invalid syntax", ("method.py", 7, 1, "def"))

    monkeypatch.setattr("refimpl.registry.methods", broken)
    found = problems(small_catalog)
    assert [(str(p.path), p.line) for p in found] == [("method.py", 7)]


def test_random_bytes_never_end_in_a_traceback(small_catalog, today):
    """Three hundred damaged files: cut, overwritten, doubled, with odd bytes and YAML's own signs mixed in."""
    chance = random.Random(0)
    text = (small_catalog / "frameworks/alpha.yml").read_bytes()
    signs = [
        b"[",
        b"{",
        b"}",
        b"&a ",
        b"*a ",
        b"!!set ",
        b"- ",
        b": ",
        b"? ",
        b"|\n",
        b"<<",
        b"=",
        b"null",
        b"'",
        b"\t",
    ]
    signs += [b"\x00", b"\xff", b"\xf0\x9f\x9b\xb0", b"[" * 3000, b"1e999", b"9" * 5000, b"2026-99-99", b"~: ~\n"]
    for number in range(300):
        damaged = bytearray(text)
        for _ in range(chance.randint(1, 6)):
            start = chance.randrange(len(damaged))
            sign = chance.choice([*signs, chance.randbytes(4), damaged[start : start + 40]])
            damaged[start : start + chance.choice([0, len(sign), 30])] = sign
        (small_catalog / "frameworks" / f"f{number}.yml").write_bytes(damaged)
        (small_catalog / "results" / f"f{number}.json").write_bytes(damaged[::-1])
    report = validate(small_catalog, [], today)
    assert {p.path.name for p in report.problems} >= {f"f{n}.json" for n in range(300)}
    assert all(p.line >= 1 and p.column >= 1 and p.wrong and p.right for p in report.problems)


def test_values_of_any_type_in_any_place_never_end_in_a_traceback(small_catalog, today):
    """Every field in turn holds each sort of value: rules must leave wrong types to the schema."""
    import yaml

    whole = yaml.safe_load((small_catalog / "frameworks/alpha.yml").read_text(encoding="utf-8"))
    number = 0
    for field in whole:
        for value in (None, True, -1, "text", [], {}, [None], [[1]], [{"key": ["x"]}], {"a": {"b": 1}}):
            entry = {**whole, "id": f"v{number}", field: value}
            (small_catalog / "frameworks" / f"v{number}.yml").write_text(yaml.safe_dump(entry, sort_keys=False))
            number += 1
    report = validate(small_catalog, [], today)
    assert report.entries == 5 + number


def test_the_command_runs_without_torch_and_explains_itself():
    code = "import sys; sys.modules['torch'] = None; from scripts.validate import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "python -m scripts.validate" in done.stdout and "github" in done.stdout
