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

    def tells(self, entry: Entry, other: Entry) -> bool:
        """Whether a fault that two entries share is told at `entry`: at the later file that was asked for."""
        other_asked = (other.kind, other.id) in self.asked
        return not other_asked or entry.path > other.path


Rule = Callable[[Entry, Context], Findings]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def claims(entry: Entry) -> Iterator[tuple[str, Path_, str]]:
    """What must belong to one entry of a kind only: (what, where, value compared)."""
    name = entry.get("name", str)
    if name:
        yield "name", ("name",), plain(name) or name
    for number, alias in enumerate(entry.get("aliases", list, [])):
        if isinstance(alias, str):
            yield "name", ("aliases", number), plain(alias) or alias
    arxiv, doi = entry.get("paper.arxiv", str), entry.get("paper.doi", str)
    if arxiv:
        yield "arXiv id", ("paper", "arxiv"), arxiv
    if doi:
        yield "DOI", ("paper", "doi"), doi.casefold()
