"""The page of one implementation, with its annotated source, and the list of all."""

from __future__ import annotations

from statistics import fmean

from refimpl import registry
from scripts.site import ladder, scores, tables
from scripts.site.annotate import annotated
from scripts.site.blocks import command_box, entry_link, ladder_list, ladder_pips, raw, table, worth_grouping
from scripts.site.links import implementation_page, relative
from scripts.site.model import Site
from scripts.site.results import newest, run_blocks
from scripts.site.text import front_matter, html, label, markdown, shorten


def title(implementation: registry.Entry) -> tuple[str, str]:
    """Name and subtitle: the docstring's first line is `Name: what it is`."""
    name, _, rest = implementation.title.partition(":")
    return (name.strip() or implementation.name), rest.strip()[:1].upper() + rest.strip()[1:]


def _served(site: Site, name: str, here: str) -> list[tuple[str, str]]:
    """Rows of the entries that it runs: those that it implements, and folded up those to which it is merely closest."""
    entries = site.served_by(name)
    its_own = [e for e in entries if e.get("refimpl.fidelity") != "closest"]
    closest = [e for e in entries if e not in its_own]
    rows = [("implements", ", ".join(entry_link(e, here) for e in its_own))]
    if closest:
        links = ", ".join(entry_link(e, here) for e in closest)
        how_many = (
            f"{len(closest)} {'entry' if len(closest) == 1 else 'entries'} without an implementation of their own"
        )
        rows.append(("closest to", f"<details><summary>{how_many}</summary>{links}</details>"))
    return rows


def page(site: Site, implementation: registry.Entry) -> str:
    """The Markdown file of an implementation's page. Raises SyntaxError where the source is not Python."""
    here = implementation_page(implementation.name)
    name, subtitle = title(implementation)
    source = implementation.path.read_text(encoding="utf-8")
    about, rows = annotated(source)
    breakable = html(_path(implementation)).replace("/", "/<wbr>").replace("_", "_<wbr>")
    facts = [
        ("family", html(label(implementation.family))),
        ("needs of a batch", ", ".join(html(label(n)) for n in implementation.needs)),
        ("default backbone", f"<code>{html(implementation.backbone)}</code>"),
        ("judged by", html(label(implementation.protocol))),
        ("optimiser turns", ", ".join(html(t) for t in implementation.turns) if len(implementation.turns) > 1 else ""),
        ("source", f"<code>{breakable}</code>, {implementation.lines} lines"),
        *_served(site, implementation.name, here),
    ]
    edit = site.edit_link(_path(implementation))
    foot = [f'<a href="{html(relative(here, "api/v1/implementations.json"))}">JSON of all implementations</a>']
    if edit:
        foot.append(f'<a class="edit" href="{html(edit)}">Edit this implementation</a>')
    runs = newest(site.runs_of(implementation.name))
    results = run_blocks(runs, here) or '<p class="quiet">No run on record yet.</p>'
    family = html(label(implementation.family))
    return "\n".join(
        [
            front_matter(
                title=f"{name}, implementation", description=shorten(implementation.title), hide=["navigation", "toc"]
            ),
            raw(f'<p class="eyebrow"><a href="../">Implementations</a> · {family}</p>'),
            f"# {markdown(name)}\n",
            raw(f'<div class="lead"><p>{html(subtitle)}</p></div>'),
            raw(f"<div>{command_box(implementation.command)}{table([f for f in facts if f[1]])}</div>"),
            "## Verification\n",
            raw(f"<div>{ladder_list(site.method_ladder(implementation.name), here)}</div>"),
            "## The paper in short\n",
            raw(f'<div class="about">{about}</div>'),
            "## Annotated source\n",
            raw(rows),
            "## Results\n",
            raw(f"<div>{results}</div>"),
            raw(f'<p class="foot">{" · ".join(foot)}</p>'),
        ]
    )


def _path(implementation: registry.Entry) -> str:
    """Path in the repository."""
    return f"refimpl/methods/{implementation.family}/{implementation.path.name}"


