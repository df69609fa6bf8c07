"""Rules of run records and verification records."""

from __future__ import annotations

import re

from scripts.catalog import Problem, Record
from scripts.catalog.problems import show
from scripts.rules.base import Findings


def record_problems(record: Record) -> list[Problem]:
    """Faults of a run or verification record that its schema cannot see."""
    found = _run(record) if record.kind == "run" else _verification(record)
    return [record.problem(*finding) for finding in found]


def _run(record: Record) -> Findings:
    id_, name = record.get("id", str, ""), record.path.name
    if not (name.startswith(f"{record.method}-") and name.endswith(f"-{id_}.json")):
        yield ("id",), f"the file is {show(name)}", f"name it {record.method}-<data>-{id_}.json"
    for number, score in enumerate(record.get("scores", list, [])):
        bounds = [score.get(key) for key in ("lower", "value", "upper")] if isinstance(score, dict) else []
        numbers = [b for b in bounds if isinstance(b, (int, float))]
        if numbers != sorted(numbers):
            yield ("scores", number), "lower, value, upper are not in ascending order", "write the record again"


def _verification(record: Record) -> Findings:
    name = record.path.name
    if not re.fullmatch(re.escape(record.method) + r"\.verify\.(cpu|cuda)\.json", name):
        yield ("method",), f"the file is {show(name)}", f"name it {record.method}.verify.cpu.json or .cuda.json"
    checks = [c for c in record.get("rungs.matches.checks", list, []) if isinstance(c, dict)]
    numbers = [(c.get("error"), c.get("tolerance")) for c in checks]
    if all(isinstance(n, (int, float)) for pair in numbers for n in pair) and numbers:
        yield from _passed(record, "matches", all(error <= tolerance for error, tolerance in numbers))
    margin, needed = record.get("rungs.learns.margin", (int, float)), record.get("rungs.learns.required", (int, float))
    if margin is not None and needed is not None:
        yield from _passed(record, "learns", margin >= needed)


def _passed(record: Record, rung: str, should: bool) -> Findings:
    said = record.get(f"rungs.{rung}.passed", bool)
    if said is True and not should:
        yield ("rungs", rung, "passed"), f"{rung} is said to have passed but its numbers say no", "verify it again"
