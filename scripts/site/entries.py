"""The page of one entry."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.catalog import Entry
from scripts.site.bibtex import bibtex
from scripts.site.blocks import columns, command_box, copy_block, entry_link, ladder_list, raw, table
from scripts.site.linked_data import script
from scripts.site.links import FOLDERS, SINGULAR, TITLES, entry_page, implementation_page, relative
from scripts.site.model import Site
from scripts.site.prose import prose
from scripts.site.results import newest, run_blocks
from scripts.site.text import front_matter, html, label, link, markdown, plain, safe_url, shorten

_IDENTITY = {
    "generic": "A common term without one paper of its own.",
    "unidentified": "Nothing of this name was found; what comes closest is named below.",
}
_FIDELITY = {
    "own": "This very entry is what runs.",
    "simplified": "A simplified version runs.",
    "closest": "The closest implementation runs.",
}
_UNITS = {"gsd_m": "m", "params_m": "million", "imagenet_top1": "%"}
_NAMES = {
    "gsd_m": "ground sample distance",
    "params_m": "parameters",
    "imagenet_top1": "ImageNet top-1",
    "timm": "name in timm",
    "from": "from",
}
_REPORTED = ("metric", "value", "data", "protocol", "read at")
# Facts whose values are vocabulary words.
_WORDS = {"access": "access", "sensors": "sensor", "licence": "licence"}
RUNS_SHOWN = 1  # on an entry's page; the implementation's page shows all


class Sources:
    """Numbers an entry's sources and knows which of them support a field."""

    def __init__(self, data: Mapping):
        self.all = list(data.get("sources") or [])
        self._number = {s.get("key"): i for i, s in enumerate(self.all, 1)}

    def marks(self, *numbers: int) -> str:
        links = ",".join(f'<a href="#s{n}">{n}</a>' for n in numbers)
        return f" <sup>[{links}]</sup>" if links else ""

    def by_key(self, key: object) -> str:
        return self.marks(self._number[key]) if key in self._number else ""

    def of(self, path: str) -> str:
        """References of a field: a source supports `paper` and with it `paper.title`."""
        supported = [
            i
            for i, s in enumerate(self.all, 1)
            if any(path == f or path.startswith(f + ".") or f.startswith(path + ".") for f in s.get("supports") or [])
        ]
        return self.marks(*supported)

    def listed(self) -> str:
        items = []
        for i, source in enumerate(self.all, 1):
            title = source.get("title") or label(source.get("key", "source"))
            parts = [link(source_address(source), title) if source_address(source) else html(title)]
            if source.get("locator"):
                parts.append(html(source["locator"]))
            if source.get("accessed"):
                parts.append(f"read {html(source['accessed'])}")
            items.append(f'<li id="s{i}">{", ".join(parts)}</li>')
        return f'<ol class="sources">{"".join(items)}</ol>'


def source_address(item: Mapping) -> str | None:
    """Where a paper or a source is found, or None."""
    if item.get("url"):
        return safe_url(item["url"])
    if item.get("doi"):
        return f"https://doi.org/{item['doi']}"
    return f"https://arxiv.org/abs/{item['arxiv']}" if item.get("arxiv") else None


def fact_value(name: str, value: object) -> str:
    """A fact as HTML: sizes as 64 × 64, lists joined, mappings as name: value."""
    unit = f" {_UNITS[name]}" if name in _UNITS else ""
    if name in ("image_size", "input") and isinstance(value, list):
        return html(" × ".join(str(v) for v in value)) + " px"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return html(f"{value:,}".replace(",", "\u202f")) + unit
    if isinstance(value, Mapping):
        return ", ".join(f"{html(_NAMES.get(k, label(k)))} {fact_value(k, v)}" for k, v in value.items())
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping):
            return "<br>".join(fact_value(name, v) for v in value)
        return ", ".join(html(v) for v in value) + unit
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return link(value)
    return html(value) + unit


