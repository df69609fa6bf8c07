"""The compare page, and for every entry the small script with what the page shows of it.

One script per entry: comparing three of three thousand loads three. The page itself is docs/assets/compare.js, which
decides what may be ranked; what it decides by (protocol, setting, direction, interval) is worked out here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import unescape

from scripts.catalog import Entry
from scripts.site.blocks import raw
from scripts.site.entries import fact_value
from scripts.site.explore import page_scripts, style
from scripts.site.facets import peak_memory
from scripts.site.index import INDEX, folded
from scripts.site.links import implementation_page
from scripts.site.model import Site
from scripts.site.output import Output
from scripts.site.scores import less_is_better
from scripts.site.text import front_matter, label, plain, safe_url

PAGE = "compare/"


def page() -> str:
    """The Markdown file of the compare page."""
    return "\n".join(
        [
            front_matter(
                title="Compare",
                description="Two to five entries side by side; only results of one protocol are ranked.",
                hide=["navigation", "toc"],
            ),
            "# Compare\n",
            raw(
                f'<div id="comparison" class="compare">{style(PAGE)}<noscript><p>Comparing needs JavaScript. The same '
                'facts stand on the page of each entry: <a href="../explore/">browse them</a>.</p></noscript>'
                f"{page_scripts(PAGE, INDEX, 'assets/search.js', 'assets/selection.js', 'assets/compare.js')}</div>"
            ),
        ]
    )


def _text(markup: str) -> str:
    """The words of a cell of the entry's page."""
    return plain(unescape(re.sub(r"<[^>]+>", " ", markup)))


def _facts(site: Site, entry: Entry) -> list[tuple[str, str]]:
    """What the facets do not already say."""
    paper, code = entry.data.get("paper") or {}, entry.data.get("code") or {}
    rows = [
        ("Paper", plain(paper.get("title", ""))),
        ("Published", ", ".join(plain(paper[k]) for k in ("venue", "year") if paper.get(k))),
    ]
    for name, value in (entry.data.get("facts") or {}).items():
        if name not in ("sensors", "licence"):  # facets
            shown = site.word("access", value) if name == "access" else _text(fact_value(name, value))
            rows.append((label(name).capitalize(), shown))
    if code.get("weights_licence"):
        rows.append(("Licence of the weights", site.word("licence", code["weights_licence"])))
    memory = peak_memory(site, entry)
    if memory is not None:
        rows.append(("Peak memory on record", f"{memory / 1024:.1f} GB"))
    return [(name, value) for name, value in rows if value]


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _score(score: Mapping, group: list[object], title: str, setting: str, where: str) -> dict:
    """One score. Scores are ranked together only where `group` and `setting` are the same."""
    unit = "" if str(score.get("unit")) in ("1", "None") else plain(score["unit"])
    return {
        "group": "|".join(folded(part) for part in (*group, score.get("metric"), unit)),
        "title": title,
        "metric": plain(score.get("metric")),
        "less": less_is_better(plain(score.get("metric"))),
        "value": _number(score.get("value")),
        "lower": _number(score.get("lower")),
        "upper": _number(score.get("upper")),
        "unit": unit,
        "setting": setting,
        "where": where,
    }


def _reported(site: Site, entry: Entry) -> list[dict]:
    """What the authors report."""
    found = []
    for result in entry.data.get("results") or []:
        protocol = site.word("protocol", result.get("protocol"))
        group = ["reported", result.get("dataset"), result.get("protocol")]
        title = f"{plain(result.get('dataset'))}, {protocol[:1].lower()}{protocol[1:]}"
        found.append(
            _score(result, group, title, plain(result.get("setting") or ""), plain(result.get("locator") or ""))
        )
    return found


def _measured(site: Site, entry: Entry) -> list[dict]:
    """What runs of its implementation measured: trained features only, and public records only.

    Records with one protocol fingerprint are comparable, whatever the method; without it nothing is.
    """
    implementation = site.implementation(entry)
    if implementation is None:
        return []
    found = []
    for run in site.runs:
        if run.get("method") != implementation.name or not run.get("fingerprint"):
            continue
        data = run.get("data") or {}
        synthetic = ", synthetic data" if data.get("synthetic") else ""
        title = f"{plain(data.get('name') or 'data')}, protocol {label(run.get('protocol') or '')}{synthetic}"
        for score in run.get("scores") or []:
            if score.get("features", "trained") == "trained":
                group = ["measured", run["fingerprint"], data.get("digest")]
                found.append(_score(score, group, title, "", plain(run.get("id") or "")))
    return found


def of_entry(site: Site, entry: Entry) -> dict:
    """What the compare page shows of an entry, beside what the index holds."""
    implementation, refimpl = site.implementation(entry), entry.data.get("refimpl") or {}
    code = entry.data.get("code") or {}
    return {
        "summary": plain(entry.data.get("summary") or ""),
        "facts": _facts(site, entry),
        "links": [
            [name, url]
            for name, url in (
                ("Code", safe_url(code.get("url") or "")),
                ("Weights", safe_url(code.get("weights") or "")),
            )
            if url
        ],
        "ladder": [[rung.name, rung.state] for rung in site.ladder(entry)],
        "implementation": implementation
        and {
            "name": implementation.name,
            "page": implementation_page(implementation.name),
            "command": implementation.command,
            "difference": plain(refimpl.get("difference") or ""),
        },
        "reported": _reported(site, entry),
        "measured": _measured(site, entry),
    }


def write(site: Site, output: Output) -> None:
    """Adds the page and the entries' scripts."""
    output.add("compare.md", page())
    for entry in site.all:
        key = json.dumps(f"{entry.kind}/{entry.id}")
        text = json.dumps(of_entry(site, entry), ensure_ascii=False, separators=(",", ":"), default=str)
        body = f"(window.catalogEntries||={{}})[{key}]={text}".replace("<", "\\u003c")
        output.add(f"assets/entries/{entry.kind}/{entry.id}.js", body + ";\n")