def _card(site: Site, implementation: registry.Entry, here: str, family: bool) -> str:
    name, subtitle = title(implementation)
    address = html(relative(here, implementation_page(implementation.name)))
    chips = [implementation.family] if family else []
    chips += [f"{implementation.lines} lines", *implementation.needs]
    meta = "".join(f"<span>{html(label(chip))}</span>" for chip in chips)
    return (
        f'<li class="card"><h3><a href="{address}">{html(name)}</a></h3><p>{html(subtitle)}</p>'
        f'<p class="meta">{meta}{ladder_pips(site.method_ladder(implementation.name))}</p></li>'
    )


def _glance(site: Site, here: str) -> str:
    """All of them in one table: how long they are, how long a first run takes, what their proof on record says."""
    rows = []
    for one in sorted(site.implementations.values(), key=lambda i: title(i)[0].lower()):
        name, _ = title(one)
        link = f'<a href="{html(relative(here, implementation_page(one.name)))}">{html(name)}</a>'
        runs, learns = (ladder.proof(one.name, rung, site.verifications) for rung in ("runs", "learns"))
        seconds = scores.number(runs[1].get("seconds")) if runs else None
        rows.append(
            [
                tables.Cell(link, name.lower()),
                tables.Cell(str(one.lines), one.lines),
                tables.Cell("" if seconds is None else f"{seconds:.0f} s", seconds),
                *_gain(learns),
            ]
        )
    head = ["implementation", "lines", "smoke run", "better than untrained by", "of"]
    return tables.sortable("glance", head, rows, css="glance", by=0, falling=False)


def _gain(proved: tuple | None) -> tuple[tables.Cell, tables.Cell]:
    """By how much trained features beat those of the same network untrained: mean, lowest and highest of the seeds."""
    if not proved:
        return tables.Cell('<span class="quiet">not shown yet</span>'), tables.Cell("")
    _, rung, current = proved
    sign = -1 if scores.less_is_better(rung["metric"]) else 1
    gains = sorted(sign * (after - before) for after, before in zip(rung["trained"], rung["random"]))
    percent = rung.get("unit") == "%"
    mean, low, high = (f"{gain:.1f}" if percent else f"{gain:.3g}" for gain in (fmean(gains), gains[0], gains[-1]))
    was = "" if current else ' <small class="quiet">before the code changed</small>'
    shown = f"<b>{mean}</b>{' points' if percent else ''} <small>[{low}, {high}]</small>{was}"
    return tables.Cell(shown, fmean(gains) if percent else None), tables.Cell(html(rung["metric"]))


def index(site: Site) -> str:
    """The list of all implementations, by family where that helps."""
    here, found = "implementations/", list(site.implementations.values())
    families = list(dict.fromkeys(sorted(i.family for i in found)))
    grouped = worth_grouping(len(found), len(families))
    parts = [
        front_matter(title="Implementations", description="Every reference implementation with its annotated source."),
        "# Implementations\n",
        "One paper, one file, readable beside the paper. Each runs with one command, and its page shows its source",
        "with the explanations beside the code.\n",
    ]
    for family in families if grouped else [None]:
        if family:
            parts.append(f"## {markdown(label(family).capitalize())}\n")
        cards = "".join(_card(site, i, here, family=not grouped) for i in found if family in (None, i.family))
        parts.append(raw(f'<ul class="cards">{cards}</ul>'))
    parts += [
        "## At a glance\n",
        "A smoke run is the first command of each page, start of Python included. What was learned is shown on the",
        "[synthetic Earth](../synthetic-earth.md): a network of the same initialisation, untrained, is judged in the",
        "same way. Mean of the seeds, in brackets the lowest and the highest; short runs, which show that a method",
        "works, not which one is best.\n",
        raw(f"<div>{_glance(site, here)}{tables.style(here)}{tables.script(here)}</div>"),
    ]
    return "\n".join(parts)
