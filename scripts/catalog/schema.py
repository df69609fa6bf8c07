"""The schemas and word lists of a catalog, ready to be executed, walked and shown."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from jsonschema import Draft202012Validator, FormatChecker

from scripts.catalog.document import Path_
from scripts.catalog.reading import read_yaml

# Kind of entry -> folder under catalog/.
FOLDERS = {
    "survey": "surveys",
    "pretext_task": "pretext_tasks",
    "backbone": "backbones",
    "technique": "techniques",
    "framework": "frameworks",
    "dataset": "datasets",
    "challenge": "challenges",
    "term": "terms",
}
RECORDS = ("run", "verification")


class CatalogError(Exception):
    """The catalog's own files (schema, vocabulary) cannot be used; str() is one line that names file and remedy."""


class Schema:
    """One schema with every $ref written out, so that each node says all that is known about its field.

    A key beside a $ref replaces the same key of what the $ref names (that is how a schema narrows a shared field).
    """

    def __init__(self, tree: dict):
        self.tree = tree

    @cached_property
    def validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.tree, format_checker=FormatChecker(["date"]))

    def node(self, path: Path_) -> dict:
        """What the schema says of the field at `path` ({} when it says nothing)."""
        node = self.tree
        for step in path:
            node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        return node

    @cached_property
    def fields(self) -> dict[str, str]:
        """Every field an entry can have, in order, as dotted name -> description; list items are not numbered."""
        return dict(_fields(self.tree, ""))

    @property
    def order(self) -> list[str]:
        """Top-level keys in the order in which a file has them."""
        return list(self.tree["properties"])


def _fields(node: dict, prefix: str) -> Iterator[tuple[str, str]]:
    allowed = node.get("propertyNames", {}).get("enum")
    for name, child in node.get("properties", {}).items():
        if allowed is not None and name not in allowed:
            continue
        yield prefix + name, child.get("description", "")
        yield from _fields(child.get("items", {}) if child.get("type") == "array" else child, f"{prefix}{name}.")


def load_schemas(root: Path) -> dict[str, Schema]:
    """The schemas of the eight kinds and of the records, from `root`/schema. Raises CatalogError."""
    files: dict[str, dict] = {}
    for name in ("common", *FOLDERS, *RECORDS):
        path = root / "schema" / f"{name}.schema.json"
        try:
            files[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogError(f"{path}: {error}; restore it from the repository") from None
    try:
        return {
            name: Schema(_expand(files[f"{name}.schema.json"], f"{name}.schema.json", files))
            for name in (*FOLDERS, *RECORDS)
        }
    except KeyError as error:
        raise CatalogError(f"{root / 'schema'}: a $ref names {error}, which does not exist; correct it") from None


def _expand(node: object, file: str, files: dict[str, dict]) -> object:
    """A copy of `node` with each $ref replaced by what it names."""
    if isinstance(node, list):
        return [_expand(item, file, files) for item in node]
    if not isinstance(node, dict):
        return node
    own = {key: _expand(value, file, files) for key, value in node.items() if key not in ("$ref", "$defs")}
    if "$ref" not in node:
        return own
    named, _, pointer = node["$ref"].partition("#/")
    target: object = files[named or file]
    for step in pointer.split("/"):
        target = target[step]
    return {**_expand(target, named or file, files), **own}


def as_json(value: object) -> object:
    """A copy of an entry's data as JSON has it: dates become ISO texts."""
    if isinstance(value, dict):
        return {key: as_json(child) for key, child in value.items()}
    if isinstance(value, list):
        return [as_json(child) for child in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


Vocabulary = dict[str, dict[str, dict]]


def load_vocabulary(root: Path) -> Vocabulary:
    """List name -> word -> {label, description, ...}, from `root`/vocabulary.yml. Raises CatalogError."""
    document = read_yaml(root / "vocabulary.yml")
    for problem in document.problems:
        raise CatalogError(f"{problem.path}:{problem.line}:{problem.column}: {problem.message}")
    for name, words in document.data.items():
        for word, about in words.items() if isinstance(words, dict) else [("", None)]:
            if not (isinstance(about, dict) and {"label", "description"} <= set(about)):
                line, column = document.place((name, word), "key")
                raise CatalogError(f"{document.path}:{line}:{column}: a word needs label and description; add them")
    return document.data


def load_rows(root: Path) -> dict[str, str]:
    """Row id -> name, of the list that the catalog started from (`root`/origin.csv, if there). Raises CatalogError."""
    path = root / "origin.csv"
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["row"]: row["name"] for row in csv.DictReader(stream, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise CatalogError(f"{path}: {error}; restore it from the repository") from None


def load_moved(root: Path) -> dict[tuple[str, str], str]:
    """(kind, old id) -> new id, of entries that got another id (`root`/moved.csv, if there). Raises CatalogError."""
    path = root / "moved.csv"
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {(row["kind"], row["old"]): row["new"] for row in csv.DictReader(stream, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise CatalogError(f"{path}: {error}; its columns are kind, old, new") from None
