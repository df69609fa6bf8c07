"""Keeps the log of what changed in the catalog, from which the site makes its page and its feed.

    python -m scripts.changes             what has changed since the last record
    python -m scripts.changes --check     the same; exit status 1 if there is anything
    python -m scripts.changes --record    append it to catalog/changes.csv

It compares the catalog with catalog/state.json, which holds a few hashes per entry, the rungs of each implementation
and the names of the run records; no version control is asked. Both files are written whole or not at all, the log
first, so that a recording that is cut off is simply repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from scripts.catalog import Entry, as_json, load_catalog
from scripts.change_log import Change, NotALog, is_date, read, text
from scripts.format_entries import replace
from scripts.site.boards import headlines
from scripts.site.ladder import RUNGS
from scripts.site.model import Site, gather
from scripts.site.results import value
from scripts.site.text import plain

ROOT = Path(__file__).resolve().parents[1] / "catalog"
LOG, STATE = "changes.csv", "state.json"
SCHEMA = 1

# Parts of an entry that are told apart; a field in none of them belongs to "facts".
PARTS = {
    "words": ("name", "full_name", "aliases", "identity", "summary", "details", "definition", "closest"),
    "paper": ("paper", "year"),
    "facts": (),
    "links": ("relations", "see_also", "demonstrates"),
    "code": ("code", "refimpl"),
    "scores": ("results",),
    "sources": ("sources", "corrections", "confidence", "unknown", "origin", "last_verified"),
}
_PART = {name: part for part, names in PARTS.items() for name in names}
CHECKED = [name for name in RUNGS if name != "sourced"]  # an entry's own rung follows from its sources
LETTERS = {"reached": "r", "expired": "e", "open": "o"}


def _hash(content: object) -> str:
    data = json.dumps(as_json(content), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:6]


def fingerprint(entry: Entry) -> str:
    """A hash per part, in the order of PARTS; "-" for a part that the entry does not have."""
    parts: dict[str, dict] = {}
    for name, content in entry.data.items():
        parts.setdefault(_PART.get(name, "facts"), {})[name] = content
    return ".".join(_hash(parts[part]) if part in parts else "-" for part in PARTS)


def state(site: Site) -> dict:
    """What is compared: the same catalog always gives the same."""
    rungs = {name: {r.name: r.state for r in site.method_ladder(name)} for name in site.implementations}
    return {
        "schema": SCHEMA,
        "entries": {f"{e.kind}/{e.id}": fingerprint(e) for e in site.all},
        "implementations": {name: "".join(LETTERS[states[rung]] for rung in CHECKED) for name, states in rungs.items()},
        "runs": sorted(Path(run["file"]).stem for run in site.runs),
    }


EMPTY = {"entries": {}, "implementations": {}, "runs": []}


def differences(before: Mapping, now: Mapping, site: Site) -> Iterator[tuple[str, str, str, str]]:
    """(kind, id, what, detail) of everything that is not as it was, sorted by kind and id."""
    yield from _entries(before["entries"], now["entries"], site)
    yield from _implementations(before["implementations"], now["implementations"])
    metrics = headlines(site)
    headline = {Path(run["file"]).stem: _headline(run, metrics) for run in site.runs}
    for name in sorted({*before["runs"], *now["runs"]}):
        if name not in before["runs"]:
            yield "run", name, "reproduced", headline[name]
        elif name not in now["runs"]:
            yield "run", name, "removed", ""


def _entries(before: Mapping, now: Mapping, site: Site) -> Iterator[tuple[str, str, str, str]]:
    moved = {f"{kind}/{old}": f"{kind}/{new}" for (kind, old), new in site.catalog.moved.items()}
    arrived = {moved[key] for key in before if key not in now and key in moved}
    for key in sorted({*before, *now}):
        kind, _, name = key.partition("/")
        if key not in now:
            target = moved.get(key, "").partition("/")[2]
            yield kind, name, "moved" if target else "removed", target
        elif key not in before:
            if key not in arrived:
                yield kind, name, "added", ""
        elif before[key] != now[key]:
            pairs = zip(PARTS, before[key].split("."), now[key].split("."), strict=True)
            yield kind, name, "changed", ", ".join(part for part, old, new in pairs if old != new)


def _implementations(before: Mapping, now: Mapping) -> Iterator[tuple[str, str, str, str]]:
    for name in sorted({*before, *now}):
        if name not in now:
            yield "implementation", name, "removed", ""
            continue
        if name not in before:
            yield "implementation", name, "added", ""
        old, new = before.get(name, "o" * len(CHECKED)), now[name]
        for what, happened in (
            ("reproduced", lambda was, is_: is_ == "r" and was != "r"),
            ("broken", lambda was, is_: is_ == "o" and was != "o"),
            ("expired", lambda was, is_: is_ == "e" and was == "r"),
        ):
            rungs = [rung for rung, was, is_ in zip(CHECKED, old, new, strict=True) if happened(was, is_)]
            if rungs:
                yield "implementation", name, what, ", ".join(rungs)


def _headline(run: Mapping, metrics: Mapping[str, str]) -> str:
    """What a run scored, in a few words. metrics: protocol -> the metric that ranks."""
    trained = [s for s in run.get("scores") or [] if s.get("features", "trained") == "trained"]
    first = next(
        (s for s in trained if s.get("metric") == metrics.get(run.get("protocol"))), trained[0] if trained else {}
    )
    score = f": {plain(first['metric'])} {value({**first, 'lower': None})}" if first else ""
    return f"{plain(run.get('method'))} on {plain((run.get('data') or {}).get('name'))}{score}"


def own_dates(site: Site) -> dict[tuple[str, str], str]:
    """For the first record of all: when each thing was last compared with its sources, checked, or run."""
    found = {(e.kind, e.id): _day(e.data.get("last_verified")) for e in site.all}
    for record in site.verifications:
        key = "implementation", str(record.get("method"))
        found[key] = max(found.get(key, ""), _day(record.get("made")))
    return found | {("run", Path(r["file"]).stem): _day(r.get("started")) for r in site.runs}


def _day(stamp: object) -> str:
    """The date of a date or time, or "" where it is none."""
    day = str(stamp or "")[:10]
    return day if is_date(day) else ""


def load_state(path: Path) -> dict | None:
    """The state at the last record, or None where nothing was recorded yet. Raises NotALog."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] == SCHEMA and isinstance(found["entries"], dict):
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise NotALog(f"{path}: is not a state of this version; restore it, or remove it to begin anew")


