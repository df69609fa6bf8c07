"""Pieces of HTML that several pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scripts.catalog import Entry
from scripts.site.ladder import STATES, Rung
from scripts.site.links import entry_page, relative
from scripts.site.text import html, multiline

_MARKS = {"reached": "✓", "expired": "↻", "open": "·"}


def raw(markup: str) -> str:
    """HTML for a Markdown file: one block that Python-Markdown leaves alone, whatever its code contains."""
    if not markup.startswith("<"):
        raise ValueError("a raw block begins with a tag")
    return "\n" + markup.replace("`", "&#96;").replace("~", "&#126;").replace("\r", "") + "\n"


def record_page(file: str) -> str:
    return f"api/v1/records/{file}"


def ladder_list(rungs: Iterable[Rung], here: str) -> str:
    """The ladder in full: each rung's state, when it was reached and by which record."""
    items = []
    for rung in rungs:
        record = f' <a href="{html(relative(here, record_page(rung.record)))}">record</a>' if rung.record else ""
        date = f" <time>{html(rung.date)}</time>" if rung.date else ""
        items.append(
            f'<li class="{rung.state}"><b>{rung.name}</b> '
            f'<span class="state">{STATES[rung.state]}</span> '
            f'<span class="detail">{html(rung.detail)}{date}{record}</span></li>'
        )
    meaning = f'<a href="{relative(here, "verification/")}">What the rungs mean</a>'
    return f'<ol class="ladder">{"".join(items)}</ol><p class="gap">{meaning}</p>'


def ladder_pips(rungs: list[Rung]) -> str:
    """The ladder in one line for listings."""
    reached = [r.name for r in rungs if r.state == "reached"]
    words = f"{len(reached)} of {len(rungs)} rungs" + (f": {', '.join(reached)}" if reached else "")
    pips = "".join(f'<i class="{r.state}"></i>' for r in rungs)
    return f'<span class="pips" role="img" title="{html(words)}">{pips}</span>'


def command_box(command: str) -> str:
    """A command with its copy button (which the page's script shows; without it the text can be selected)."""
    words = re.sub(r"--[\w-]+", r"<i>\g<0></i>", html(command))  # a line does not end within an option
    return f'<div class="cmd"><code>{words}</code> <button type="button" class="copy">Copy</button></div>'


def copy_block(text: str) -> str:
    """Several lines with a copy button."""
    return (
        f'<div class="cmd block"><pre tabindex="0">{multiline(text)}</pre>'
        '<button type="button" class="copy">Copy</button></div>'
    )


def entry_link(entry: Entry, here: str) -> str:
    return f'<a href="{html(relative(here, entry_page(entry.kind, entry.id)))}">{html(entry.name)}</a>'


def table(rows: Iterable[tuple[str, str]], css: str = "facts") -> str:
    """Two columns: a heading and HTML. The spaces between cells keep words apart where the page is read as text."""
    body = "".join(f"<tr><th>{html(name)}</th> <td>{cell}</td></tr>\n" for name, cell in rows)
    return f'<div class="scroll"><table class="{css}"><tbody>{body}</tbody></table></div>'


def columns(head: Iterable[str], rows: Iterable[Iterable[str]], css: str = "plain") -> str:
    """A table with a heading row. head: text; rows: HTML, each row's first cell its heading. Empty without rows."""
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f" <td>{cell}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows
    )
    if not body:
        return ""
    top = "".join(f'<th scope="col">{html(name)}</th> ' for name in head)
    return f'<div class="scroll"><table class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def worth_grouping(count: int, groups: int) -> bool:
    """Whether headings help a listing: over one or two cards each they would only scatter them."""
    return count >= 3 * groups > 3
