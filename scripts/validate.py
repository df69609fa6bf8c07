"""Checks the catalog: every error at once, each with its place and what would be right.

    python -m scripts.validate                                  the whole catalog and its records
    python -m scripts.validate catalog/frameworks/simclr.yml    one file (it is still compared with all others)
    python -m scripts.validate --format github                  annotations for a pull request

Exit status: 0 no errors, 1 errors, 2 wrong use of this command.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.catalog import FOLDERS, ROOT, CatalogError, Problem, load_catalog, load_records
from scripts.catalog.problems import printable
from scripts.rules import Context, record_problems, rule_problems
from scripts.shape import shape_problems


@dataclass
class Report:
    """What a validation looked at and found; problems are sorted by file and place."""

    entries: int
    records: int
    problems: list[Problem]

    @property
    def summary(self) -> str:
        counts = [_count(self.entries, "entry", "entries")]
        counts += [_count(self.records, "record", "records")] if self.records else []
        return ", ".join([*counts, _count(len(self.problems), "error", "errors")])


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def validate(root: Path = ROOT, paths: list[Path] | None = None, today: datetime.date | None = None) -> Report:
    """Validates a catalog, or only the files and folders of it named in `paths`.

    today: last day that does not count as the future; default tomorrow, because of time zones.
    Raises CatalogError when the schema or the vocabulary cannot be used.
    """
    catalog = load_catalog(root)
    problems = list(catalog.problems)
    records = load_records(root, problems)
    chosen, refused = _choice(root, paths)
    problems = [p for p in problems if chosen(p.path)] + refused
    implementations, trouble = _implementations()
    problems += trouble

    entries = [entry for entry in catalog.entries.values() if chosen(entry.path)]
    records = [record for record in records if chosen(record.path)]
    asked = {(entry.kind, entry.id) for entry in entries}
    context = Context(catalog, asked, today or datetime.date.today() + datetime.timedelta(days=1))
    for source in (*entries, *records):
        problems += shape_problems(source, catalog, implementations)
    for entry in entries:
        problems += rule_problems(entry, context)
    for record in records:
        problems += record_problems(record)
    return Report(len(entries), len(records), sorted(set(problems)))


def _implementations() -> tuple[set[str] | None, list[Problem]]:
    """Names of the reference implementations; None and a problem when their sources cannot be read."""
    from refimpl import registry

    try:
        return set(registry.methods()), []
    except Exception as error:  # another file's fault must not hide this catalog's
        place = Path(getattr(error, "filename", None) or registry.METHODS)
        line = getattr(error, "lineno", None) or 1
        wrong = f"implementations cannot be listed: {printable(str(error))[:120]}"
        return None, [Problem(place, line, 1, wrong, "correct that file")]


def _choice(root: Path, paths: list[Path] | None):
    """A test whether a file was asked for, and a problem for each path that names nothing of the catalog."""
    if not paths:
        return (lambda path: True), []
    root = root.resolve()
    places = [root / name for name in (*FOLDERS.values(), "results")]
    wanted, problems = [], []
    for path in paths:
        try:
            full = path.resolve()
            exists = full.exists()
        except (OSError, ValueError, RuntimeError):
            exists = False
        if not exists:
            problems.append(Problem(path, 1, 1, "there is no such file or folder", "check its name"))
        elif full == root or any(full == place or place in full.parents for place in places):
            wanted.append(full)
        else:
            right = f"entries are in {root.name}/" + "{" + ",".join(FOLDERS.values()) + "}"
            problems.append(Problem(path, 1, 1, "is not part of the catalog", right))

    def chosen(path: Path) -> bool:
        full = path.parent.resolve() / path.name
        return any(full == want or want in full.parents for want in wanted)

    return chosen, problems


# -- how it is said ----------------------------------------------------------------------------------------------------


def _shown(path: Path) -> str:
    """A path as the reader would type it: relative to where they stand, if it lies below."""
    with contextlib.suppress(ValueError, OSError, RuntimeError):
        path = path.resolve().relative_to(Path.cwd())
    return printable(str(path))


def as_text(report: Report, colour: bool = False) -> str:
    bold, red, plain = ("\033[1m", "\033[31m", "\033[0m") if colour else ("", "", "")
    lines = [
        f"{bold}{_shown(p.path)}:{p.line}:{p.column}:{plain} {red}{p.wrong}{plain}; {p.right}" for p in report.problems
    ]
    return "\n".join([*lines, report.summary])


def as_github(report: Report) -> str:
    """Workflow commands that GitHub shows beside the line of a pull request."""

    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def value(text: str) -> str:
        return data(text).replace(":", "%3A").replace(",", "%2C")

    lines = [
        f"::error file={value(_shown(p.path))},line={p.line},col={p.column}::{data(p.message)}" for p in report.problems
    ]
    return "\n".join([*lines, report.summary])


def as_json(report: Report) -> str:
    errors = [
        {"file": _shown(p.path), "line": p.line, "column": p.column, "wrong": p.wrong, "right": p.right}
        for p in report.problems
    ]
    return json.dumps({"entries": report.entries, "records": report.records, "errors": errors}, indent=1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.validate",
        description="Check catalog entries and run records; print every error as FILE:LINE:COLUMN: wrong; right.",
        epilog="Exit status: 0 no errors, 1 errors, 2 wrong use. Fields are explained in catalog/schema, "
        "words in catalog/vocabulary.yml, and catalog/templates has a commented entry of each kind.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders; default: everything")
    parser.add_argument(
        "--format", choices=("text", "github", "json"), default="text", help="how to print (default: %(default)s)"
    )
    parser.add_argument("--catalog", type=Path, default=ROOT, metavar="DIR", help="another catalog than this one's")
    options = parser.parse_args(arguments)
    try:
        report = validate(options.catalog, options.paths)
    except CatalogError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    if options.format == "text":
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        print(as_text(report, colour))
    else:
        print(as_github(report) if options.format == "github" else as_json(report))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
