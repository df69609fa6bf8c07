"""By what entries are found: the facets, their values, and which values each entry has.

One definition serves the explorer, the search, the compare page and the pre-rendered page of every value, so that they
cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scripts.catalog import Entry
from scripts.site.ladder import RUNGS
from scripts.site.links import SINGULAR, TITLES
from scripts.site.model import Site
from scripts.site.slang import WORDS
from scripts.site.text import plain, shorten

# Usual sizes of GPU memory in GB. An entry has every size that its implementation's recorded runs fit into.
MEMORY = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 80, 141)
FIDELITY = {
    "own": ("This very entry runs", "The implementation is of this very entry."),
    "simplified": ("A simplified version runs", "The implementation leaves something out, and says what."),
    "closest": ("The closest method runs", "The implementation is of another entry, the one that comes closest."),
    "none": ("Nothing runs yet", "There is nothing to run, or not yet."),
}


@dataclass
class Value:
    """One value of a facet. words: what people also call it."""

    code: str
    label: str
    description: str = ""
    entries: list[Entry] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


@dataclass
class Facet:
    """One way of dividing the entries. An entry may have several values, or none."""

    code: str
    title: str
    values: dict[str, Value] = field(default_factory=dict)

    def page(self, value: Value) -> str:
        """Address of a value's page, from the site's root."""
        return f"facets/{self.code}/{value.code}/"


# What a facet says of an entry: (code, label, description) of each value.
Said = Iterable[tuple[str, str, str]]


def _code(name: object) -> str:
    """Part of an address: what a vocabulary word allows, and nothing else."""
    return re.sub(r"[^a-z0-9_]+", "-", plain(name).lower()).strip("-")[:60] or "x"


def _word(site: Site, vocabulary: str, name: object) -> tuple[str, str, str]:
    found = (site.catalog.vocabulary.get(vocabulary) or {}).get(name)
    description = str(found.get("description", "")) if isinstance(found, dict) else ""
    return _code(name), shorten(site.word(vocabulary, name), 60), description


def _words(site: Site, vocabulary: str, names: object) -> Said:
    return [_word(site, vocabulary, name) for name in (names if isinstance(names, list) else [])]


def _kind(site: Site, entry: Entry) -> Said:
    return [(entry.kind, TITLES[entry.kind], "")]


def _family(site: Site, entry: Entry) -> Said:
    if not entry.data.get("family"):
        return []
    code, label, description = _word(site, f"{entry.kind}_family", entry.data["family"])
    return [(f"{entry.kind}-{code}", f"{label} ({SINGULAR[entry.kind]})", description)]


def _sensor(site: Site, entry: Entry) -> Said:
    return _words(site, "sensor", entry.data.get("sensors") or (entry.data.get("facts") or {}).get("sensors"))


def _year(site: Site, entry: Entry) -> Said:
    year = entry.data.get("year")
    return [(_code(year), plain(year), "")] if year else []


def _licence(site: Site, entry: Entry) -> Said:
    """Of the code, or of the data where the entry is a data set."""
    held = (entry.data.get("code") or {}, entry.data.get("facts") or {}, entry.data)
    names = [data["licence"] for data in held if isinstance(data.get("licence"), str)]
    return [_word(site, "licence", name) for name in dict.fromkeys(names)]


def _weights(site: Site, entry: Entry) -> Said:
    if (entry.data.get("code") or {}).get("weights"):
        return [("published", "Weights published", "The authors publish trained weights.")]
    return []


def _rung(site: Site, entry: Entry) -> Said:
    reached = [r.name for r in site.ladder(entry) if r.state == "reached"]
    return [(name, name.capitalize(), RUNGS[name]) for name in reached]


def _fidelity(site: Site, entry: Entry) -> Said:
    said = str((entry.data.get("refimpl") or {}).get("fidelity")) if site.implementation(entry) else "none"
    known = said if said in FIDELITY else "none"
    return [(known, *FIDELITY[known])]


def peak_memory(site: Site, entry: Entry) -> float | None:
    """Most memory in MB that any public record of the entry's implementation shows; None where none does."""
    implementation = site.implementation(entry)
    if implementation is None:
        return None
    runs = [r.get("peak_memory_mb") for r in site.runs if r.get("method") == implementation.name]
    smoke = [
        ((r.get("rungs") or {}).get("runs") or {}).get("peak_memory_mb")
        for r in site.verifications
        if r.get("method") == implementation.name
    ]
    return max((float(m) for m in (*runs, *smoke) if isinstance(m, (int, float))), default=None)


def _memory(site: Site, entry: Entry) -> Said:
    peak = peak_memory(site, entry)
    sizes = MEMORY if peak is not None else ()
    return [
        (f"{size}gb", f"{size} GB", f"Every recorded run of the entry's implementation stayed within {size} GB.")
        for size in sizes
        if peak <= size * 1024
    ]


FACETS: tuple[tuple[str, str, Callable[[Site, Entry], Said]], ...] = (
    ("kind", "Kind", _kind),
    ("modality", "Modality", lambda site, entry: _words(site, "modality", entry.data.get("modality"))),
    ("task", "Task", lambda site, entry: _words(site, "task", entry.data.get("tasks"))),
    ("sensor", "Sensor", _sensor),
    ("family", "Family", _family),
    ("year", "Year", _year),
    ("licence", "Licence of code or data", _licence),
    ("weights", "Weights", _weights),
    ("rung", "Verification rung reached", _rung),
    ("fidelity", "What runs", _fidelity),
    ("memory", "Fits my GPU memory", _memory),
)


def _order(site: Site, code: str, values: dict[str, Value]) -> list[str]:
    """Codes of a facet's values in the order in which people look for them."""
    if code == "year":
        return sorted(values, reverse=True)
    if code == "memory":
        return [c for c in (f"{size}gb" for size in MEMORY) if c in values]
    if code == "rung":
        return [name for name in RUNGS if name in values]
    if code == "fidelity":
        return [name for name in FIDELITY if name in values]
    if code in ("kind", "family"):
        return list(values)  # entries come kind by kind
    return sorted(values, key=lambda c: (-len(values[c].entries), values[c].label.lower()))


def gather(site: Site) -> list[Facet]:
    """All facets with the values that occur, each with its entries in the site's order."""
    facets = []
    for code, title, said in FACETS:
        values: dict[str, Value] = {}
        for entry in site.all:
            for name, label, description in said(site, entry):
                value = values.setdefault(name, Value(name, label, description, words=WORDS.get((code, name), [])))
                if not value.entries or value.entries[-1] is not entry:
                    value.entries.append(entry)
        if code == "memory":
            values = _telling(values)
        if values:
            facets.append(Facet(code, title, {name: values[name] for name in _order(site, code, values)}))
    return facets


def _telling(sizes: dict[str, Value]) -> dict[str, Value]:
    """Without the sizes above the one that already holds everything: they would all say the same."""
    most = max((len(v.entries) for v in sizes.values()), default=0)
    kept: dict[str, Value] = {}
    for code in (f"{size}gb" for size in MEMORY if f"{size}gb" in sizes):
        kept[code] = sizes[code]
        if len(sizes[code].entries) == most:
            break
    return kept
