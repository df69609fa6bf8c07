"""Rules between entries."""

from __future__ import annotations

from scripts.catalog import Catalog, Entry
from scripts.catalog.model import dotted
from scripts.catalog.problems import show
from scripts.rules.base import Context, Findings, claims, rule


@rule
def names_and_papers_are_its_own(entry: Entry, context: Context) -> Findings:
    told = set()
    for what, path, value in claims(entry):
        owners = context.owners.get((entry.kind, what, value), [])
        other = next((o for o in owners if o is not entry and context.tells(entry, o)), None)
        if other is not None and what != "name" and _linked(entry, other):
            continue
        if other is not None and (what, other.id) not in told:
            told.add((what, other.id))
            wrong = f"{what} {show(entry.get(dotted(path)))} is also that of {show(other.id)}"
            right = "make them one entry, or correct this"
            if what != "name":
                right += f"; if one paper brings both, link them: related_to: [{other.kind}/{other.id}]"
            yield path, wrong, right


def _linked(entry: Entry, other: Entry) -> bool:
    """Whether one of two entries names the other, which says that they share a paper on purpose."""
    pairs = ((entry, other), (other, entry))
    return any((b.kind, b.id) == (kind, id_) for a, b in pairs for _, _, kind, id_ in a.targets())


@rule
def extends_has_no_cycle(entry: Entry, context: Context) -> Findings:
    """Told at one entry of the cycle: the first in path order among those asked for."""
    for path, relation, _, target in entry.targets():
        if relation != "extends" or target == entry.id:  # naming itself is told with the relation
            continue
        way = _way(context.catalog, entry.kind, target, entry.id)
        on_it = [i for i in way if (entry.kind, i) in context.asked]
        if way and entry.id == min(on_it, default=entry.id):
            yield path, f"extends goes round in a circle: {' -> '.join([entry.id, *way])}", "remove one of these links"
            return


def _way(catalog: Catalog, kind: str, start: str, goal: str) -> list[str]:
    """Ids from `start` to `goal` along extends, both included; [] when there is no way."""
    before: dict[str, str | None] = {start: None}
    todo = [start]
    while todo:
        here = todo.pop(0)
        if here == goal:
            way = []
            while here is not None:
                way.append(here)
                here = before[here]
            return way[::-1]
        entry = catalog.entries.get((kind, here))
        for _, relation, _, target in entry.targets() if entry else ():
            if relation == "extends" and target not in before:
                before[target] = here
                todo.append(target)
    return []
