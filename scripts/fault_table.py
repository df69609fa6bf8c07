"""What runs survived, as rows, and the JSON file that keeps them.

Stands outside `scripts.faults`, which needs torch, since the site shows these files and is built without it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

VERSION = 1
PHASES = ("start", "steps", "checkpoint", "judging")


@dataclass(frozen=True)
class Killed:
    """Runs of one method that were killed (SIGKILL) at random moments and resumed until they were done.

    processes: in a run; one of several is killed, or all. launcher: "command line" or "torchrun" (which starts the
    processes anew by itself). kills: how many in each of `PHASES`. runs: completed, each after several kills.
    equal: of those, whose weights, losses and scores are those of an undisturbed run bit by bit.
    message: what the first run that was not equal showed, or what a process said whose partner was killed.
    """

    method: str
    family: str
    processes: int
    launcher: str
    kills: dict[str, int]
    runs: int
    equal: int
    seconds: float
    message: str = ""

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    @property
    def survived(self) -> bool:
        return self.runs == self.equal > 0


@dataclass(frozen=True)
class Case:
    """One other fault. tried: times. survived: of those, with one clear line (where one is due) and nothing lost.

    said: the line. kept: what became of the work.
    """

    fault: str
    tried: int
    survived: int
    said: str
    kept: str


@dataclass
class Faults:
    """All that one call of `python -m scripts.faults` tried."""

    made: str
    commit: str
    device: str
    versions: dict[str, str]
    settings: dict[str, object]
    killed: list[Killed] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    def as_json(self) -> str:
        """A line per row, so that two files can be compared line by line."""
        parts = []
        for key, value in {"faults": VERSION, **asdict(self)}.items():
            if isinstance(value, list) and value:
                rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
                parts.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
            else:
                parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
        return "{\n" + ",\n".join(parts) + "\n}\n"


class NotFaults(ValueError):
    """A file that holds something else; str() is one line."""


def read(path: Path) -> Faults:
    """Raises NotFaults."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotFaults(f"{path}: cannot be read ({error})") from None
    if not isinstance(data, dict) or data.pop("faults", None) != VERSION:
        raise NotFaults(f"{path}: is no fault table of version {VERSION}; python -m scripts.faults writes them")
    try:
        data["killed"] = [_row(Killed, row) for row in data["killed"]]
        data["cases"] = [_row(Case, row) for row in data["cases"]]
        return Faults(**data)
    except (TypeError, KeyError, AttributeError) as error:
        raise NotFaults(f"{path}: lacks or holds something it should not: {error}") from None


_TYPES = {"str": str, "int": int, "float": (int, float), "dict[str, int]": dict}


def _row(kind, values: dict):
    """A dataclass from JSON. Raises TypeError where a field is missing, unknown or of another type."""
    for f in fields(kind):
        if f.name in values and not isinstance(values[f.name], _TYPES[f.type]):
            raise TypeError(f"{f.name} is {values[f.name]!r}, not a {f.type}")
    return kind(**values)
