"""Entries, the catalog they form, and the records that runs left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.catalog.document import Document, Path_, Place
from scripts.catalog.problems import Problem, show, suggestion
from scripts.catalog.reading import read_json, read_yaml
from scripts.catalog.schema import (
    FOLDERS,
    RECORDS,
    Schema,
    Vocabulary,
    load_moved,
    load_rows,
    load_schemas,
    load_vocabulary,
)

ROOT = Path(__file__).resolve().parents[2] / "catalog"


def steps(name: str) -> Path_:
    """The path of a field name: "sources[0].url" -> ("sources", 0, "url")."""
    return tuple(int(s) if s.isdecimal() else s for s in re.findall(r"[^.\[\]]+", name))


def dotted(path: Path_) -> str:
    """The name of a path: ("sources", 0, "url") -> "sources[0].url"."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in path).lstrip(".")


@dataclass(eq=False)
class Source:
    """A file of the catalog that was understood: its data and where each part stands."""

    document: Document
    schema: Schema

    @property
    def path(self) -> Path:
        return self.document.path

    @property
    def data(self) -> dict:
        return self.document.data

    def get(self, name: str, kind: type | tuple[type, ...] = object, default: object = None) -> object:
        """The value of a field such as "paper.year", or `default` when it is absent or not of that type."""
        value: object = self.data
        for step in steps(name):
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return default
        return value if isinstance(value, kind) and not (kind is int and isinstance(value, bool)) else default

    def position(self, name: str) -> Place:
        """Line and column, from 1, of a field's key (of the nearest field above it when it is absent)."""
        return self.document.place(steps(name), "key")

    def problem(self, path: Path_, wrong: str, right: str, of: str = "value") -> Problem:
        return Problem(self.path, *self.document.place(path, of), wrong, right)


@dataclass(eq=False)
class Entry(Source):
    """One entry. `data` is what the file says (dates are datetime.date); `id` is the file's name."""

    kind: str

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def name(self) -> str:
        return self.get("name", str, self.id)

    def targets(self) -> Iterator[tuple[Path_, str, str, str]]:
        """Each link to another entry: (where it stands, relation, kind, id). Malformed ones are left out."""
        for relation, ids in self.get("relations", dict, {}).items():
            for number, target in enumerate(ids if isinstance(ids, list) else ()):
                path = ("relations", relation, number)
                yield from self._target(path, relation, target)
        for number, target in enumerate(self.get("see_also", list, ())):
            yield from self._target(("see_also", number), "see_also", target)

    def _target(self, path: Path_, relation: str, target: object) -> Iterator[tuple[Path_, str, str, str]]:
        kind = self.schema.node(path).get("x-target")
        if kind is None or not isinstance(target, str):
            return
        if kind == "any":
            kind, _, target = target.partition("/")
        yield path, relation, self.kind if kind == "self" else kind, target


@dataclass(eq=False)
class Record(Source):
    """A run record or a verification record. kind is "run" or "verification"; method the implementation's name."""

    kind: str

    @property
    def method(self) -> str:
        return self.get("method", str, "")


@dataclass
class Catalog:
    """Everything under one catalog folder.

    entries: by (kind, id), in the order of kinds and ids. vocabulary: list -> word -> {label, description}.
    schemas: by kind, with every $ref written out. problems: files that could not become entries.
    unreadable: (kind, id) of files that are there but could not be read. templates: kind -> the commented template.
    rows: row id -> name, of the list that the catalog started from (origin.csv).
    moved: (kind, old id) -> id that this entry has now (moved.csv): old addresses still lead to it.
    """

    root: Path
    schemas: dict[str, Schema]
    vocabulary: Vocabulary
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    templates: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[tuple[str, str]] = field(default_factory=set)
    rows: dict[str, str] = field(default_factory=dict)
    moved: dict[tuple[str, str], str] = field(default_factory=dict)
    _inverse: dict | None = None

    def kind(self, kind: str) -> list[Entry]:
        """All entries of a kind, sorted by id."""
        return [entry for (k, _), entry in self.entries.items() if k == kind]

    def find(self, link: str) -> Entry | None:
        """The entry called kind/id, or None."""
        kind, _, id_ = link.partition("/")
        return self.entries.get((kind, id_))

    def related(self, entry: Entry) -> dict[str, list[Entry]]:
        """Relation -> entries that this entry names (dangling names left out)."""
        found: dict[str, list[Entry]] = {}
        for _, relation, kind, id_ in entry.targets():
            if (kind, id_) in self.entries:
                found.setdefault(relation, []).append(self.entries[kind, id_])
        return found

    def inverse_relations(self, entry: Entry) -> dict[str, list[Entry]]:
        """Relation -> entries that name this one by it: for a backbone {"uses_backbone": [frameworks ...]}."""
        if self._inverse is None:
            self._inverse = {}
            for other in self.entries.values():
                for _, relation, kind, id_ in other.targets():
                    named = self._inverse.setdefault((kind, id_), {}).setdefault(relation, [])
                    if other not in named:
                        named.append(other)
        return self._inverse.get((entry.kind, entry.id), {})

    def implemented_by(self, name: str) -> list[Entry]:
        """Entries whose refimpl is the implementation `name`."""
        return [entry for entry in self.entries.values() if entry.get("refimpl.name") == name]


