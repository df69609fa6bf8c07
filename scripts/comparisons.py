"""What the benchmark found, as rows; which bars they meet; and the JSON file that keeps them.

Stands outside `scripts.benchmark`, which needs torch, since the site shows these files and is built without it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """Ours beside one peer on one piece of work.

    part: "data", "views", "step", "end to end" or "memory". case: which work, in words.
    ours, theirs: medians in `unit`. ratio: how many times better ours is (faster, or smaller); low, high: its quartiles
    over the rounds. equal: whether both did the same work; where not, the note says why, and no bar counts it.
    """

    part: str
    case: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    rounds: int
    operations: tuple[str, ...] = ()
    equal: bool = True
    note: str = ""


@dataclass(frozen=True)
class Fact:
    """A number about one of them: achieved arithmetic, an exponent, the loop's own cost."""

    part: str
    case: str
    value: float
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar that the project set itself. wanted: at least (sign ">=") or at most ("<=") this."""

    what: str
    sign: str
    wanted: float
    found: float
    against: str = ""

    @property
    def met(self) -> bool:
        return self.found >= self.wanted if self.sign == ">=" else self.found <= self.wanted


@dataclass
class Result:
    """One run of the benchmark. device_type: "cpu" or "cuda". absent: peers left out, each with how to get it."""

    made: str
    commit: str
    device: str
    device_type: str
    threads: int
    versions: dict[str, str]
    settings: dict[str, object]
    absent: dict[str, str] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def add(self, row: Comparison | Fact) -> None:
        (self.comparisons if isinstance(row, Comparison) else self.facts).append(row)

    def as_dict(self) -> dict:
        bars = [{**asdict(bar), "met": bar.met} for bar in bars_of(self)]
        return {"benchmark": VERSION, **_rounded(asdict(self)), "bars": _rounded(bars)}


def closest(comparisons: list[Comparison]) -> dict[tuple[str, str], Comparison]:
    """The peer that comes closest in each (part, case), among those that did equal work."""
    found: dict[tuple[str, str], Comparison] = {}
    for row in comparisons:
        key = row.part, row.case
        if row.equal and (key not in found or row.ratio < found[key].ratio):
            found[key] = row
    return found


def bars_of(result: Result) -> list[Bar]:
    """Every bar that this run can judge, always against the closest peer."""
    bars = []
    for (part, case), row in closest(result.comparisons).items():
        wanted = _wanted(part, case, result.device_type)
        if wanted is not None:
            bars.append(Bar(f"{part}: {case}", ">=", wanted, row.ratio, row.peer))
    for fact in result.facts:
        wanted = _most(fact, result.device_type)
        if wanted is not None:
            bars.append(Bar(f"{fact.part}: {fact.case}", "<=", wanted, fact.value))
    return bars


def _wanted(part: str, case: str, device_type: str) -> float | None:
    if part == "views" and device_type == "cpu":
        return 3.0 if "13 bands" in case else 2.0
    if part == "step" and device_type == "cpu":
        # Two numbers of equal precision differ by the step itself; defaults also by what each chooses.
        return 1.7 if "default" in case else 1.1 if "fp32" in case else None
    if part == "end to end" and device_type == "cuda":
        return 3.0
    return 1.0 if part == "memory" else None


def _most(fact: Fact, device_type: str) -> float | None:
    if fact.part == "loop":
        return 0.03
    if fact.part == "scaling":
        return 1.1  # linear, give or take what the clock cannot tell apart
    if fact.part == "share" and device_type == "cuda":
        return 0.25 if "2+6" in fact.case else 0.15
    return None


def _rounded(value):
    """Five significant digits: the rest of a time is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value


def as_json(result: Result) -> str:
    """A line per row, so that two files can be compared line by line."""
    parts = []
    for key, value in result.as_dict().items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row) for row in value)
            parts.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def number(value: float) -> str:
    """As people read it: three significant digits, thousands in groups, billions as a power of ten."""
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 100 else f"{value:.3g}"


class NotABenchmark(ValueError):
    """A file that holds something else; str() is one line."""


def read(path: Path) -> Result:
    """Raises NotABenchmark."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotABenchmark(f"{path}: cannot be read ({error})") from None
    if not isinstance(data, dict) or data.get("benchmark") != VERSION:
        raise NotABenchmark(f"{path}: is no benchmark of version {VERSION}; python -m scripts.benchmark writes them")
    try:
        rows = {name: [_row(kind, r) for r in data[name]] for name, kind in _ROWS.items()}
        rest = {k: v for k, v in data.items() if k not in ("benchmark", "bars", *rows)}
        return _row(Result, {**rest, **rows})
    except (TypeError, KeyError, AttributeError) as error:
        raise NotABenchmark(f"{path}: lacks or holds something it should not: {error}") from None


_ROWS = {"comparisons": Comparison, "facts": Fact}
_TYPES = {"str": str, "float": (int, float), "int": int, "bool": bool}


def _row(kind, values: dict):
    """A dataclass from JSON. Raises TypeError where a field is missing, unknown or of another type."""
    for f in fields(kind):
        value, wanted = values.get(f.name, f.default), _TYPES.get(f.type)
        if wanted and f.name in values:
            right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
            if not right or (isinstance(value, float) and not math.isfinite(value)):
                raise TypeError(f"{f.name} is {value!r}, not a {f.type}")
    if "operations" in values:
        values = {**values, "operations": tuple(str(o) for o in values["operations"])}
    return kind(**values)