def _facts(site: Site, entry: Entry, sources: Sources) -> list[tuple[str, str]]:
    data = entry.data
    rows: list[tuple[str, str]] = []

    def row(name: str, cell: str, path: str) -> None:
        if cell:
            rows.append((name, cell + sources.of(path)))

    paper = data.get("paper") or {}
    if paper:
        address = source_address(
            {k: paper[k] for k in ("url", "doi", "arxiv") if paper.get(k)} if paper.get("url") else paper
        )
        title = link(address, paper.get("title", "")) if address else html(paper.get("title", ""))
        row("paper", f"<cite>{title}</cite>", "paper")
        row("authors", html(", ".join(plain(a) for a in paper.get("authors") or [])), "paper.authors")
        row("published", html(", ".join(plain(paper[k]) for k in ("venue", "year") if paper.get(k))), "paper.venue")
        if paper.get("doi"):
            row("DOI", link(f"https://doi.org/{paper['doi']}", paper["doi"]), "paper.doi")
        if paper.get("arxiv"):
            row("arXiv", link(f"https://arxiv.org/abs/{paper['arxiv']}", paper["arxiv"]), "paper.arxiv")
    if data.get("year") and data.get("year") != paper.get("year"):
        row("year", html(data["year"]), "year")
    if entry.data.get("family"):
        row("family", html(site.family(entry)), "family")
    if data.get("area"):
        row("area", html(site.word("area", data["area"])), "area")
    for name, vocabulary in (("modality", "modality"), ("tasks", "task"), ("sensors", "sensor")):
        words = ", ".join(html(site.word(vocabulary, word)) for word in data.get(name) or [])
        row(name, words, name)
    for name, value in (data.get("facts") or {}).items():
        if name in _WORDS:
            words = value if isinstance(value, list) else [value]
            value = ", ".join(site.word(_WORDS[name], w) for w in words)
        row(_NAMES.get(name, label(name)), fact_value(name, value), f"facts.{name}")
    code = data.get("code") or {}
    if code.get("url"):
        row("code", link(code["url"]), "code.url")
    if code.get("licence"):
        row("licence of the code", html(site.word("licence", code["licence"])), "code.licence")
    if code.get("weights"):
        row("weights", link(code["weights"]), "code.weights")
    if code.get("weights_licence"):
        row("licence of the weights", html(site.word("licence", code["weights_licence"])), "code.weights_licence")
    known = {"facts", "code", "paper", "family", "area", "modality", "tasks", "sensors", "licence", "url", "links"}
    for name in ("licence", "url"):
        if data.get(name):
            value = site.word("licence", data[name]) if name == "licence" else data[name]
            row(label(name), fact_value(name, value), name)
    for name, value in data.items():
        if name not in known | _HANDLED and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            row(label(name), fact_value(name, value), name)
    return rows


# Fields that have their own place on the page.
_HANDLED = {
    "id", "name", "full_name", "aliases", "identity", "summary", "details", "definition", "year", "closest",
    "relations", "see_also", "demonstrates", "refimpl", "results", "sources", "corrections", "origin", "confidence",
    "unknown", "last_verified",
}  # fmt: skip


def _relations(site: Site, entry: Entry, here: str) -> list[tuple[str, str]]:
    grouped = {words: [entry_link(e, here) for e in others] for words, others in site.relations(entry).items()}
    for name in entry.data.get("demonstrates") or []:
        if name in site.implementations:
            address = html(relative(here, implementation_page(name)))
            grouped.setdefault("demonstrated by", []).append(f'<a href="{address}">{html(name)}</a>')
    return [(name, ", ".join(links)) for name, links in grouped.items()]


def _reported(site: Site, entry: Entry, sources: Sources, here: str) -> str:
    """Scores that the authors report."""
    names = {}
    for other in site.of_kind("dataset"):
        for spelling in (other.name, *(other.data.get("aliases") or [])):
            names.setdefault(plain(spelling).lower(), other)
    rows = []
    for result in entry.data.get("results") or []:
        unit = "" if str(result.get("unit")) == "1" else f" {result.get('unit')}"
        dataset = names.get(plain(result.get("dataset")).lower())
        shown = entry_link(dataset, here) if dataset else html(result.get("dataset"))
        how = site.word("protocol", result.get("protocol"))
        setting = f", {result['setting']}" if result.get("setting") else ""
        rows.append(
            [
                html(result.get("metric")),
                html(f"{result.get('value')}{unit}"),
                shown,
                html(how + setting),
                html(result.get("locator", "")) + sources.by_key(result.get("source")),
            ]
        )
    if not rows:
        return ""
    return '<p class="label">Reported by the authors</p>' + columns(_REPORTED, rows)


def _corrections(entry: Entry, sources: Sources) -> str:
    rows = (
        [
            html(label(c.get("field", ""))),
            f"<del>{html(c.get('claimed', ''))}</del>",
            f"<ins>{html(c.get('correct', ''))}</ins>{sources.by_key(c.get('source'))}",
        ]
        for c in entry.data.get("corrections") or []
    )
    return columns(("field", "the originating list says", "what is right"), rows, "corrections")


def _closest(entry: Entry, sources: Sources) -> str:
    items = "".join(
        f"<li>{link(source_address(c), c.get('title', '')) if source_address(c) else html(c.get('title', ''))}"
        f"{' (' + html(c['year']) + ')' if c.get('year') else ''}: {html(c.get('why', ''))}</li>"
        for c in entry.data.get("closest") or []
    )
    return f'<p class="label">What comes closest</p><ul>{items}</ul>' if items else ""


