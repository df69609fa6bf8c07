"""What rules are made of.

A rule is a small generator over one entry: it yields (path, what is wrong, what would be right), with "key" behind
when the place is the key rather than the value. It looks only at values of the right type: wrong types are the
schema's business.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from scripts.catalog import Catalog, Entry
from scripts.catalog.document import Path_
from scripts.catalog.model import dotted
from scripts.catalog.problems import plain

Findings = Iterator[tuple]


@dataclass
class Context:
    """What a rule may look at besides its entry.

    asked: the entries that are being validated; what two entries share is told at one that was asked for.
    today: last day that is not in the future (one day on, because of time zones).
    """

    catalog: Catalog
    asked: set[tuple[str, str]]
    today: datetime.date

    @cached_property
    def owners(self) -> dict[tuple[str, str, str], list[Entry]]:
        """(kind, what, value) -> entries that claim it as theirs: names, aliases, arXiv ids, DOIs."""
        found: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in self.catalog.entries.values():
            for what, _, value in claims(entry):
                owners = found.setdefault((entry.kind, what, value), [])
                if owners[-1:] != [entry]:  # an entry's own aliases may be alike
                    owners.append(entry)
        return found

    @cached_property
    def papers(self) -> dict[tuple[str, str], list[tuple[Entry, Path_, dict]]]:
        """(field, text) that recognises a publication -> (entry, path, what it says) wherever one describes it."""
        found: dict[tuple[str, str], list[tuple[Entry, Path_, dict]]] = {}
        for entry in self.catalog.entries.values():
            for path, paper in papers(entry):
                for name in recognised_by(paper):
                    found.setdefault(name, []).append((entry, path, paper))
        return found

    @cached_property
    def dataset_spellings(self) -> dict[str, str]:
        """Names and aliases of the data sets: without case -> as written."""
        found = {}
        for entry in self.catalog.kind("dataset"):
            for name in (entry.name, *entry.get("aliases", list, [])):
                if isinstance(name, str):
                    found.setdefault(name.casefold(), name)
        return found

    def tells(self, entry: Entry, other: Entry) -> bool:
        """Whether a fault that two entries share is told at `entry`: at the later file that was asked for."""
        other_asked = (other.kind, other.id) in self.asked
        return not other_asked or entry.path > other.path


Rule = Callable[[Entry, Context], Findings]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def papers(entry: Entry) -> Iterator[tuple[Path_, dict]]:
    """Each publication that an entry describes: its own, and those that come closest."""
    closest = entry.get("closest", list, [])
    for path in [("paper",), *(("closest", number) for number in range(len(closest)))]:
        paper = entry.get(dotted(path), dict)
        if paper is not None:
            yield path, paper


def recognised_by(paper: dict) -> Iterator[tuple[str, str]]:
    """What a publication can be recognised by: (field, text compared)."""
    for field in ("arxiv", "doi", "title"):
        text = paper.get(field)
        if isinstance(text, str) and text:
            yield field, (plain(text) or text) if field == "title" else text.casefold()


# Kinds whose entries may share a paper: one publication can bring several ideas.
SHARING = ("pretext_task", "technique")


def claims(entry: Entry) -> Iterator[tuple[str, Path_, str]]:
    """What must belong to one entry of a kind only: (what, where, value compared)."""
    name = entry.get("name", str)
    if name:
        yield "name", ("name",), plain(name) or name
    for number, alias in enumerate(entry.get("aliases", list, [])):
        if isinstance(alias, str):
            yield "name", ("aliases", number), plain(alias) or alias
    if entry.kind in SHARING:
        return
    arxiv, doi = entry.get("paper.arxiv", str), entry.get("paper.doi", str)
    if arxiv:
        yield "arXiv id", ("paper", "arxiv"), arxiv
    if doi:
        yield "DOI", ("paper", "doi"), doi.casefold()
