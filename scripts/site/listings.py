"""A listing per kind of entry; the glossary and the challenges are the listings of their kinds. No script needed."""

from __future__ import annotations

from scripts.catalog import Entry
from scripts.site.blocks import ladder_pips, raw, worth_grouping
from scripts.site.links import FOLDERS, SINGULAR, TITLES, entry_page, implementation_page, relative
from scripts.site.model import Site
from scripts.site.text import front_matter, html, markdown, shorten, slug

INTRODUCTIONS = {
    "framework": "Published methods of self-supervised learning, from general computer vision and from remote sensing.",
    "pretext_task": "Tasks whose answers come from the data themselves: what a network is asked while it learns.",
    "backbone": "Networks that turn images into features.",
    "technique": "Ideas that several methods share.",
    "dataset": "Images to pre-train on or to be judged on.",
    "survey": "Reviews of the field.",
    "challenge": "Open problems, and the implementations whose runs show them.",
    "term": "The words of the field, in alphabetical order.",
}


def _head(kind: str, count: int, toc: bool = True) -> list[str]:
    return [
        front_matter(title=TITLES[kind], description=INTRODUCTIONS[kind], **({} if toc else {"hide": ["toc"]})),
        f"# {TITLES[kind]}\n",
        f"{INTRODUCTIONS[kind]} {count} {SINGULAR[kind] if count == 1 else TITLES[kind].lower()} so far.\n"
        if kind != "term"
        else f"{INTRODUCTIONS[kind]}\n",
    ]


def _card(site: Site, entry: Entry, here: str, family: bool = False) -> str:
    address = html(relative(here, entry_page(entry.kind, entry.id)))
    chips = [
        entry.data.get("year"),
        site.family(entry) if family else "",
        *(site.word("modality", m) for m in (entry.data.get("modality") or [])[:3]),
    ]
    meta = "".join(f"<span>{html(c)}</span>" for c in chips if c)
    return (
        f'<li class="card"><h3><a href="{address}">{html(entry.name)}</a></h3>'
        f"<p>{html(shorten(entry.data.get('summary', ''), 180))}</p>"
        f'<p class="meta">{meta}{ladder_pips(site.ladder(entry))}</p></li>'
    )


def listing(site: Site, kind: str) -> str:
    """All entries of a kind as cards, by family (challenges: by area)."""
    if kind == "term":
        return glossary(site)
    if kind == "challenge":
        return challenges(site)
    here, entries = FOLDERS[kind] + "/", site.of_kind(kind)
    groups = {site.family(e) for e in entries}
    grouped = worth_grouping(len(entries), len(groups))
    parts = _head(kind, len(entries), toc=grouped)
    if not grouped:
        cards = "".join(_card(site, e, here, family=len(groups) > 1) for e in entries)
        return "\n".join([*parts, raw(f'<ul class="cards">{cards}</ul>')])
    order = [str(w.get("label")) for w in (site.catalog.vocabulary.get(f"{kind}_family") or {}).values()]
    for group in sorted(groups, key=lambda g: (order.index(g) if g in order else len(order), g)):
        members = [e for e in entries if site.family(e) == group]
        parts.append(f"## {markdown(group or 'Other')}\n")
        cards = "".join(_card(site, e, here) for e in members)
        parts.append(raw(f'<ul class="cards">{cards}</ul>'))
    return "\n".join(parts)


def glossary(site: Site) -> str:
    """All terms in alphabetical order, each with an anchor, below an index of letters."""
    entries = site.of_kind("term")
    here = FOLDERS["term"] + "/"
    parts, firsts, items = _head("term", len(entries), toc=False), {}, []
    for entry in entries:
        letter = entry.name[:1].upper()
        firsts.setdefault(letter if letter.isalnum() else "#", slug(entry.id))
        address = html(relative(here, entry_page("term", entry.id)))
        aliases = ", ".join(str(a) for a in entry.data.get("aliases") or [])
        also = f' <small class="quiet">also {html(aliases)}</small>' if aliases else ""
        items.append(
            f'<div id="{slug(entry.id)}"><dt><a href="{address}">{html(entry.name)}</a>{also}</dt>'
            f"<dd>{html(entry.data.get('summary', ''))}</dd></div>"
        )
    index = " ".join(f'<a href="#{anchor}">{html(letter)}</a>' for letter, anchor in firsts.items())
    parts.append(raw(f'<nav class="letters" aria-label="Letters">{index}</nav>'))
    parts.append(raw(f'<dl class="glossary">{"".join(items)}</dl>'))
    return "\n".join(parts)


def challenges(site: Site) -> str:
    """Open problems by area, each with the implementations that show it."""
    here, entries = FOLDERS["challenge"] + "/", site.of_kind("challenge")
    parts = _head("challenge", len(entries), toc=False)
    areas = {e.data.get("area") for e in entries}
    for area in sorted(areas, key=lambda a: (a != "rs", str(a))):
        parts.append(f"## {markdown(site.word('area', area) if area else 'Other')}\n")
        items = []
        for entry in (e for e in entries if e.data.get("area") == area):
            shown = "".join(
                f' <a href="{html(relative(here, implementation_page(n)))}"><code>{html(n)}</code></a>'
                for n in entry.data.get("demonstrates") or []
                if n in site.implementations
            )
            family = f"<span>{html(site.family(entry))}</span>" if site.family(entry) else ""
            address = html(relative(here, entry_page("challenge", entry.id)))
            items.append(
                f'<li class="card wide"><h3><a href="{address}">{html(entry.name)}</a></h3>'
                f"<p>{html(entry.data.get('summary', ''))}</p>"
                f'<p class="meta">{family}{"<span>shown by" + shown + "</span>" if shown else ""}'
                f"{ladder_pips(site.ladder(entry))}</p></li>"
            )
        parts.append(raw(f'<ul class="cards one">{"".join(items)}</ul>'))
    return "\n".join(parts)
