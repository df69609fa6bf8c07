"""What every protocol returns: numbers with an interval, and a hash of the rules they were made under.

The interval covers the chance of *which test samples were drawn*, nothing else: not the seed of the training run, and
not the neighbourhood of pixels in one scene. Whether a method beats another is a question of several seeds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from refimpl.data.dataset import Data, Input

# Names of the features that a protocol compares.
TRAINED = "trained"
RANDOM = "random initialisation"
STATISTICS = "band statistics"

_Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
_RESAMPLES = 1000


class EvaluationError(ValueError):
    """Something that cannot be judged; the message is one line that says what is wrong and what would be right."""


@dataclass(frozen=True)
class Score:
    """One number.

    metric: what was measured. value: in `unit`. lower, upper: 95 % interval over test samples; None where the number
    does not come from test samples. features: whose, such as "trained", "band statistics" or "VCA + FCLS".
    """

    metric: str
    value: float
    unit: str
    lower: float | None
    upper: float | None
    features: str

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        digits = 1 if self.unit == "%" else 4
        interval = "" if self.lower is None else f" [{self.lower:.{digits}f}, {self.upper:.{digits}f}]"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.features}: {self.metric} {self.value:.{digits}f}{unit}{interval}"


def pick(scores: list[Score], metric: str, features: str = TRAINED) -> float:
    """The value of one metric of one kind of features. Raises EvaluationError when it is not among the scores."""
    for score in scores:
        if score.metric == metric and score.features == features:
            return score.value
    have = ", ".join(sorted({f"{s.metric} of {s.features}" for s in scores})) or "none"
    raise EvaluationError(f"no score {metric!r} of {features!r}; there are: {have}")


def require(data: Data, protocol: str, fields: tuple = (), splits: tuple = ("train", "test")) -> None:
    """Raises EvaluationError, naming the first field or split that a protocol needs and the data do not have."""
    for name in fields:
        if name not in data.gives:
            have = ", ".join(sorted(data.gives))
            raise EvaluationError(f"{data.name}: the protocol {protocol!r} needs the field {name!r}; it has {have}")
    for name in splits:
        if len(data.splits.get(name, ())) == 0:
            raise EvaluationError(f"{data.name}: the protocol {protocol!r} needs the split {name!r}: absent or empty")


def wilson(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion, both ends in [0, 1].

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927. Unlike
    p +- 1.96 s it stays inside [0, 1] and does not shrink to a point when all samples are right.
    """
    if total == 0:
        return 0.0, 1.0
    p, spread = hits / total, _Z95**2 / total
    centre = (p + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(p * (1 - p) / total + spread / (4 * total)) / (1 + spread)
    # With all (or no) samples right the end is exactly 1 (or 0); rounding must not push the value out of it.
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == total else centre + half)


def accuracy_score(metric: str, features: str, correct: np.ndarray) -> Score:
    """Share of right test samples (N,) bool, in percent, with its Wilson interval."""
    hits, total = int(correct.sum()), len(correct)
    lower, upper = wilson(hits, total)
    return Score(metric, 100 * hits / max(1, total), "%", 100 * lower, 100 * upper, features)


def balanced_score(metric: str, features: str, correct: np.ndarray, labels: np.ndarray, seed: int = 0) -> Score:
    """Mean over classes of the share of right test samples (balanced accuracy), in percent; chance is 100 / classes.

    Its interval: each class's share is drawn from its posterior under the Jeffreys prior, Beta(right + 1/2,
    wrong + 1/2), which stays honest for classes with few samples or none wrong.
    """
    classes = np.unique(labels)
    right = np.array([correct[labels == c].sum() for c in classes])
    total = np.array([(labels == c).sum() for c in classes])
    value = (right / total).mean()
    draws = np.random.default_rng(seed).beta(right + 0.5, total - right + 0.5, (4 * _RESAMPLES, len(classes)))
    lower, upper = np.quantile(draws.mean(1), [0.025, 0.975])
    return Score(metric, 100 * value, "%", 100 * min(lower, value), 100 * max(upper, value), features)


def bootstrap(values: np.ndarray, finish: Callable = lambda mean: mean, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of finish(mean(values)) when the test samples (N,) are drawn again with replacement."""
    rng, n = np.random.default_rng(seed), len(values)
    chunk = max(1, 2_000_000 // n)
    means = [
        values[rng.integers(0, n, (min(chunk, _RESAMPLES - start), n))].mean(1) for start in range(0, _RESAMPLES, chunk)
    ]
    lower, upper = np.quantile(finish(np.concatenate(means)), [0.025, 0.975])
    return float(lower), float(upper)


def digest(settings: dict) -> str:
    """Short hash of a protocol's settings; scores are ranked together only where it is equal."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rules(data: Data, field: Input) -> dict:
    """What the data contribute to the settings of a protocol: splits, classes, bands, size and normalisation."""
    splits = {
        name: [len(rows), hashlib.sha256(np.sort(np.asarray(rows, dtype=np.int64)).tobytes()).hexdigest()[:8]]
        for name, rows in data.splits.items()
    }
    return {
        "data": data.name,
        "splits": splits,
        "classes": list(data.classes),
        "bands": list(field.bands),
        "size": field.size,
        # Rounded, so that the order of a sum does not make two protocols of one.
        "mean": [float(f"{v:.5g}") for v in field.mean],
        "std": [float(f"{v:.5g}") for v in field.std],
    }
