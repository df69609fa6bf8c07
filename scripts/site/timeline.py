"""What came when: methods, data sets, surveys and networks year by year, and how many methods of each family."""

from __future__ import annotations

from collections import Counter

from scripts.catalog import Entry
from scripts.site.blocks import entry_link, raw
from scripts.site.links import TITLES
from scripts.site.model import Site
from scripts.site.text import front_matter, html

PAGE = "timeline/"
KINDS = ("framework", "dataset", "backbone", "survey")
SHADES = 6  # families that have a colour of their own in the chart; the others share one
WIDTH, HEIGHT, LEFT = 900, 220, 34


def _chart(site: Site, methods: list[Entry]) -> str:
    """Methods per year as stacked bars, the largest families apart; each bar leads to its year below."""
    sizes = Counter(site.family(e) for e in methods)
    leading = [family for family, _ in sizes.most_common(SHADES)]
    years = range(min(e.data["year"] for e in methods), max(e.data["year"] for e in methods) + 1)
    years = years[max(0, len(years) - 14) :]  # the few before are in the list
    counts = {year: Counter() for year in years}
    for e in methods:
        if e.data["year"] in counts:
            family = site.family(e)
            counts[e.data["year"]][family if family in leading else "other families"] += 1
    order = [*leading, *(["other families"] if len(sizes) > SHADES else [])]
    top = max(sum(c.values()) for c in counts.values())
    step = (WIDTH - LEFT) / len(years)
    scale = (HEIGHT - 40) / top
    parts = []
    for tick in range(0, top + 1, 10):
        y = HEIGHT - 20 - tick * scale
        parts.append(f'<path class="year" d="M{LEFT} {y:.0f}H{WIDTH}"/>')
        parts.append(f'<text class="year" x="0" y="{y + 4:.0f}">{tick}</text>')
    for i, year in enumerate(years):
        x, y = LEFT + i * step + step * 0.12, HEIGHT - 20.0
        bars = ""
        for n, family in enumerate(order):
            count = counts[year][family]
            if count:
                y -= count * scale
                box = f'x="{x:.0f}" y="{y:.1f}" width="{step * 0.76:.0f}" height="{count * scale:.1f}"'
                bars += f'<rect class="f{n}" {box}><title>{html(family)}, {year}: {count}</title></rect>'
        total = sum(counts[year].values())
        label = f'<text class="year" x="{x + step * 0.38:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{year}</text>'
        parts.append(f'<a href="#y{year}" aria-label="{year}: {total} methods">{bars}{label}</a>' if total else label)
    legend = "".join(f'<li><i class="f{n}"></i>{html(family)}</li>' for n, family in enumerate(order))
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="Methods per year by family">'
    below = f'<figcaption><ul class="legend">{legend}</ul></figcaption>'
    return f'<figure class="bars">{head}{"".join(parts)}</svg>{below}</figure>'


def page(site: Site) -> str:
    dated = [e for e in site.all if e.kind in KINDS and e.data.get("year")]
    methods = [e for e in dated if e.kind == "framework"]
    parts = [
        front_matter(title="Timeline", description="What came when: methods, data sets, networks, surveys."),
        "# Timeline\n",
        "By the year of publication, newest first. Methods are grouped by family; the [lineage](lineage.md) shows "
        "which of them builds on which.\n",
    ]
    if methods:
        parts.append(raw(_chart(site, methods)))
    for year in sorted({e.data["year"] for e in dated}, reverse=True):
        rows = []
        for kind in KINDS:
            members = [e for e in dated if e.kind == kind and e.data["year"] == year]
            families = sorted({site.family(e) for e in members}) if kind == "framework" else [None]
            for family in families:
                chosen = [e for e in members if family is None or site.family(e) == family]
                if chosen:
                    head = TITLES[kind] if family is None else family or "Other"
                    rows.append(f"<dt>{html(head)}</dt><dd>{', '.join(entry_link(e, PAGE) for e in chosen)}</dd>")
        lists = raw(f'<dl class="when">{"".join(rows)}</dl>')
        parts.append(f"## {year} {{: #y{year} }}\n{lists}")
    return "\n".join(parts)
