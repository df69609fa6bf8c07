"""What's new: the catalog's log as a page and as an Atom feed.

Many lines of one sort on one day (a first import, say) are one item with a number; what is less is told one by one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.change_log import WHAT, Change, read, text
from scripts.site.blocks import raw
from scripts.site.implementations import title
from scripts.site.links import FOLDERS, TITLES, entry_page, implementation_page, relative, run_page, source_file
from scripts.site.model import Site
from scripts.site.output import Output
from scripts.site.tables import style
from scripts.site.text import front_matter, html, label, plain

PAGE, FEED = "whats-new/", "feed.xml"
TITLE = "What's new"
DESCRIPTION = "What was added, changed, reproduced or broke in the catalog, by date."
TOLD = 12  # lines of one sort on one day that are told one by one
DAYS, ITEMS = 40, 100  # on the page, and in the feed
# Identifiers of the feed and its items are made from this one and what an item says; it never changes.
SPACE = uuid.UUID("6f1ad58b-6f0e-4c0c-9a39-0b6e5a2f7d11")


@dataclass(frozen=True)
class Item:
    """One thing to tell. page: from the site's root, "" where there is none (any more). key: what identifies it."""

    date: str
    what: str
    name: str
    detail: str
    page: str
    key: str

    @property
    def words(self) -> str:
        return f"{self.what.capitalize()}: {self.name}" + (f" ({self.detail})" if self.detail else "")


def _plural(kind: str) -> str:
    apart = {"implementation": "implementations", "run": "runs", "term": "terms"}
    return apart.get(kind) or TITLES.get(kind, label(kind)).lower()


def _listing(kind: str) -> str:
    return {"implementation": "implementations/", "run": "leaderboards/"}.get(kind, f"{FOLDERS.get(kind, '')}/")


def _one(site: Site, change: Change) -> Item:
    kind, name = change.kind, change.id
    shown, page = name, ""
    if kind == "implementation" and name in site.implementations:
        shown, page = title(site.implementations[name])[0], implementation_page(name)
    elif kind == "run":
        shown = change.detail or name
        page = run_page(name) if any(Path(run["file"]).stem == name for run in site.runs) else ""
    elif kind in FOLDERS:
        moved = site.catalog.moved.get((kind, name), name)
        entry = site.catalog.entries.get((kind, moved))
        shown, page = (entry.name, entry_page(kind, moved)) if entry else (name, "")
    detail = "" if kind == "run" else change.detail
    key = "/".join((change.date, change.what, kind, name, change.detail))
    return Item(change.date, change.what, plain(shown), plain(detail), page, key)


def days(site: Site, changes: list[Change]) -> Iterator[tuple[str, list[Item]]]:
    """Each date with its items, the newest first; within a day in the order of WHAT."""
    for date in sorted({change.date for change in changes}, reverse=True):
        items = []
        for what in WHAT:
            groups: dict[str, list[Change]] = {}
            for change in changes:
                if (change.date, change.what) == (date, what):
                    groups.setdefault(change.kind, []).append(change)
            for kind, same in groups.items():
                if len(same) > TOLD:
                    name, key = f"{len(same)} {_plural(kind)}", "/".join((date, what, kind))
                    items.append(Item(date, what, name, "", _listing(kind), key))
                else:
                    items += [_one(site, change) for change in same]
        yield date, items


def page(found: list[tuple[str, list[Item]]]) -> str:
    """The Markdown file of the page."""
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION, hide=["navigation", "toc"]),
        f"# {TITLE}\n",
        raw(
            f'<div class="lead">{style(PAGE)}<p>{html(DESCRIPTION)} As a feed: <a href="../{FEED}">Atom</a>. '
            'As a table with every line: <a href="../api/v1/changes.csv">CSV</a>.</p></div>'
        ),
    ]
    if not found:
        parts.append("Nothing is on record yet.\n")
    for date, items in found[:DAYS]:
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(item.what, []).append(item)
        blocks = "".join(_block(what, same) for what, same in groups.items())
        parts += [f"## {date}\n", raw(f'<div class="news">{blocks}</div>')]
    meanings = "".join(f"<dt>{what}</dt><dd>{html(about)}</dd>" for what, about in WHAT.items())
    parts += ["## What the words mean\n", raw(f'<dl class="when">{meanings}</dl>')]
    return "\n".join(parts)


def _block(what: str, items: list[Item]) -> str:
    lines = "".join(f"<li>{_line(item)}</li>" for item in items)
    return f'<section class="{what}"><h3>{what}</h3><ul>{lines}</ul></section>'


def _line(item: Item) -> str:
    name = f'<a href="{html(relative(PAGE, item.page))}">{html(item.name)}</a>' if item.page else html(item.name)
    return name + (f' <span class="quiet">{html(item.detail)}</span>' if item.detail else "")


def _xml(value: object) -> str:
    """Text for the feed: two characters that HTML lets pass are none of XML."""
    return html(value).replace("\ufffe", "").replace("\uffff", "")


def feed(found: list[tuple[str, list[Item]]], address: str) -> str:
    """The feed. address: where the site is, with a slash at its end, or "": its links are then relative to the feed."""
    items = [item for _, same in found for item in same][:ITEMS]
    updated = items[0].date if items else "2026-01-01"
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">',
        f"<id>urn:uuid:{uuid.uuid5(SPACE, 'feed')}</id>",
        "<title>SSL for Earth: what's new</title>",
        f"<subtitle>{html(DESCRIPTION)}</subtitle>",
        f"<updated>{updated}T00:00:00Z</updated>",
        "<author><name>SSL for Earth</name></author>",
        f'<link rel="self" type="application/atom+xml" href="{_xml(address + FEED)}"/>',
        f'<link rel="alternate" type="text/html" href="{_xml(address + PAGE)}"/>',
    ]
    for item in items:
        lines += [
            "<entry>",
            f"<id>urn:uuid:{uuid.uuid5(SPACE, item.key)}</id>",
            f"<title>{_xml(item.words)}</title>",
            f"<updated>{item.date}T00:00:00Z</updated>",
            f'<link rel="alternate" type="text/html" href="{_xml(address + (item.page or PAGE))}"/>',
            f'<category term="{item.what}"/>',
            f"<summary>{html(WHAT[item.what])}</summary>",
            "</entry>",
        ]
    return "\n".join([*lines, "</feed>", ""])


def write(site: Site, output: Output, address: str) -> None:
    """Adds page, feed and the log itself. Raises scripts.change_log.NotALog."""
    changes = read(site.catalog.root / "changes.csv")
    found = list(days(site, changes))
    output.add(source_file(PAGE), page(found))
    output.add(FEED, feed(found, address))
    output.add("api/v1/changes.csv", text(changes))
