"""Tables that are sorted as they stand and can be sorted otherwise by a click (docs/assets/sort.js).

The headings are buttons from the start, which the script only enables, so that nothing moves when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.site.links import relative
from scripts.site.text import html

SCRIPT, STYLE = "assets/sort.js", "assets/overview.css"


@dataclass(frozen=True)
class Cell:
    """HTML and what it is sorted by; without a key the column cannot be sorted by it."""

    content: str
    key: str | float | None = None


def script(here: str) -> str:
    return f'<script src="{html(relative(here, SCRIPT))}" defer></script>'


def style(here: str) -> str:
    """The style sheet of leaderboards, guide, taxonomy and news; the other pages do without its weight."""
    return f'<link rel="stylesheet" href="{html(relative(here, STYLE))}">'


def sortable(
    name: str, head: list[str], rows: Iterable[list[Cell]], *, css: str, by: int, falling: bool, marks: list[str] = ()
) -> str:
    """A table. name: its id; by, falling: the column that it is sorted by as it stands; marks: a class per row."""
    rows = list(rows)
    top = ""
    for n, words in enumerate(head):
        can = " data-sort" if any(row[n].key is not None for row in rows) else ""
        now = f' aria-sort="{"descending" if falling else "ascending"}"' if n == by else ""
        shown = f'<button type="button" disabled>{html(words)}</button>' if can else html(words)
        top += f'<th scope="col"{can}{now}>{shown}</th> '
    lines = []
    for n, row in enumerate(rows):
        mark = f' class="{marks[n]}"' if marks and marks[n] else ""
        lines.append(f"<tr{mark}>{' '.join(_cell(cell, head=m == 0) for m, cell in enumerate(row))}</tr>\n")
    return (
        f'<div class="scroll"><table class="board {css}" id="{html(name)}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(cell: Cell, head: bool) -> str:
    key = f' data-key="{html(cell.key)}"' if cell.key is not None else ""
    return f'<th scope="row"{key}>{cell.content}</th>' if head else f"<td{key}>{cell.content}</td>"
