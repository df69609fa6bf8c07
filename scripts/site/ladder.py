"""The verification ladder: five rungs, each computed from records, none typed by hand.

A rung is "reached" when a record proves it on the code as it is now, "expired" when the record was made on other code,
and "open" when there is no passing record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

from refimpl import registry
from scripts.site.text import made_on

RUNGS = {
    "sourced": "every number and identifier names where it was read",
    "runs": "the command on this page was executed on the current code",
    "matches": "the loss or forward pass agrees with an independent reference",
    "learns": "the features beat the same network at random initialisation",
    "measured": "a run on real data is on record",
}
STATES = {"reached": "reached", "expired": "expired", "open": "not reached"}


@dataclass(frozen=True)
class Rung:
    """One rung's state. date is ISO (may be empty); record is the proving file's name in catalog/results."""

    name: str
    state: str
    detail: str
    date: str = ""
    record: str = ""


def day(stamp: object) -> str:
    return str(stamp or "")[:10]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


def describe(name: str, rung: Mapping, device: str = "") -> str:
    """What a record says about one rung, in one line."""
    on = f" on {device}" if device else ""
    if name == "runs":
        memory = f", {rung['peak_memory_mb']:.0f} MB" if rung.get("peak_memory_mb") else ""
        return f"smoke run in {_seconds(rung.get('seconds') or 0)}{memory}{on}"
    if name == "matches":
        checks = rung.get("checks") or []
        worst = max((c["error"] for c in checks), default=None)
        plural = "check" if len(checks) == 1 else "checks"
        return f"{len(checks)} {plural}" + (f", largest error {_number(worst)}" if worst is not None else "")
    trained, random = rung.get("trained") or [], rung.get("random") or []
    if name == "learns" and trained and random:
        unit = "" if rung.get("unit") in (None, "1") else f" {rung['unit']}"
        seeds = f" (means of {len(trained)} seeds)" if len(trained) > 1 else ""
        return (
            f"{rung.get('metric', 'score')} {mean(trained):.3g}{unit} against {mean(random):.3g}{unit} at random"
            f" initialisation{seeds}, on {rung.get('data', 'embedded data')}"
        )
    return ""


def newest(method: str, records: Iterable[Mapping]) -> list[Mapping]:
    """The verification records of an implementation, newest first."""
    mine = [r for r in records if r.get("method") == method]
    return sorted(mine, key=lambda r: str(r.get("made", "")), reverse=True)


def proof(method: str, name: str, records: Iterable[Mapping]) -> tuple[Mapping, Mapping, bool] | None:
    """The record that proves a rung, the rung as it stands there, and whether that was on the code as it is now."""
    tried = [(r, r["rungs"][name]) for r in newest(method, records) if name in (r.get("rungs") or {})]
    passed = [(r, rung) for r, rung in tried if rung.get("passed")]
    if not passed:
        return None
    now = registry.rung_hash(method, name)
    current = [(r, rung) for r, rung in passed if rung.get("code_hash") == now]
    return *(current or passed)[0], bool(current)


def verified(method: str, records: Iterable[Mapping]) -> list[Rung]:
    """Rungs 2 to 4 of an implementation. records: verification records, each with its file name as "file"."""
    mine = newest(method, records)
    found = []
    for name in ("runs", "matches", "learns"):
        tried = [r for r in mine if name in (r.get("rungs") or {})]
        if proved := proof(method, name, mine):
            record, rung, current = proved
            detail = describe(name, rung, made_on(record)) + ("" if current else "; the code has changed since")
            state = "reached" if current else "expired"
            found.append(Rung(name, state, detail, day(record.get("made")), record.get("file", "")))
        elif tried:
            record = tried[0]
            found.append(Rung(name, "open", "tried and not passed", day(record.get("made")), record.get("file", "")))
        else:
            found.append(Rung(name, "open", "not tried yet"))
    return found


def measured(method: str, runs: Iterable[Mapping]) -> Rung:
    """Rung 5 of an implementation. runs: run records of the catalog."""
    real = [r for r in runs if r.get("method") == method and not (r.get("data") or {}).get("synthetic", True)]
    real.sort(key=lambda r: str(r.get("started", "")), reverse=True)
    now = registry.rung_hash(method, "measured") if real else ""
    current = [r for r in real if r.get("code_hash") == now]
    if not real:
        return Rung("measured", "open", "no run on real data on record")
    run = (current or real)[0]
    others = f" and {len(real) - 1} more" if len(real) > 1 else ""
    changed = "" if current else "; the code has changed since"
    detail = f"run on {run['data'].get('name', 'real data')}{others}{changed}"
    return Rung("measured", "reached" if current else "expired", detail, day(run.get("started")), run.get("file", ""))


def sourced(unsourced: list[str], date: object) -> Rung:
    """Rung 1 of an entry. unsourced: the fields without a source."""
    if not unsourced:
        return Rung("sourced", "reached", "every fact names its source", day(date))
    shown = ", ".join(unsourced[:4]) + (f" and {len(unsourced) - 4} more" if len(unsourced) > 4 else "")
    return Rung("sourced", "open", f"without a source: {shown}")
