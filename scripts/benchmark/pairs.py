"""Times that are taken in turn, and the ratio of two of them.

A machine that others use as well is fast in one second and slow in the next. Two programs measured one after the other
then differ for reasons that are not theirs. So everybody works in turn, round after round, and what is compared are the
times of one round: whatever slowed that round slowed all of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours is than theirs. low, high: quartiles over the rounds."""

    median: float
    low: float
    high: float


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; a single value is all three."""
    if not values:
        raise ValueError("nothing was measured")
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(ours: list[float], theirs: list[float]) -> Ratio:
    """Of times (seconds) from the same rounds: theirs / ours in each round, then the quartiles."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds of ours but {len(theirs)} of theirs: these are not pairs")
    if min(*ours, *theirs) <= 0:
        raise ValueError("a time is not above zero")
    low, middle, high = quartiles([t / o for o, t in zip(ours, theirs)])
    return Ratio(middle, low, high)


def in_turn(jobs: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each job in each round.

    Args:
        jobs: name -> does the work once and returns the seconds it took.
        rounds: how often each works. Every other round goes backwards, so that nobody always follows the same one.
        warm_up: rounds before these, whose times are thrown away.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(warm_up + rounds):
        order = list(jobs) if number % 2 == 0 else list(jobs)[::-1]
        for name in order:
            seconds = jobs[name]()
            if number >= warm_up:
                times[name].append(seconds)
    return times


class Turns:
    """The same for a job that cannot be called step by step, because it is a loop that runs by itself.

    The loop calls `after_step` at the end of each of its steps. The time since the last call is the loop's; then the
    others work while it waits.

    Args:
        now: seconds on some clock.
        others: name -> does the work once and returns the seconds it took.
        block: steps of the loop in one round (its time is then that of one step on average).
    """

    def __init__(
        self,
        now: Callable[[], float],
        others: Mapping[str, Callable[[], float]],
        rounds: int,
        warm_up: int = 1,
        block: int = 1,
    ):
        self.now, self.others, self.warm_up, self.block = now, dict(others), warm_up, block
        self.steps = (rounds + warm_up) * block  # that the loop must do
        self.times: dict[str, list[float]] = {name: [] for name in ("ours", *self.others)}
        self._done = 0
        self._began = now()

    def after_step(self) -> None:
        self._done += 1
        if self._done % self.block:
            return
        seconds = (self.now() - self._began) / self.block
        number = self._done // self.block - 1
        order = list(self.others) if number % 2 == 0 else list(self.others)[::-1]
        found = {"ours": seconds, **{name: self.others[name]() for name in order}}
        if number >= self.warm_up:
            for name, value in found.items():
                self.times[name].append(value)
        self._began = self.now()


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """p of the power law seconds = c * sizes^p that fits best (least squares of the logarithms); 1 is linear."""
    if len(sizes) < 2 or len(sizes) != len(seconds):
        raise ValueError("a power law needs two or more sizes, with a time each")
    slope, _ = statistics.linear_regression([math.log(s) for s in sizes], [math.log(t) for t in seconds])
    return slope