def load_catalog(root: Path | str = ROOT) -> Catalog:
    """Reads a whole catalog. Files that cannot be read are in `.problems`, the rest becomes entries.

    Nothing is checked against the schema here (that is `scripts.validate`). Raises CatalogError when schema or
    vocabulary themselves cannot be used.
    """
    root = Path(root)
    catalog = Catalog(root, load_schemas(root), load_vocabulary(root), rows=load_rows(root), moved=load_moved(root))
    for kind, folder in FOLDERS.items():
        for path in sorted((root / folder).glob("*")):
            if path.name.startswith("."):
                continue
            if path.suffix != ".yml":
                catalog.problems.append(
                    Problem(path, 1, 1, "is not an entry", f"entries are {root.name}/{folder}/<id>.yml")
                )
                continue
            document = read_yaml(path)
            catalog.problems += document.problems
            if document.data is None:
                catalog.unreadable.add((kind, path.stem))
            else:
                catalog.entries[kind, path.stem] = Entry(document, catalog.schemas[kind], kind)
        template = read_yaml(root / "templates" / f"{kind}.yml")
        if template.data is not None:
            catalog.templates[kind] = Entry(template, catalog.schemas[kind], kind)
    catalog.problems += [*_strays(root), *_misled(catalog)]
    return catalog


def _misled(catalog: Catalog) -> list[Problem]:
    """Lines of moved.csv that lead nowhere, or away from an entry that is there."""
    found = []
    for line, ((kind, old), new) in enumerate(catalog.moved.items(), 2):
        place = catalog.root / "moved.csv", line, 1
        if (kind, old) in catalog.entries:
            found.append(Problem(*place, f"{kind}/{old} is an entry", "remove this line, or rename the entry"))
        elif (kind, new) not in catalog.entries:
            ids = [i for k, i in catalog.entries if k == kind]
            found.append(Problem(*place, f"there is no {kind}/{new}", suggestion(new, ids, "name where it went")))
    return found


def _strays(root: Path) -> list[Problem]:
    """Things directly in the catalog folder that have no place there."""
    known = [
        *FOLDERS.values(),
        "benchmarks",
        "changes.csv",
        "moved.csv",
        "origin.csv",
        "results",
        "schema",
        "state.json",
        "templates",
        "vocabulary.yml",
    ]
    return [
        Problem(path, 1, 1, f"{show(path.name)} has no place here", suggestion(path.name, known, "remove it"))
        for path in sorted(root.glob("*"))
        if path.name not in known and not path.name.startswith(".")
    ]


def load_records(root: Path | str = ROOT, problems: list[Problem] | None = None) -> list[Record]:
    """All records of `root`/results, sorted by file name. What cannot be read is added to `problems`, if given."""
    root = Path(root)
    schemas = load_schemas(root)
    problems = [] if problems is None else problems
    records = []
    for path in sorted((root / "results").glob("*")):
        if path.name.startswith("."):
            continue
        if path.suffix != ".json":
            problems.append(Problem(path, 1, 1, "is not a record", "records are written by refimpl as .json"))
            continue
        document = read_json(path)
        problems += document.problems
        if document.data is None:
            continue
        kind = document.data.get("record")
        if kind in RECORDS:
            records.append(Record(document, schemas[kind], kind))
        else:
            place = document.place(("record",))
            problems.append(Problem(path, *place, f"record is {show(kind)}", f"it is {' or '.join(RECORDS)}"))
    return records
