"""What several processes gain and what they change, as rows, and the JSON file that keeps them.

Stands outside `scripts.scale`, which needs torch, since the site shows these files and is built without it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

VERSION = 1
STRONG, WEAK = "strong", "weak"
KINDS = {STRONG: "the same batch, shared by all", WEAK: "the same batch for each"}


@dataclass(frozen=True)
class Scaled:
    """A training by so many processes.

    kind: STRONG if the batch is that of one process, however many share it, WEAK if it grows with them. batch: images a
    step of all processes together. sharded: each keeps a part of the weights (--shard).
    images_per_second: of all together, the median of the rounds; low, high: their least and most.
    core_seconds: of all processes together, for an image. held: MiB of weights that a process keeps between steps.
    loss: largest relative difference of a step's loss from that of one process with the same batch; None where there is
    no such run, as for one process itself. weights: the difference of the final weights, as a share of how far training
    moved them (Euclidean norms).
    """

    kind: str
    processes: int
    sharded: bool
    batch: int
    images_per_second: float
    low: float
    high: float
    core_seconds: float
    held: float
    loss: float | None = None
    weights: float | None = None


@dataclass
class Scale:
    """All that one call of `python -m scripts.scale` measured. device_type: "cpu" or "cuda". cores: of the machine."""

    made: str
    commit: str
    device: str
    device_type: str
    cores: int
    versions: dict[str, str]
    settings: dict[str, object]
    rows: list[Scaled] = field(default_factory=list)

    def alone(self, kind: str) -> Scaled | None:
        """The run of one process that others of a kind are compared with."""
        return next((row for row in self.rows if row.processes == 1 and row.kind in (kind, STRONG)), None)

    def speed_up(self, row: Scaled) -> float | None:
        """How many times the images a second of one process."""
        one = self.alone(row.kind)
        return row.images_per_second / one.images_per_second if one else None

    def possible(self, row: Scaled) -> int:
        """The speed-up of a machine that loses nothing: no more than it has cores."""
        return min(row.processes, self.cores) if self.device_type == "cpu" else row.processes

    def as_json(self) -> str:
        """A line per row, so that two files can be compared line by line."""
        rows = ",\n  ".join(
            json.dumps({key: _rounded(value) for key, value in asdict(row).items()}) for row in self.rows
        )
        parts = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in asdict(self).items() if key != "rows"]
        return "{\n" + ",\n".join([f' "scale": {VERSION}', *parts, f' "rows": [\n  {rows}\n ]']) + "\n}\n"


def _rounded(value):
    """Four significant digits: the rest of a time is noise."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


class NotScale(ValueError):
    """A file that holds something else; str() is one line."""


def read(path: Path) -> Scale:
    """Raises NotScale."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotScale(f"{path}: cannot be read ({error})") from None
    if not isinstance(data, dict) or data.pop("scale", None) != VERSION:
        raise NotScale(f"{path}: is no scale table of version {VERSION}; python -m scripts.scale writes them")
    try:
        rows = [_checked(Scaled, row) for row in data["rows"]]
        found = _checked(Scale, {**data, "rows": rows})
    except (TypeError, KeyError, AttributeError) as error:
        raise NotScale(f"{path}: lacks or holds something it should not: {error}") from None
    odd = next((row for row in rows if row.kind not in KINDS or row.processes < 1 or row.images_per_second <= 0), None)
    if odd:
        raise NotScale(f"{path}: no such row can have been measured: {odd}")
    return found


_TYPES = {
    "str": str, "int": int, "bool": bool, "float": (int, float), "float | None": (int, float, type(None)),
    "dict[str, str]": dict, "dict[str, object]": dict, "list[Scaled]": list,
}  # fmt: skip


def _checked(kind, values: dict):
    """A dataclass from JSON. Raises TypeError where a field is missing, unknown, of another type or not finite."""
    for f in fields(kind):
        if f.name not in values:
            continue
        value, wanted = values[f.name], _TYPES[f.type]
        right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not right or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{f.name} is {value!r}, not a {f.type}")
    return kind(**values)
