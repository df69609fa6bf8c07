"""Writes the site's source, plain Markdown and JSON, into docs/generated; MkDocs (or another builder) renders it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.site.build import ROOT, SiteError, assemble

_HELP = """\
what is written to docs/generated:
  index.md, <kind folder>/index.md, <kind folder>/<id>.md   home, listings, one page per entry
  implementations/<name>.md                                  annotated source of each implementation
  api/v1/*.json                                              the catalog as data
  everything else under docs/                                copied as it is

Only files whose content changed are written; files of entries that are gone are removed.
`mkdocs serve` and `mkdocs build` call this by themselves.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.generate",
        description=__doc__,
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and list what would change")
    parser.add_argument(
        "--runs",
        type=Path,
        default=ROOT / "runs",
        metavar="DIR",
        help='folder with runs of this machine, shown as "run on this machine" (default: runs)',
    )
    options = parser.parse_args(argv)
    try:
        output = assemble(runs=options.runs)
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.check:
        differences = output.differences()
        print("\n".join(differences) or "up to date")
        return 1 if differences else 0
    written, removed, same = output.write()
    print(f"docs/generated: {written} written, {removed} removed, {same} unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
