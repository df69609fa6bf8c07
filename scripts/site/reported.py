"""Scores that authors report, in tables of their own: one page per data set, a table per metric and protocol.

They are sorted and never ranked: what a paper states of its setting is rarely enough to say that two of them are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.catalog import Entry
from scripts.site.blocks import entry_link, raw
from scripts.site.entries import source_address
from scripts.site.links import relative
from scripts.site.model import Site
from scripts.site.scores import less_is_better, number
from scripts.site.tables import Cell, script, sortable, style
from scripts.site.text import front_matter, html, label, link, markdown, plain, slug

INTRODUCTION = (
    "What the authors of the entries report, as printed, with the place where each number was read. Sorted, not "
    "ranked: networks, training data and amounts of labels differ, as the settings say."
)


@dataclass
class Reported:
    """All reported scores on one data set. entry: its page, where it has one."""

    name: str
    slug: str
    entry: Entry | None
    scores: list[tuple[Entry, Mapping]] = field(default_factory=list)

    @property
    def page(self) -> str:
        return f"leaderboards/reported/{self.slug}/"

    def tables(self) -> dict[tuple[str, str, str], list[tuple[Entry, Mapping]]]:
        """(metric, unit, protocol) -> its scores, the best first; the largest tables come first."""
        found: dict[tuple[str, str, str], list[tuple[Entry, Mapping]]] = {}
        for entry, score in self.scores:
            key = tuple(plain(score.get(k) or "") for k in ("metric", "unit", "protocol"))
            found.setdefault(key, []).append((entry, score))
        for (metric, *_), scores in found.items():
            sign = 1 if less_is_better(metric) else -1
            scores.sort(key=lambda pair: sign * (number(pair[1].get("value")) or 0))
        return dict(sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def gather(site: Site) -> list[Reported]:
    """Data sets with reported scores, those with most scores first; spellings of one entry are one."""
    known: dict[str, Entry] = {}
    for entry in site.of_kind("dataset"):
        for spelling in (entry.name, *(entry.get("aliases", list, []))):
            known.setdefault(slug(spelling), entry)
    found: dict[str, Reported] = {}
    for entry in site.all:
        for score in entry.get("results", list, []):
            name = plain(score.get("dataset") or "unnamed data")
            dataset = known.get(slug(name))
            key = dataset.id.replace("_", "-") if dataset else slug(name)[:80]
            one = found.setdefault(key, Reported(dataset.name if dataset else name, key, dataset))
            one.scores.append((entry, score))
    return sorted(found.values(), key=lambda r: (-len(r.scores), r.name.lower()))


def _source(entry: Entry, score: Mapping) -> str:
    """Where the number stands, with a link to the source."""
    source = next((s for s in entry.get("sources", list, []) if s.get("key") == score.get("source")), {})
    address, place = source_address(source), plain(score.get("locator") or "")
    title = plain(source.get("title") or label(score.get("source") or "source"))
    shown = link(address, title) if address else html(title)
    return f"{html(place)}<br><small>{shown}</small>" if place else shown


def page(site: Site, reported: Reported) -> str:
    """The Markdown file of one data set's reported scores."""
    here = reported.page
    about = f"{entry_link(reported.entry, here)} is an entry of its own. " if reported.entry else ""
    parts = [
        front_matter(
            title=f"{reported.name}: reported scores",
            description=f"Scores that authors report on {reported.name}, with where each was read.",
            hide=["navigation"],
        ),
        raw(
            f'<p class="eyebrow">{style(here)}<a href="{relative(here, "leaderboards/")}">Leaderboards</a> '
            "· reported</p>"
        ),
        f"# {markdown(reported.name)}: reported scores\n",
        raw(f"<p>{about}{html(INTRODUCTION)}</p>"),
    ]
    for n, ((metric, unit, protocol), scores) in enumerate(reported.tables().items()):
        way = site.word("protocol", protocol)
        parts.append(f"## {markdown(metric)}, {markdown(way.lower() if way[1:2].islower() else way)}\n")
        rows = []
        for entry, score in scores:
            value = score.get("value")
            rows.append(
                [
                    Cell(entry_link(entry, here), plain(entry.name).lower()),
                    Cell(f"<b>{html(value)}</b>{'' if unit == '1' else ' ' + html(unit)}", number(value)),
                    Cell(html(score.get("setting") or "–")),
                    Cell(html(entry.data.get("year") or "–"), number(entry.data.get("year"))),
                    Cell(_source(entry, score)),
                ]
            )
        words = "less is better" if less_is_better(metric) else "more is better"
        head = ["entry", f"{metric} ({words})", "setting", "year", "read at"]
        parts.append(raw(sortable(f"t{n}", head, rows, css="reported", by=1, falling=not less_is_better(metric))))
    parts.append(raw(f"<p>{script(here)}</p>"))
    return "\n".join(parts)
