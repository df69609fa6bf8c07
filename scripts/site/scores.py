"""Scores that may be ranked: which is better, which is surely better, who shares a place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

# Metrics of which less is better.
_LESS = re.compile(r"\b(error|rmse|rmsd|rmspe|mae|mse|aad|sad|sid|angle|distance|loss|fid|perplexity)\b", re.IGNORECASE)


def less_is_better(metric: object) -> bool:
    return bool(_LESS.search(str(metric)))


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval; lower and upper are None where no interval was stated."""

    value: float
    lower: float | None = None
    upper: float | None = None
    unit: str = "1"

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the number itself twice."""
        return (self.value, self.value) if self.lower is None or self.upper is None else (self.lower, self.upper)

    @property
    def sure(self) -> bool:
        return self.lower is not None and self.upper is not None


def number(value: object) -> float | None:
    """The value as a number that can be compared, or None."""
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine else None


def read(score: Mapping) -> Score | None:
    """A score as a run record writes it; None where its value is no number."""
    value = number(score.get("value"))
    ends = number(score.get("lower")), number(score.get("upper"))
    unit = str(score.get("unit") or "1")
    return None if value is None else Score(value, *(ends if None not in ends else (None, None)), unit)


def pooled(scores: Iterable[Score]) -> Score:
    """Several seeds as one: their mean, and the span that all their intervals cover."""
    scores = list(scores)
    ends = [s.ends for s in scores]
    known = len(scores) > 1 or scores[0].sure
    span = (min(low for low, _ in ends), max(high for _, high in ends)) if known else (None, None)
    return Score(fmean(s.value for s in scores), *span, scores[0].unit)


def better(one: Score, other: Score, less: bool) -> bool:
    return one.value < other.value if less else one.value > other.value


def surely_better(one: Score, other: Score, less: bool) -> bool:
    """Better, and the two intervals do not overlap (where both state one)."""
    overlap = one.sure and other.sure and one.ends[0] <= other.ends[1] and other.ends[0] <= one.ends[1]
    return better(one, other, less) and not overlap


def places(scores: list[Score], less: bool) -> list[tuple[int, bool]]:
    """Place of each score, and whether it is a tie: a place is one more than the number of surely better scores.

    Two scores whose intervals overlap can still have different places, when a third one surely beats only one of them.
    """

    def tied(one: int) -> bool:
        return any(
            not surely_better(scores[one], other, less) and not surely_better(other, scores[one], less)
            for n, other in enumerate(scores)
            if n != one
        )

    return [(1 + sum(surely_better(o, s, less) for o in scores), tied(n)) for n, s in enumerate(scores)]