def _run(site: Site, entry: Entry, here: str) -> str:
    implementation = site.implementation(entry)
    if implementation is None:
        return '<p class="quiet">No implementation runs this entry yet.</p>'
    refimpl = entry.data["refimpl"]
    words = _FIDELITY.get(refimpl.get("fidelity"), "")
    if refimpl.get("difference"):
        words += f" {plain(refimpl['difference'])}"
    address = html(relative(here, implementation_page(implementation.name)))
    return (
        f"{command_box(implementation.command)}<p>{html(words)} "
        f'<a href="{address}">Read the annotated source of <code>{html(implementation.name)}</code></a> '
        f"({implementation.lines} lines).</p>"
    )


def _gaps(entry: Entry) -> str:
    parts = []
    if entry.data.get("unknown"):
        parts.append(f"Looked for and not found: {html(', '.join(label(f) for f in entry.data['unknown']))}.")
    if entry.data.get("confidence"):
        names = ", ".join(label(f) for f in entry.data["confidence"])
        parts.append(f"Written from memory and not yet read in a source: {html(names)}.")
    return "".join(f'<p class="gap">{p}</p>' for p in parts)


def page(site: Site, entry: Entry) -> str:
    """The Markdown file of an entry's page."""
    data, here = entry.data, entry_page(entry.kind, entry.id)
    key = f"{entry.kind}/{entry.id}"
    sources = Sources(data)
    folder = FOLDERS[entry.kind]
    eyebrow = [f'<a href="{relative(here, folder + "/")}">{html(TITLES[entry.kind])}</a>']
    eyebrow += [html(x) for x in (site.family(entry), data.get("year")) if x]
    compare = f'<a class="add js-only" data-entry="{html(key)}" href="{html(relative(here, "compare/"))}">Compare</a>'
    head = f'<p class="eyebrow">{" · ".join(eyebrow)}{compare}</p>'
    parts = [
        front_matter(
            title=entry.name,
            description=shorten(data.get("summary") or f"{SINGULAR[entry.kind]} {entry.name}"),
            hide=["navigation"],
        ),
        raw(head),
        f"# {markdown(entry.name)}\n",
    ]
    lead = [f"<p>{html(data.get('summary', ''))}</p>"]
    if data.get("full_name") and data["full_name"] != entry.name:
        lead.insert(0, f'<p class="fullname">{html(data["full_name"])}</p>')
    if data.get("aliases"):
        lead.append(f'<p class="aliases">Also written: {html(", ".join(plain(a) for a in data["aliases"]))}</p>')
    if data.get("identity") in _IDENTITY:
        lead.append(f'<p class="notice">{_IDENTITY[data["identity"]]}</p>')
    parts.append(raw(f'<div class="lead">{"".join(lead)}{_closest(entry, sources)}</div>'))

    def section(title: str, body: str) -> None:
        if body:
            parts.append(f"## {title}\n{raw('<div>' + body + '</div>')}")

    if data.get("definition"):
        section("Definition", prose(str(data["definition"])))
    section("Run it", _run(site, entry, here))
    section("Verification", ladder_list(site.ladder(entry), here))
    if data.get("details"):
        section("How it works", prose(str(data["details"])))
    facts = _facts(site, entry, sources)
    section("Facts", (table(facts) if facts else "") + _gaps(entry))
    section("Corrections", _corrections(entry, sources))
    relations = _relations(site, entry, here)
    section("Relations", table(relations, "relations") if relations else "")
    implementation = site.implementation(entry)
    runs = newest(site.runs_of(implementation.name)) if implementation else []
    shown = run_blocks(runs[:RUNS_SHOWN], here, brief=True)
    if len(runs) > RUNS_SHOWN:
        address = html(relative(here, implementation_page(implementation.name)))
        shown += f'<p><a href="{address}#results">All {len(runs)} runs</a></p>'
    section("Results", shown + _reported(site, entry, sources, here))
    if data.get("paper"):
        section("Cite", copy_block(bibtex(entry.id, data["paper"])))
    if sources.all:
        section("Sources", sources.listed())
    parts += [raw(_footer(site, entry, here)), raw(script(entry))]
    return "\n".join(parts)


def _footer(site: Site, entry: Entry, here: str) -> str:
    folder = FOLDERS[entry.kind]
    parts = []
    if entry.data.get("last_verified"):
        parts.append(f"Last compared with its sources on {html(entry.data['last_verified'])}")
    if entry.data.get("origin"):
        parts.append(f"rows {html(', '.join(entry.data['origin']))} of the originating list")
    parts.append(f'<a href="{html(relative(here, f"api/v1/{entry.kind}/{entry.id}.json"))}">JSON</a>')
    edit = site.edit_link(f"catalog/{folder}/{entry.id}.yml")
    if edit:
        parts.append(f'<a class="edit" href="{html(edit)}">Edit this entry</a>')
    return f'<p class="foot">{" · ".join(parts)}</p>'
