"""The catalog's log, catalog/changes.csv: one line per thing that was added, changed, reproduced or broke.

Written by `python -m scripts.changes --record`, read by the site. Lines are only ever appended.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from datetime import date as Date
from pathlib import Path

# What can happen, in the order in which readers want to know it.
WHAT = {
    "reproduced": "A run on record, or rungs of the ladder that are reached now.",
    "broken": "A rung was reached before, and a newer check did not pass.",
    "expired": "The code has changed since the check; it waits to be repeated.",
    "added": "New.",
    "changed": "Says something else than before.",
    "moved": "Has another address; the old one leads on.",
    "removed": "Is gone.",
}


class NotALog(ValueError):
    """changes.csv cannot be used; str() is one line with file, line and what would be right."""


@dataclass(frozen=True)
class Change:
    """One line. date: ISO. kind: of an entry, or implementation, or run. id: of what it happened to."""

    date: str
    kind: str
    id: str
    what: str
    detail: str = ""


COLUMNS = tuple(field.name for field in fields(Change))


def is_date(day: str) -> bool:
    """Whether it is a date like 2026-01-31."""
    try:
        return Date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False


def read(path: Path) -> list[Change]:
    """The log, oldest first; empty where there is none. Raises NotALog."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise NotALog(f"{path}:1: its columns are {', '.join(COLUMNS)}")
        found = []
        for row in rows:
            if len(row) != len(COLUMNS):
                raise NotALog(f"{path}:{rows.line_num}: {len(row)} cells; right are {len(COLUMNS)}")
            change = Change(*row)
            if change.what not in WHAT:
                raise NotALog(f"{path}:{rows.line_num}: what is {change.what!r}; right is one of {', '.join(WHAT)}")
            if not is_date(change.date):
                raise NotALog(f"{path}:{rows.line_num}: date is {change.date!r}; right is like 2026-01-31")
            found.append(change)
    return found


def text(changes: list[Change]) -> str:
    """The log as the file has it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(astuple, changes))
    return stream.getvalue()
