"""Who builds on whom: the methods as a map, time from left to right, a band per family, a line per `extends`.

`place` puts the methods on a grid of columns (years) and rows and knows nothing of drawing; `page` draws it as SVG
whose names are links, and says the same in words below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.catalog import Entry
from scripts.site.blocks import entry_link, raw
from scripts.site.links import entry_page, relative
from scripts.site.model import Site
from scripts.site.text import front_matter, html, slug

PAGE = "lineage/"
COLUMN, ROW, HEAD, GAP = 108, 19, 30, 14  # pixels: between columns and rows, a band's title, between bands
LETTERS = 15  # of a name that fit into a column


@dataclass
class Place:
    """Where a method stands: column and row from 0, rows counted within its band."""

    column: int
    row: int


def _generation(entry: Entry, parents: dict[str, list[Entry]], years: dict[str, int]) -> int:
    """How many ancestors of the same year it has behind one another: they need columns of their own."""
    same = [p for p in parents[entry.id] if years[p.id] == years[entry.id]]
    return 1 + max(_generation(p, parents, years) for p in same) if same else 0


def place(
    methods: list[Entry], parents: dict[str, list[Entry]], band_of: Callable[[Entry], str]
) -> tuple[dict[str, Place], dict[str, int], list[int]]:
    """Places by id, rows per band, and the year of each column.

    parents: what each method extends. A method takes the free row of its column that is nearest below that of its
    first parent in the same band, so that families of descendants stay together.
    """
    years = {e.id: e.data["year"] for e in methods}
    when = {e.id: (years[e.id], _generation(e, parents, years)) for e in methods}
    columns = sorted(set(when.values()))
    number = {moment: i for i, moment in enumerate(columns)}
    heirs = {e.id: 0 for e in methods}
    for e in methods:
        for parent in parents[e.id]:
            heirs[parent.id] += 1
    places: dict[str, Place] = {}
    taken: set[tuple[str, int, int]] = set()
    rows: dict[str, int] = {}
    for entry in sorted(methods, key=lambda e: (when[e.id], -heirs[e.id], e.id)):
        band, column = band_of(entry), number[when[entry.id]]
        near = [places[p.id].row for p in parents[entry.id] if band_of(p) == band]
        row = near[0] if near else 0
        while (band, column, row) in taken:
            row += 1
        taken.add((band, column, row))
        places[entry.id] = Place(column, row)
        rows[band] = max(rows.get(band, 0), row + 1)
    return places, rows, [year for year, _ in columns]


def shortened(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1].rstrip(" -:") + "…"


def _drawing(site: Site, methods: list[Entry], parents: dict[str, list[Entry]], bands: list[str]) -> str:
    places, rows, years = place(methods, parents, site.family)
    top, at = {}, 26
    for band in bands:
        top[band] = at + HEAD
        at += HEAD + rows[band] * ROW + GAP
    width = len(years) * COLUMN + 20

    def x(entry: Entry) -> int:
        return 12 + places[entry.id].column * COLUMN

    def y(entry: Entry) -> int:
        return top[site.family(entry)] + places[entry.id].row * ROW

    parts = []
    for column, year in enumerate(years):
        if column == 0 or years[column - 1] != year:
            left = 6 + column * COLUMN
            parts.append(
                f'<path class="year" d="M{left} 22V{at}"/><text class="year" x="{left + 6}" y="14">{year}</text>'
            )
    for band in bands:
        parts.append(f'<text class="band" x="12" y="{top[band] - 15}">{html(band)}</text>')
    number = {e.id: i for i, e in enumerate(methods)}
    for entry in methods:
        for parent in parents[entry.id]:
            x1, y1, x2, y2 = x(parent) + 4, y(parent), x(entry) - 4, y(entry)
            bend = min(40, (x2 - x1) // 2)
            far = "" if site.family(parent) == site.family(entry) else " far"
            parts.append(
                f'<path class="edge{far}" data-of="{number[parent.id]} {number[entry.id]}" '
                f'd="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'
            )
    for entry in methods:
        address = html(relative(PAGE, entry_page(entry.kind, entry.id)))
        runs = entry.get("refimpl.fidelity") in ("own", "simplified")
        short = shortened(entry.name)
        dot = ' class="runs"' if runs else ""
        whole = f"<title>{html(entry.name)}</title>" if short != entry.name else ""
        parts.append(
            f'<a href="{address}" data-n="{number[entry.id]}">{whole}<circle cx="{x(entry)}" cy="{y(entry)}" r="3.5"'
            f'{dot}/><text x="{x(entry) + 7}" y="{y(entry) + 4}">{html(short)}</text></a>'
        )
    return (
        f'<svg class="lineage" viewBox="0 0 {width} {at}" width="{width}" height="{at}" role="group" '
        f'aria-label="Methods by year and family; lines lead from a method to what extends it">{"".join(parts)}</svg>'
    )


def _words(site: Site, methods: Iterable[Entry], parents: dict[str, list[Entry]]) -> str:
    """The same as a list: what each method extends."""

    def item(entry: Entry) -> str:
        named = ", ".join(entry_link(p, PAGE) for p in parents[entry.id])
        year = f' <span class="quiet">{html(entry.data["year"])}</span>' if entry.data.get("year") else ""
        return f"<li>{entry_link(entry, PAGE)}{year}{' extends ' + named if named else ''}</li>"

    return f'<ul class="lines">{"".join(map(item, methods))}</ul>'


def page(site: Site) -> str:
    methods = [e for e in site.of_kind("framework")]
    dated = [e for e in methods if e.data.get("year")]
    known = {e.id for e in dated}
    parents = {e.id: [p for p in site.catalog.related(e).get("extends", []) if p.kind == "framework"] for e in methods}
    drawn = {i: [p for p in named if p.id in known] for i, named in parents.items()}
    labels = [str(w.get("label")) for w in (site.catalog.vocabulary.get("framework_family") or {}).values()]
    present = {site.family(e) for e in dated}
    bands = [b for b in labels if b in present] + sorted(present - set(labels))
    links = sum(map(len, parents.values()))
    parts = [
        front_matter(
            title="Lineage", description="Which method builds on which: a map of the field.", hide=["navigation", "toc"]
        ),
        "# Lineage\n",
        f"{len(methods)} methods and the {links} links between them, as the entries declare them: time runs from left "
        "to right, each family has a band, a line leads from a method to what extends it, a dashed one into another "
        "family. A filled dot has an implementation of its own here.\n",
    ]
    if dated:
        drawing = _drawing(site, dated, drawn, bands)
        parts.append(raw(f'<div class="scroll wide" tabindex="0" role="region" aria-label="Map">{drawing}</div>'))
    parts.append("## In words\n")
    for band in dict.fromkeys([*bands, *(site.family(e) for e in methods)]):
        members = sorted(
            (e for e in methods if site.family(e) == band), key=lambda e: (e.data.get("year") or 0, e.name)
        )
        parts.append(raw(f'<h3 id="{slug(band)}">{html(band or "Other")}</h3>{_words(site, members, parents)}'))
    return "\n".join(parts)
