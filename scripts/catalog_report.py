"""What the catalog holds and how well it is backed.

    python -m scripts.catalog_report                  a table per kind
    python -m scripts.catalog_report --format json    the same for programs

sourced: numbers and identifiers that a source of the entry supports. recalled: fields of any sort that are marked as
written from memory. unbacked: numbers and identifiers that no source supports, whether marked or not; they keep an
entry from the first rung of the ladder. unknown: fields that were looked for and not found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from scripts.catalog import FOLDERS, ROOT, Catalog, CatalogError, Entry, load_catalog, unsourced_fields
from scripts.catalog.problems import printable
from scripts.catalog.sourcing import leaves

COLUMNS = (
    *("entries", "confirmed", "generic", "unidentified", "rows", "corrections", "results"),
    *("sourced", "unbacked", "recalled", "unknown", "whole"),
)
MEANING = {
    "rows": "rows of the originating list that are answered",
    "results": "scores that authors report",
    "sourced": "numbers and identifiers that a source supports",
    "unbacked": "numbers and identifiers that no source supports",
    "recalled": "fields marked as written from memory",
    "unknown": "fields looked for and not found",
    "whole": "entries in which no number or identifier is unbacked",
}


def counted(entry: Entry) -> Counter:
    """What one entry adds to each column but `rows`, of which several entries may share one."""
    results = len(entry.get("results", list, []))
    needed = sum(1 for _ in leaves(entry.schema.tree, entry.data)) + results
    unbacked = len(unsourced_fields(entry))
    return Counter(
        {
            "entries": 1,
            entry.get("identity", str, "none"): 1,
            "corrections": len(entry.get("corrections", list, [])),
            "results": results,
            "sourced": needed - unbacked,
            "unbacked": unbacked,
            "recalled": len(entry.get("confidence", dict, {})),
            "unknown": len(entry.get("unknown", list, [])),
            "whole": int(unbacked == 0),
        }
    )


def report(catalog: Catalog) -> dict:
    """kinds: kind -> column -> number; all: the same of the whole catalog; missing: rows without an entry."""
    kinds: dict[str, dict[str, int]] = {}
    for kind in FOLDERS:
        found = catalog.kind(kind)
        total = sum((counted(entry) for entry in found), Counter())
        total["rows"] = len(_rows(found))
        kinds[kind] = {column: total[column] for column in COLUMNS}
    whole = {column: sum(numbers[column] for numbers in kinds.values()) for column in COLUMNS}
    rows = _rows(catalog.entries.values())
    whole["rows"] = len(rows)
    return {"kinds": kinds, "all": whole, "missing": sorted(set(catalog.rows) - rows)}


def _rows(entries) -> set[str]:
    return {row for entry in entries for row in entry.get("origin", list, []) if isinstance(row, str)}


def as_text(found: dict) -> str:
    lines = [["", *COLUMNS]]
    lines += [[kind.replace("_", " "), *map(str, numbers.values())] for kind, numbers in found["kinds"].items()]
    lines += [["all", *map(str, found["all"].values())]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    table = [" ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
             for line in lines]  # fmt: skip
    notes = [f"{word}: {meaning}" for word, meaning in MEANING.items()]
    missing = [f"Rows without an entry: {', '.join(found['missing'])}"] if found["missing"] else []
    return "\n".join([*(line.rstrip() for line in table), "", *notes, *missing])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.catalog_report",
        description="Count entries, corrections and rows of the originating list, and how well fields are backed.",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="how to print (default: %(default)s)"
    )
    parser.add_argument("--catalog", type=Path, default=ROOT, metavar="DIR", help="another catalog than this one's")
    options = parser.parse_args(arguments)
    try:
        found = report(load_catalog(options.catalog))
    except CatalogError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    print(as_text(found) if options.format == "text" else json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
