"""What the pages are made from: the catalog, the implementations and the records, gathered once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from refimpl import registry
from scripts.catalog import Catalog, Entry, load_records, unsourced_fields
from scripts.site import ladder
from scripts.site.links import FOLDERS, TITLES
from scripts.site.text import label, safe_url

# How a relation reads from the entry that names it, and from the one that it names.
RELATIONS = {
    "uses_backbone": ("uses backbone", "backbone of"),
    "uses_technique": ("uses technique", "technique of"),
    "solves_pretext_task": ("solves pretext task", "pretext task of"),
    "pretrained_on": ("pre-trained on", "pre-trains"),
    "evaluated_on": ("evaluated on", "evaluates"),
    "extends": ("extends", "extended by"),
    "compared_in": ("discussed in", "discusses"),
    "related_to": ("see also", "see also"),
    "see_also": ("see also", "see also"),
}


@dataclass
class Site:
    """Everything the pages show.

    verifications, runs: records of catalog/results, each with its file name as "file".
    local_runs: run records of this machine, shown and marked, never counted on the ladder.
    edit_base: address under which a repository path can be edited; empty where the repository is not public.
    """

    catalog: Catalog
    implementations: Mapping[str, registry.Entry] = field(default_factory=dict)
    verifications: list[Mapping] = field(default_factory=list)
    runs: list[Mapping] = field(default_factory=list)
    local_runs: list[Mapping] = field(default_factory=list)
    edit_base: str = ""

    def __post_init__(self):
        self._ladders: dict[str, list[ladder.Rung]] = {}
        self._unsourced: dict[tuple[str, str], list[str]] = {}

    @cached_property
    def all(self) -> list[Entry]:
        """Every entry, kinds in the site's order, names in alphabetical order."""
        order = list(FOLDERS)
        return sorted(self.catalog.entries.values(), key=lambda e: (order.index(e.kind), e.name.lower(), e.id))

    def of_kind(self, kind: str) -> list[Entry]:
        return [e for e in self.all if e.kind == kind]

    def counts(self) -> dict[str, int]:
        return {kind: len(self.of_kind(kind)) for kind in TITLES}

    def word(self, vocabulary: str, name: object) -> str:
        """A vocabulary word as people read it."""
        found = (self.catalog.vocabulary.get(vocabulary) or {}).get(name)
        return str(found["label"]) if isinstance(found, Mapping) and "label" in found else label(name)

    def family(self, entry: Entry) -> str:
        name = entry.data.get("family")
        return self.word(f"{entry.kind}_family", name) if name else ""

    def relations(self, entry: Entry) -> dict[str, list[Entry]]:
        """Entries related to this one, whichever of the two names the other, under what the relation reads like."""
        found: dict[str, list[Entry]] = {}
        seen: list[Entry] = []
        pairs = [
            (RELATIONS.get(relation, (label(relation), f"{label(relation)} of"))[side], others)
            for side, named in enumerate((self.catalog.related(entry), self.catalog.inverse_relations(entry)))
            for relation, others in named.items()
        ]
        for words, others in sorted(pairs, key=lambda pair: pair[0] == "see also"):  # what says more comes first
            for other in others:
                if words != "see also" or other not in seen:
                    seen.append(other)
                    if other not in found.setdefault(words, []):
                        found[words].append(other)
        return found

    def unsourced(self, entry: Entry) -> list[str]:
        """Fields that no source supports."""
        key = entry.kind, entry.id
        if key not in self._unsourced:
            self._unsourced[key] = unsourced_fields(entry)
        return self._unsourced[key]

    def implementation(self, entry: Entry) -> registry.Entry | None:
        return self.implementations.get(entry.get("refimpl.name", str, ""))

    def served_by(self, name: str) -> list[Entry]:
        """Entries that the implementation `name` runs."""
        return [e for e in self.all if e.get("refimpl.name") == name]

    def method_ladder(self, name: str) -> list[ladder.Rung]:
        """Rungs 2 to 5 of an implementation."""
        if name not in self._ladders:
            self._ladders[name] = [*ladder.verified(name, self.verifications), ladder.measured(name, self.runs)]
        return self._ladders[name]

    def ladder(self, entry: Entry) -> list[ladder.Rung]:
        """All five rungs of an entry."""
        first = ladder.sourced(self.unsourced(entry), entry.data.get("last_verified"))
        implementation = self.implementation(entry)
        if implementation is None:
            return [first, *(ladder.Rung(n, "open", "no implementation yet") for n in list(ladder.RUNGS)[1:])]
        return [first, *self.method_ladder(implementation.name)]

    def runs_of(self, name: str) -> list[Mapping]:
        return [r for r in (*self.local_runs, *self.runs) if r.get("method") == name]

    def edit_link(self, path: str) -> str | None:
        """Where a file of the repository can be edited, or None while its address is unknown."""
        return safe_url(self.edit_base + path) if self.edit_base else None


def local_runs(folder: Path) -> list[Mapping]:
    """Run records of this machine: `folder`/*/record.json; what is not one is passed over."""
    found = []
    for path in sorted(folder.glob("*/record.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("record") == "run":
            found.append({**record, "local": True})
    return found


def gather(catalog: Catalog, runs: Path, edit_base: str = "") -> Site:
    """The site's material. runs: folder with the run folders of this machine."""
    records = [(r.kind, {**r.data, "file": r.path.name}) for r in load_records(catalog.root)]
    public = [r for kind, r in records if kind == "run"]
    known = {r.get("id") for r in public}
    return Site(
        catalog=catalog,
        implementations=registry.methods(),
        verifications=[r for kind, r in records if kind == "verification"],
        runs=public,
        local_runs=[r for r in local_runs(runs) if r.get("id") not in known],
        edit_base=edit_base,
    )
