"""The catalog as tables and as a bibliography: for spreadsheets and for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from scripts.site.api import payloads
from scripts.site.bibtex import bibtex
from scripts.site.model import Site

ENTRY_COLUMNS = (
    *("kind", "id", "name", "full_name", "year", "family", "modality", "tasks", "identity"),
    *("title", "authors", "venue", "arxiv", "doi", "code", "code_licence", "weights", "implementation", "fidelity"),
    *("reached", "last_verified", "page"),
)
RESULT_COLUMNS = (
    *("origin", "entry", "implementation", "metric", "value", "unit", "lower", "upper", "features", "dataset"),
    *("synthetic", "protocol", "setting", "seed", "device", "commit", "locator", "source", "record"),
)


def cell(value: object) -> object:
    """One field of a table; what a spreadsheet would take for a formula is told by an apostrophe."""
    if value is None:
        return ""
    text = "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(columns: Iterable[str], rows: Iterable[Mapping]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = list(columns)
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return stream.getvalue()


def entries(site: Site) -> str:
    """One line per entry; lists are joined by semicolons."""

    def row(entry) -> dict:
        paper, code = entry.get("paper", dict, {}), entry.get("code", dict, {})
        reached = [r.name for r in site.ladder(entry) if r.state == "reached"]
        own = {
            "kind": entry.kind,
            "code": code.get("url"),
            "code_licence": code.get("licence"),
            "weights": code.get("weights"),
            "implementation": entry.get("refimpl.name"),
            "fidelity": entry.get("refimpl.fidelity"),
            "reached": reached,
            "page": payloads.entry_page(entry.kind, entry.id),
        }
        picked = {name: paper.get(name) for name in ("title", "authors", "venue", "arxiv", "doi")}
        return {**entry.data, **picked, **own}

    return _csv(ENTRY_COLUMNS, map(row, site.all))


def results(site: Site) -> str:
    """One line per score. origin: "reported" by its authors, or "reproduced" by a run record of this project."""
    rows = [{"origin": "reported", **score} for score in payloads.reported(site)]
    rows += [{"origin": "reproduced", **score, "dataset": score["data"]} for score in payloads.reproduced(site)]
    return _csv(RESULT_COLUMNS, rows)


def bibliography(site: Site) -> str:
    """The paper of every entry, under the key that its page shows; entries of one name may share theirs."""
    found = dict.fromkeys(bibtex(e.id, e.data["paper"]) for e in site.all if e.data.get("paper"))
    return "\n\n".join(found) + "\n"
