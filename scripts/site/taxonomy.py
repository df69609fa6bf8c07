"""The field as a tree: kinds, their families, their entries; and the words for data, tasks and sensors."""

from __future__ import annotations

from scripts.catalog import Entry
from scripts.site.blocks import entry_link, raw
from scripts.site.facets import Facet
from scripts.site.links import FOLDERS, TITLES, relative
from scripts.site.listings import INTRODUCTIONS
from scripts.site.model import Site
from scripts.site.tables import style
from scripts.site.text import front_matter, html, plain, slug

PAGE = "taxonomy/"
LEAVES = 80  # entries of a family that are named here; its page has all
# Lists of words beside the tree: facet, vocabulary, title.
LISTS = (("modality", "modality", "Kinds of data"), ("task", "task", "Tasks"), ("sensor", "sensor", "Sensors"))


def _word(site: Site, vocabulary: str, name: object) -> tuple[str, str]:
    """A word and what it means."""
    found = (site.catalog.vocabulary.get(vocabulary) or {}).get(name)
    return site.word(vocabulary, name), plain(found.get("description", "")) if isinstance(found, dict) else ""


def families(site: Site, kind: str) -> list[tuple[str, str, str, list[Entry]]]:
    """(id, label, description, entries) of each family of a kind, in the vocabulary's order, then what has none."""
    entries = site.of_kind(kind)
    order = list(site.catalog.vocabulary.get(f"{kind}_family") or {})
    names = dict.fromkeys(plain(e.data.get("family") or "") for e in entries)
    found = []
    for name in sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n)):
        members = [e for e in entries if plain(e.data.get("family") or "") == name]
        found.append((name, *(_word(site, f"{kind}_family", name) if name else ("Without a family", "")), members))
    return found


def _bar(count: int, most: int) -> str:
    return f'<em aria-hidden="true" style="width:{count / most * 5:.2f}rem"></em>'


def _names(entries: list[Entry], address: str) -> str:
    """Links to entries. address: page that has all of them; where there is none, all are named here."""
    some = entries[:LEAVES] if address else entries
    years = ((entry_link(e, PAGE), e.data.get("year")) for e in some)
    items = "".join(f"<li>{link}{f' <small>{html(year)}</small>' if year else ''}</li>" for link, year in years)
    more = f'<li><a href="{html(address)}">all {len(entries)}</a></li>' if len(entries) > len(some) else ""
    return items + more


def _kind(site: Site, kind: str, facet: Facet | None) -> str:
    """A kind with its families. facet: that of families, whose values have pages."""
    found = families(site, kind)
    most, total = max(len(members) for *_, members in found), sum(len(members) for *_, members in found)
    branches = ""
    for name, label, about, members in found:
        value = facet.values.get(f"{kind}-{name}") if facet else None
        page = relative(PAGE, facet.page(value)) if value else ""
        count = f"{_bar(len(members), most)}<b>{len(members)}</b>"
        branches += (
            f'<details id="{slug(kind)}-{slug(name)}"><summary><b>{html(label)}</b> <span>{html(about)}</span> '
            f'<i>{count}</i></summary><ul class="leaves">{_names(members, page)}</ul></details>'
        )
    address = html(relative(PAGE, FOLDERS[kind] + "/"))
    return (
        f'<details id="{slug(kind)}" class="kind" open><summary><b>{TITLES[kind]}</b> '
        f"<span>{html(INTRODUCTIONS[kind])}</span> <i>{total}</i></summary><div>{branches}"
        f'<p class="gap"><a href="{address}">{TITLES[kind]} as cards</a></p></div></details>'
    )


def _list(site: Site, facet: Facet | None, vocabulary: str) -> str:
    """Words of a vocabulary with what they mean, each leading to the entries that have it."""
    rows = []
    for name in site.catalog.vocabulary.get(vocabulary) or {}:
        label, about = _word(site, vocabulary, name)
        value = facet.values.get(plain(name)) if facet else None
        shown = f'<a href="{html(relative(PAGE, facet.page(value)))}">{html(label)}</a>' if value else html(label)
        count = len(value.entries) if value else 0
        rows.append(f"<div><dt>{shown} <i>{count}</i></dt><dd>{html(about)}</dd></div>")
    return f'<dl class="words">{"".join(rows)}</dl>'


def page(site: Site, facets: list[Facet]) -> str:
    """The Markdown file of the page. facets: those whose values have pages."""
    by_code = {facet.code: facet for facet in facets}
    kinds = [kind for kind in TITLES if site.of_kind(kind)]
    tree = "".join(_kind(site, kind, by_code.get("family")) for kind in kinds)
    groups = sum(len(families(site, kind)) for kind in kinds)
    parts = [
        front_matter(
            title="Taxonomy", description="Kinds, families, entries: the field as a tree.", hide=["navigation", "toc"]
        ),
        "# Taxonomy\n",
        raw(
            f'<div class="lead">{style(PAGE)}<p>{len(site.all)} entries of {len(kinds)} kinds in {groups} families. '
            "The words are those of the catalog's vocabulary, which is closed: an entry takes one of them or adds one "
            "for all.</p></div>"
        ),
        raw(f'<div class="tree">{tree}</div>'),
    ]
    for code, vocabulary, title in LISTS:
        parts += [f"## {title}\n", raw(f"<div>{_list(site, by_code.get(code), vocabulary)}</div>")]
    return "\n".join(parts)
