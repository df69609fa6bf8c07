"""Brings entries into the one form that they all have; what they say is not touched.

    python -m scripts.format_entries                                  every entry
    python -m scripts.format_entries catalog/frameworks/simclr.yml    one file, or a folder of them
    python -m scripts.format_entries --check                          only name the files that would change

Keys in the order of the schema, lines of at most 112 columns, one way to write lists, quotes only where needed. A file
with comments is left alone, since they would be lost. Exit status: 0 all is well, 1 something has (--check: would have)
to be changed by hand or by this command, 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from scripts.catalog import FOLDERS, ROOT, CatalogError, Problem
from scripts.catalog.document import Document
from scripts.catalog.problems import printable
from scripts.catalog.reading import build, read_yaml
from scripts.catalog.schema import Schema, load_schemas
from scripts.catalog.writing import comments, write

KINDS = {folder: kind for kind, folder in FOLDERS.items()}


def formatted(path: Path, schema: Schema) -> tuple[str | None, list[Problem]]:
    """The text a file should have, or None and why it is left as it is."""
    document = read_yaml(path)
    if document.data is None:
        return None, document.problems
    found = comments(path.read_text(encoding="utf-8"))
    if found:
        right = "move it into a note, or into the message of the commit"
        return None, [Problem(path, *place, "a comment would be lost", right) for place in found]
    text = write(document, schema.tree)
    again = Document(path)
    if not same(build(text, again), document.data) or again.problems:
        return None, [Problem(path, 1, 1, "cannot be formatted without changing what it says", "report this file")]
    return text, []


def same(one: object, other: object) -> bool:
    """Whether two values are equal, types included; the order of keys does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all, with the permissions that it had, or those of a text if it is new."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def entries(root: Path, paths: list[Path]) -> tuple[list[Path], list[Problem]]:
    """The files of entries among `paths` (of all there are, when none is given), and what is no entry."""
    found, problems = [], []
    for path in paths or [root / folder for folder in FOLDERS.values() if (root / folder).is_dir()]:
        inside = sorted(path.glob("**/*.yml")) if path.is_dir() else [path]
        chosen = [p for p in inside if p.is_file() and p.suffix == ".yml" and p.resolve().parent.name in KINDS]
        found += [p for p in chosen if p not in found]
        if not chosen:
            right = "entries are in catalog/{" + ",".join(FOLDERS.values()) + "}"
            problems.append(Problem(path, 1, 1, "is no entry", right))
    return found, problems


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.format_entries",
        description="Bring catalog entries into the one form that they all have; what they say is not touched.",
        epilog="Exit status: 0 all is well, 1 a file would change or cannot be formatted, 2 wrong use.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders; default: every entry")
    parser.add_argument("--check", action="store_true", help="change nothing, only name the files that would change")
    parser.add_argument("--catalog", type=Path, default=ROOT, metavar="DIR", help="another catalog than this one's")
    options = parser.parse_args(arguments)
    try:
        schemas = load_schemas(options.catalog)
    except CatalogError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    files, problems = entries(options.catalog, options.paths)
    changed = 0
    for path in files:
        text, refused = formatted(path, schemas[KINDS[path.resolve().parent.name]])
        problems += refused
        if text is None or text == path.read_bytes().decode("utf-8"):
            continue
        changed += 1
        print(f"{'would change' if options.check else 'formatted'}: {printable(_shown(path))}")
        if not options.check:
            replace(path, text)
    for problem in problems:
        place = f"{_shown(problem.path)}:{problem.line}:{problem.column}"
        print(f"{printable(place)}: {printable(problem.message)}", file=sys.stderr)
    done = "would change" if options.check else "changed"
    print(f"{len(files)} entries, {changed} {done}, {len(problems)} left alone")
    if options.check and changed:
        print("Run `python -m scripts.format_entries` to bring them into form.")
    return 1 if problems or (options.check and changed) else 0


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
