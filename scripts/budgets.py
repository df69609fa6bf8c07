"""What the site weighs and how long it takes to build, at its real size and with many more entries.

    python -m scripts.budgets                      at the real size, 1,000 and 3,000 entries
    python -m scripts.budgets --entries 1000       at the real size and 1,000
    python -m scripts.budgets --out FILE.json      the same as JSON

The larger catalogs are the real one with copies of its entries under new names and identifiers. Times depend on the
machine, so only their growth is judged; weights are judged by the budgets below. Exit status: 0 all kept, 1 not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.catalog import FOLDERS, load_catalog
from scripts.rendering import render
from scripts.site.build import ROOT, generate

KB = 1024
SIZES = (0, 1000, 3000)  # 0: the real one
# What must hold: name -> (limit, unit). Entry pages: all but the hubs, which hundreds of others link to.
BUDGETS = {
    "entry_page": (20, "kB, 90 % of the entry pages"),
    "entry_page_packed": (6, "kB packed, 90 % of the entry pages"),
    "first_load_packed": (80, "kB packed, home page with all that it loads"),
    "index_packed": (40, "kB packed per 1,000 entries, index of search and explorer"),
    "growth": (1.3, "times: build seconds per entry against the smallest catalog"),
}


@dataclass
class Measured:
    """One size: entries, weights in kB (of entry pages the 90th percentile), seconds of one core."""

    entries: int
    entry_page: float
    entry_page_packed: float
    largest_entry_page: float
    first_load_packed: float
    index_packed: float
    generate_seconds: float
    build_seconds: float
    growth: float = 1.0

    @property
    def seconds(self) -> float:
        return self.generate_seconds + self.build_seconds

    def broken(self) -> list[str]:
        """Budgets that this size does not keep."""
        return [name for name, (limit, _) in BUDGETS.items() if getattr(self, name) > limit]


def enlarge(root: Path, entries: int) -> int:
    """Adds copies of its entries to the catalog under `root` until it has about `entries`; returns how many it has.

    A copy has the number of its round in id and name, and the relations of the original.
    """
    catalog = load_catalog(root / "catalog")
    originals = list(catalog.entries.values())
    made = len(originals)
    for number in range(2, entries // len(originals) + 2):
        for entry in originals:
            if made >= entries:
                return made
            text = entry.path.read_text(encoding="utf-8")
            text = re.sub(r"^id: .*$", f"id: {entry.id}_{number}", text, count=1, flags=re.MULTILINE)
            text = re.sub(
                r"^name: .*$", f"name: {json.dumps(f'{entry.name} {number}')}", text, count=1, flags=re.MULTILINE
            )
            (entry.path.parent / f"{entry.id}_{number}.yml").write_text(text, encoding="utf-8")
            made += 1
    return made


def repository(folder: Path) -> Path:
    """A copy of what the site is made from."""
    for name in ("catalog", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("generated"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "docs" / "generated").mkdir()
    return folder


def packed(*files: Path) -> float:
    return sum(len(gzip.compress(f.read_bytes())) for f in files) / KB


def loaded_by(page: Path) -> list[Path]:
    """The page itself and the styles and scripts that it loads."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r'<(?:link[^>]*rel="?stylesheet"?[^>]*href|script[^>]*src)="?([^" >]+)', text)
    return [page, *{(page.parent / address).resolve() for address in found}]


def ninth(values: list[float]) -> float:
    """The 90th percentile."""
    return sorted(values)[int(0.9 * len(values))]


def measure(entries: int, folder: Path) -> Measured:
    """Builds a site of about this many entries (0: as they are) in an empty folder and weighs it."""
    root, site = repository(folder / "repository"), folder / "site"
    count = enlarge(root, entries) if entries else len(load_catalog(root / "catalog").entries)
    start = time.process_time()
    generate(root)
    middle = time.process_time()
    render(root / "mkdocs.yml", site, hooks=[], watch=[])  # the hook knows only the real repository
    end = time.process_time()
    pages = [p for name in FOLDERS.values() for p in (site / name).glob("*/index.html")]
    plain = [p.stat().st_size / KB for p in pages]
    return Measured(
        entries=count,
        entry_page=round(ninth(plain), 1),
        entry_page_packed=round(ninth([packed(p) for p in pages]), 1),
        largest_entry_page=round(max(plain), 1),
        first_load_packed=round(packed(*loaded_by(site / "index.html")), 1),
        index_packed=round(packed(*(site / "assets").glob("catalog-index.js")) * 1000 / count, 1),
        generate_seconds=round(middle - start, 1),
        build_seconds=round(end - middle, 1),
    )


def table(found: list[Measured]) -> str:
    names = list(asdict(found[0]))
    rows = [[name.replace("_", " "), *(str(getattr(m, name)) for m in found)] for name in names]
    for row, name in zip(rows, names):
        row.append(f"<= {BUDGETS[name][0]} {BUDGETS[name][1]}" if name in BUDGETS else "")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, nargs="*", default=SIZES[1:], help="sizes beside the real one")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    found: list[Measured] = []
    for size in (0, *options.entries):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(size, Path(folder)))
        found[-1].growth = round(found[-1].seconds / found[-1].entries / (found[0].seconds / found[0].entries), 2)
        print(f"{found[-1].entries} entries: {found[-1].seconds:.0f} s", file=sys.stderr)
    print(table(found))
    if options.out:
        options.out.write_text(json.dumps([asdict(m) for m in found], indent=1) + "\n", encoding="utf-8")
    broken = [f"{m.entries} entries: {name} is {getattr(m, name)}" for m in found for name in m.broken()]
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
