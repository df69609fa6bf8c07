"""The page of one implementation, with its annotated source, and the list of all."""

from __future__ import annotations

from refimpl import registry
from scripts.site.annotate import annotated
from scripts.site.blocks import command_box, entry_link, ladder_list, ladder_pips, raw, table
from scripts.site.links import implementation_page, relative
from scripts.site.model import Site
from scripts.site.results import newest, run_blocks
from scripts.site.text import front_matter, html, label, markdown, shorten


def title(implementation: registry.Entry) -> tuple[str, str]:
    """Name and subtitle: the docstring's first line is `Name: what it is`."""
    name, _, rest = implementation.title.partition(":")
    return (name.strip() or implementation.name), rest.strip()[:1].upper() + rest.strip()[1:]


def page(site: Site, implementation: registry.Entry) -> str:
    """The Markdown file of an implementation's page. Raises SyntaxError where the source is not Python."""
    here = implementation_page(implementation.name)
    name, subtitle = title(implementation)
    source = implementation.path.read_text(encoding="utf-8")
    about, rows = annotated(source)
    facts = [
        ("family", html(label(implementation.family))),
        ("needs of a batch", ", ".join(html(label(n)) for n in implementation.needs)),
        ("default backbone", f"<code>{html(implementation.backbone)}</code>"),
        ("judged by", html(label(implementation.protocol))),
        ("optimiser turns", ", ".join(html(t) for t in implementation.turns) if len(implementation.turns) > 1 else ""),
        ("source", f"<code>{html(_path(implementation))}</code>, {implementation.lines} lines"),
        ("runs the entries", ", ".join(entry_link(e, here) for e in site.served_by(implementation.name))),
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
            raw(f'<p class="foot" data-search-exclude>{" · ".join(foot)}</p>'),
        ]
    )


def _path(implementation: registry.Entry) -> str:
    """Path in the repository."""
    return f"refimpl/methods/{implementation.family}/{implementation.path.name}"


def index(site: Site) -> str:
    """The list of all implementations, by family."""
    here = "implementations/"
    parts = [
        front_matter(title="Implementations", description="Every reference implementation with its annotated source."),
        "# Implementations\n",
        "One paper, one file, readable beside the paper. Each runs with one command, and its page shows its source",
        "with the explanations beside the code.\n",
    ]
    for family in dict.fromkeys(i.family for i in site.implementations.values()):
        parts.append(f"## {markdown(label(family).capitalize())}\n")
        cards = []
        for implementation in (i for i in site.implementations.values() if i.family == family):
            name, subtitle = title(implementation)
            address = html(relative(here, implementation_page(implementation.name)))
            cards.append(
                f'<li class="card"><h3><a href="{address}">{html(name)}</a></h3><p>{html(subtitle)}</p>'
                f'<p class="meta"><span>{implementation.lines} lines</span>'
                f"<span>{html(', '.join(label(n) for n in implementation.needs))}</span>"
                f"{ladder_pips(site.method_ladder(implementation.name))}</p></li>"
            )
        parts.append(raw(f'<ul class="cards" data-search-exclude>{"".join(cards)}</ul>'))
    if not site.implementations:
        parts.append("There is none yet.\n")
    return "\n".join(parts)
