"""Entries in their one form: what a file says stays, comments are not lost, and every entry of the catalog has it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import yaml

from scripts.catalog import ROOT
from scripts.catalog.document import Document
from scripts.catalog.reading import build
from scripts.catalog.writing import WIDTH, comments, write
from scripts.format_entries import main, same


def test_every_entry_has_the_form(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def again(text: str, tree: dict | None = None) -> str:
    document = Document(Path("x.yml"))
    document.data = build(text, document)
    assert document.problems == []
    return write(document, tree or {})


@pytest.mark.parametrize(
    "before, after",
    [
        ('name: "Plain words"\n', "name: Plain words\n"),
        ("arxiv: '2002.05709'\n", 'arxiv: "2002.05709"\n'),
        ("name: 'yes'\n", 'name: "yes"\n'),
        ("name: 'a: b'\n", 'name: "a: b"\n'),
        ('name: "\\"it\\" said"\n', "name: '\"it\" said'\n"),
        ("value: 69.30\n", "value: 69.30\n"),
        ("number: 1_000\n", "number: 1_000\n"),
        ("day: 2026-01-02\n", "day: 2026-01-02\n"),
        ("list:\n- a\n- b: 1\n  c: d\n", "list:\n  - a\n  - b: 1\n    c: d\n"),
        ("list:\n- a\n- 'b, c'\n", 'list: [a, "b, c"]\n'),
        ("size: \n- [1, 2]\n- [3, 4]\n", "size: [[1, 2], [3, 4]]\n"),
        ("splits:\n  train: 7\n  test: 3\n", "splits: {train: 7, test: 3}\n"),
        ("confidence: {a.b: recalled}\n", "confidence:\n  a.b: recalled\n"),
        ("text: |\n  one\n\n  two\n", "text: |\n  one\n\n  two\n"),
        ("text: |-\n  recalled\n", "text: recalled\n"),
        ("---\nname: x\n", "name: x\n"),
    ],
)
def test_form(before, after):
    assert again(before) == after


def test_keys_take_the_order_of_the_schema():
    tree = {"properties": {"id": {}, "facts": {"properties": {"one": {}, "two": {}}}}}
    assert again("other: 1\nfacts:\n  two: b\n  one: a\nid: x\n", tree) == (
        "id: x\nfacts:\n  one: a\n  two: b\nother: 1\n"
    )


def test_long_text_is_folded_and_an_address_is_not():
    words, address = " ".join(["word"] * 60), "https://example.org/" + "x" * 120
    text = again(f'a: "{words}"\nb: "{address}"\nc: ["{words}", "{address}"]\n')
    assert all(len(line) <= WIDTH or address in line for line in text.splitlines())
    assert text.startswith("a: >-\n  word")
    assert yaml.safe_load(text) == {"a": words, "b": address, "c": [words, address]}


PIECES = [
    *("a", "b:", "#", " ", "  ", "\n", "\n\n", "'", '"', "\\", "- ", "-", "? ", "[", "]", "{", "}", ",", "yes", "1.5"),
    *("2026-01-02", "null", "~", "é", "word " * 30, "&", "*", "!", "%", "@", "`", ">", "|", "=", "<<", "0x1f", "1e3"),
]


def test_no_value_is_changed():
    """Two thousand values made of what YAML might take for something else: the same after writing, and written once."""
    chance = random.Random(0)

    def text() -> str:
        return "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 7)))

    def value(depth: int = 0):
        sort = chance.random()
        if depth < 3 and sort < 0.2:
            return [value(depth + 1) for _ in range(chance.randint(0, 3))]
        if depth < 3 and sort < 0.4:
            return {text().replace("<<", "k").strip() or "k": value(depth + 1) for _ in range(chance.randint(0, 3))}
        return chance.choice([True, None, 3, 2.5]) if sort < 0.5 else text()

    for _ in range(2000):
        data = {"key": value(), "other": text()}
        once = again(yaml.safe_dump(data, allow_unicode=True))
        assert same(yaml.safe_load(once), data)
        assert again(once) == once


def test_equal_means_of_equal_type():
    assert same({"a": [1, "x"], "b": 2}, {"b": 2, "a": [1, "x"]})
    assert not same({"a": 1}, {"a": 1.0}) and not same({"a": 1}, {"a": True}) and not same([1], [1, 2])


@pytest.mark.parametrize(
    "text, places",
    [
        ("# first\nid: x\n", [(1, 1)]),
        ("id: x # why\n", [(1, 7)]),
        ("id: |- # why\n  # text\n  text\nb: c\n", [(1, 8)]),
        ("id: |-\n  text\n# why\nb: c\n", [(3, 1)]),
        ("list:\n  # why\n  - a\n", [(2, 3)]),
        ("list: [a, # why\n  b]\n# end\n", [(1, 11), (3, 1)]),
        ("id: a#b\nname: 'FLAIR #1'\ntext: >-\n  no # comment\nlast: \"x # y\"\n", []),
    ],
)
def test_comments_are_found(text, places):
    assert comments(text) == places


def test_the_command(small_catalog, capsys, monkeypatch):
    monkeypatch.chdir(small_catalog.parent)
    command = ["--catalog", "catalog"]
    path = small_catalog / "frameworks/beta.yml"
    assert main(command) == 0
    assert "5 entries" in capsys.readouterr().out
    right = path.read_bytes()
    wrong = right.replace(b"name: Beta", b'name:   "Beta"')
    path.write_bytes(wrong)
    path.chmod(0o640)
    assert main([*command, "--check"]) == 1
    said = capsys.readouterr().out
    assert "would change: catalog/frameworks/beta.yml\n5 entries, 1 would change, 0 left alone\n" in said
    assert path.read_bytes() == wrong
    assert main([*command, str(path)]) == 0
    assert path.read_bytes() == right and path.stat().st_mode & 0o777 == 0o640
    assert main([*command, "--check"]) == 0
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_what_cannot_be_formatted_is_left_as_it_is(small_catalog, capsys):
    path = small_catalog / "frameworks/beta.yml"
    for text in (b'name: "x"  # why\n', b"name: [x\n", b"name: \xff\n", b""):
        path.write_bytes(text)
        assert main(["--catalog", str(small_catalog)]) == 1
        assert path.read_bytes() == text
        assert "beta.yml:" in capsys.readouterr().err
    assert main(["--catalog", str(small_catalog), str(small_catalog / "schema")]) == 1
    assert "is no entry" in capsys.readouterr().err


def test_a_write_that_fails_leaves_the_file(small_catalog, monkeypatch):
    path = small_catalog / "frameworks/beta.yml"
    path.write_bytes(path.read_bytes().replace(b"name: Beta", b"name:   Beta"))
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        main(["--catalog", str(small_catalog), str(path)])
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["alpha.yml", "beta.yml"]


def test_templates_are_not_entries():
    assert main(["--check", str(ROOT / "templates")]) == 1
