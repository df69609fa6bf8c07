"""Protocol "scene": what do frozen features know of the class of an image (or pixel, or series)?

Features of the training split answer for the test split in two ways:

- k-NN: the 20 most similar training samples vote, weighted (`knn.py`); beside it 5 of equal weight;
- linear probe: logistic regression to convergence, its strength chosen on the validation split (`linear.py`).

The encoder is never trained, the test split chooses nothing, and three kinds of features are judged by the same rules:
the trained encoder's, those of the same network with random weights (`twin.py`), and plain band statistics. A method
that does not beat the last two has learned nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from refimpl.data.dataset import Data
from refimpl.engine.method import Method
from refimpl.evaluation.baselines import band_statistics
from refimpl.evaluation.features import Progress, extract, home
from refimpl.evaluation.knn import neighbours, vote
from refimpl.evaluation.linear import STRENGTHS, probe, standardiser
from refimpl.evaluation.scores import (
    RANDOM,
    STATISTICS,
    TRAINED,
    EvaluationError,
    Score,
    accuracy_score,
    balanced_score,
    digest,
    pick,
    require,
    rules,
)
from refimpl.evaluation.twin import untrained

VERSION = 2  # raised when a change of the rules changes scores
HIGHER_IS_BETTER = True

K, TEMPERATURE, K_PLAIN = 20, 0.07, 5

KNN = "k-NN accuracy"
KNN_PLAIN = "5-NN accuracy"
LINEAR = "linear probe accuracy"
LINEAR_BALANCED = "linear probe balanced accuracy"


def evaluate(
    method: Method,
    data: Data,
    *,
    fresh: Callable[[], Method],
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> list[Score]:
    """Judge a method's frozen features on labelled data.

    Args:
        method: its `embed` is judged; nothing of it changes.
        data: has the method's first field, "label" (below 0: unknown, left out), and the splits "train" and "test";
            without "val" a fifth of "train" takes its place.
        fresh: makes an untrained method of the same architecture.
        seed: of the untrained twin's weights.
        device: where to compute; default: where the method is. If given, the method is moved there.
        progress: called as progress(what is going on, share of all work that is done).
    Returns:
        accuracies in percent of the features "trained", "random initialisation" and "band statistics", with 95 %
        intervals; balanced accuracy too where the test classes differ in size.
    Raises:
        EvaluationError: data that cannot judge the method, or features that are not finite.
    """
    field = method.needs[0]
    splits, labels = labelled_splits(data, field)
    device = home(method) if device is None else torch.device(device)
    method.to(device)
    band_axis = 2 if field in ("series", "video") else 1
    embeddings = {
        TRAINED: method.embed,
        RANDOM: untrained(fresh, seed, device, data).embed,
        STATISTICS: lambda stored: band_statistics(stored, band_axis),
    }
    done, total = 0, len(embeddings) * sum(len(rows) for rows in splits.values())

    def advance(samples: int) -> None:
        nonlocal done
        done += samples
        if progress is not None:
            progress(f"judging {name}", done / total)

    scores = []
    for name, embed in embeddings.items():
        features = {
            split: extract(embed, data, field, rows, device=device, advance=advance, what=f"{name}, {split} split")
            for split, rows in splits.items()
        }
        scores += judge(features, labels, name, device, standardise=name == STATISTICS)
    return scores


def judge(
    features: dict[str, Tensor],
    labels: dict[str, Tensor],
    name: str,
    device: torch.device | str = "cpu",
    standardise: bool = False,
) -> list[Score]:
    """Both classifiers on features that were made already.

    Args:
        features: "train", "val", "test" -> (n, D). labels: the same keys -> (n,) int64.
        standardise: before k-NN. For band statistics, whose columns have different units, so that a cosine of raw
            numbers would only see the brightest band; a network's features are compared as they are.
    """
    x = {split: f.to(device) for split, f in features.items()}
    y = {split: l.to(device) for split, l in labels.items()}
    classes = 1 + int(max(l.max() for l in y.values()))

    mean, scale = standardiser(x["train"]) if standardise else (0.0, 1.0)
    similarity, rows = neighbours((x["train"] - mean) * scale, (x["test"] - mean) * scale, K)
    voters = y["train"][rows]
    weighted = vote(similarity, voters, classes, TEMPERATURE)
    plain = vote(similarity[:, :K_PLAIN], voters[:, :K_PLAIN], classes, temperature=None)
    linear = probe(x["train"], y["train"], x["val"], y["val"], classes).predict(x["test"])

    truth = y["test"].cpu().numpy()
    right = {
        metric: (guess == y["test"]).cpu().numpy()
        for metric, guess in ((KNN, weighted), (KNN_PLAIN, plain), (LINEAR, linear))
    }
    scores = [accuracy_score(metric, name, correct) for metric, correct in right.items()]
    if len(set(np.unique(truth, return_counts=True)[1])) > 1:
        scores.append(balanced_score(LINEAR_BALANCED, name, right[LINEAR], truth))
    return scores


def labelled_splits(data: Data, field: str) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Sample numbers with known labels and those labels, for "train", "val" and "test".

    Raises EvaluationError when a field or split is missing, or when there is nothing to tell apart.
    """
    require(data, "scene", fields=(field, "label"))
    every = data.take("label", torch.arange(len(data))).cpu().long()
    splits = {
        split: rows[every[torch.from_numpy(rows)].numpy() >= 0]
        for split in ("train", "val", "test")
        for rows in [np.asarray(data.splits.get(split, ()), dtype=np.int64)]
    }
    if len(splits["val"]) == 0:
        splits["train"], splits["val"] = hold_out(splits["train"], every.numpy())
    labels = {split: every[torch.from_numpy(rows)] for split, rows in splits.items()}
    for split in ("train", "test"):
        if len(labels[split].unique()) < 2:
            raise EvaluationError(f"{data.name}: the {split} split knows fewer than two classes; nothing to tell apart")
    return splits, labels


def hold_out(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers in two parts, the second a fifth of each class (none of a class of one)."""
    order = rows[np.argsort(labels[rows], kind="stable")]
    first = np.searchsorted(labels[order], labels[order])  # where each sample's class begins
    second = (np.arange(len(order)) - first) % 5 == 1
    return np.sort(order[~second]), np.sort(order[second])


def headline(scores: list[Score], features: str = TRAINED) -> float:
    """The one number that ranks methods: linear probe accuracy in percent."""
    return pick(scores, LINEAR, features)


def fingerprint(method: Method, data: Data) -> str:
    """Hash of all that must be equal for two scores to be ranked together."""
    settings = {
        "knn": [K, TEMPERATURE, K_PLAIN],
        "probe": ["logistic regression, L-BFGS, L2 on validation accuracy", list(STRENGTHS)],
    }
    return digest({"protocol": "scene", "version": VERSION, **settings, **rules(data, method.inputs[method.needs[0]])})
