"""The parts of the benchmark by name; each yields its rows as it finds them."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.making import data, scaling, views
from scripts.benchmark.memory import memory
from scripts.benchmark.settings import Settings
from scripts.benchmark.training import end_to_end, loop, share, step
from scripts.comparisons import Comparison, Fact

PARTS = {
    "data": data,
    "views": views,
    "step": step,
    "end to end": end_to_end,
    "share": share,
    "memory": memory,
    "scaling": scaling,
    "loop": loop,
}


def run(s: Settings, names: list[str]) -> Iterator[Comparison | Fact]:
    for name in names:
        yield from PARTS[name](s)