def compare(root: Path, date: str) -> tuple[list[Change], dict]:
    """Changes since the last record under `root`, and the state as it is now. Raises NotALog.

    date: of the new lines, ISO.
    """
    catalog = load_catalog(root)
    if catalog.problems:  # an entry that cannot be read must not be told as removed
        raise NotALog(f"{catalog.problems[0].path}: cannot be read; python -m scripts.validate says why")
    site = gather(catalog, root / "no-runs")
    before, now = load_state(root / STATE), state(site)
    dates = own_dates(site) if before is None else {}
    found = [
        Change(dates.get((kind, name)) or date, kind, name, what, detail)
        for kind, name, what, detail in differences(before or EMPTY, now, site)
    ]
    return sorted(found, key=lambda change: change.date), now


def record(root: Path, date: str) -> list[Change]:
    """Appends what changed to the log and keeps the state. Returns the new lines."""
    found, now = compare(root, date)
    log = read(root / LOG)
    last = {change for change in log if change.date >= min((c.date for c in found), default=date)}
    new = [change for change in found if change not in last]  # already there: the last recording was cut off
    if new or not (root / LOG).exists():
        replace(root / LOG, text([*log, *new]))
    kept = json.dumps(now, indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    if not (root / STATE).exists() or (root / STATE).read_text(encoding="utf-8") != kept:
        replace(root / STATE, kept)
    return new


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.changes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--record", action="store_true", help="append what changed to catalog/changes.csv")
    group.add_argument("--check", action="store_true", help="exit status 1 if something is not recorded")
    parser.add_argument("--date", help="date of the new lines (default: today, UTC)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the catalog's folder")
    options = parser.parse_args(arguments)
    date = options.date or datetime.now(timezone.utc).date().isoformat()
    try:
        if not is_date(date):
            raise NotALog(f"--date {date}: right is like 2026-01-31")
        changes = record(options.root, date) if options.record else compare(options.root, date)[0]
    except NotALog as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for change in changes[:50]:
        print(f"{change.what} {change.kind}/{change.id}" + (f": {change.detail}" if change.detail else ""))
    if len(changes) > 50:
        print(f"and {len(changes) - 50} more")
    print(
        f"{len(changes)} {'change' if len(changes) == 1 else 'changes'} {'recorded' if options.record else 'to record'}"
    )
    return 1 if options.check and changes else 0


if __name__ == "__main__":
    sys.exit(main())
