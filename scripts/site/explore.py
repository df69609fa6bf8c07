"""The explorer and the page of every facet value.

The explorer's page lists the facets as links to those pages, which is what a browser without JavaScript shows; with
JavaScript, docs/assets/explore.js turns the same list into filters.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from scripts.catalog import Entry
from scripts.site.blocks import raw
from scripts.site.facets import Facet, Value
from scripts.site.index import INDEX
from scripts.site.links import FOLDERS, TITLES, entry_page, relative
from scripts.site.model import Site
from scripts.site.text import front_matter, html, markdown, shorten

PAGE = "explore/"
STYLE = "assets/explore.css"
OPEN = ("kind", "modality", "task")  # facets that are unfolded from the start


def page_scripts(here: str, *paths: str) -> str:
    """Script elements that run in order once the page is there, after those that every page has."""
    return "".join(f'<script src="{html(relative(here, path))}" defer></script>' for path in paths)


def style(here: str) -> str:
    """The style sheet of the pages that list and compare; the others do without its weight."""
    return f'<link rel="stylesheet" href="{html(relative(here, STYLE))}">'


def explorer(site: Site, facets: list[Facet]) -> str:
    """The Markdown file of the explorer."""
    blocks = "".join(_facet(facet) for facet in facets)
    kinds = "".join(f'<li><a href="../{folder}/">{html(TITLES[kind])}</a></li>' for kind, folder in FOLDERS.items())
    return "\n".join(
        [
            front_matter(
                title="Explore",
                description="Every entry of the catalog, filtered by what it is, what it sees and what runs.",
                hide=["navigation", "toc"],
            ),
            "# Explore\n",
            raw(
                f'<div id="explorer" class="explorer">{style(PAGE)}'
                f'<div class="facets"><p class="label">Browse by</p>{blocks}</div>'
                '<div class="found"><noscript><p>Each line beside this text leads to a page with the entries that it '
                f"counts. All entries, kind by kind:</p><ul>{kinds}</ul></noscript></div>"
                f"{page_scripts(PAGE, INDEX, 'assets/search.js', 'assets/selection.js', 'assets/explore.js')}</div>"
            ),
        ]
    )


def _facet(facet: Facet) -> str:
    items = "".join(
        f'<li><a href="{html(relative(PAGE, facet.page(v)))}">{html(v.label)} <span>{len(v.entries)}</span></a></li>'
        for v in facet.values.values()
    )
    unfolded = " open" if facet.code in OPEN else ""
    return (
        f'<details data-facet="{facet.code}"{unfolded}><summary>{html(facet.title)}</summary><ul>{items}</ul></details>'
    )


def value_page(site: Site, facet: Facet, value: Value) -> str:
    """The Markdown file of one facet value: the entries that the explorer finds for it."""
    here, count = facet.page(value), len(value.entries)
    about = value.description
    title = f"{facet.title}: {value.label}"
    parts = [
        front_matter(title=title, description=shorten(f"{about} {count} entries of the catalog."), hide=["navigation"]),
        raw(f'<p class="eyebrow">{style(here)}<a href="{relative(here, PAGE)}">Explore</a> · {html(facet.title)}</p>'),
        f"# {markdown(value.label)}\n",
        raw(
            f"<p>{html(about)} <b>{count}</b> {'entry' if count == 1 else 'entries'}. "
            f'<a class="js-only" href="{html(relative(here, PAGE))}?{facet.code}={value.code}">Filter further</a></p>'
        ),
    ]
    for kind, members in groupby(value.entries, key=lambda entry: entry.kind):
        if facet.code != "kind":
            parts.append(f"## {TITLES[kind]}\n")
        parts.append(raw(f'<ul class="names">{"".join(_lines(site, members, here))}</ul>'))
    return "\n".join(parts)


def _lines(site: Site, entries: Iterable[Entry], here: str) -> Iterable[str]:
    for entry in entries:
        about = " · ".join(str(x) for x in (site.family(entry), entry.data.get("year")) if x)
        yield (
            f'<li><a href="{html(relative(here, entry_page(entry.kind, entry.id)))}">{html(entry.name)}</a> '
            f"<small>{html(about)}</small></li>"
        )
