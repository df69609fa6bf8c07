"""Local aggregation's neighbours, loss and memory by loops, from Eq. 1 to 3 of arXiv 1903.12355."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools, Progress
from refimpl.methods.clustering import local_aggregation
from refimpl.parts import memory_bank
from refimpl.references import Check, compare

CLOSE = np.array([[True, False, True, False, False], [False, True, False, False, False], [True] * 5])


def slow_loss(similarity: np.ndarray, close: np.ndarray, temperature: float) -> float:
    total = 0.0
    for row, chosen in zip(similarity, close):
        p = [math.exp(s / temperature) for s in row]
        total -= math.log(sum(q for q, c in zip(p, chosen) if c) / sum(p))
    return total / len(similarity)


def _loss(temperature: float) -> Check:
    return compare(
        f"the loss and its gradient equal a loop over neighbours at temperature {temperature}",
        lambda similarity: local_aggregation.aggregation_loss(similarity, torch.tensor(CLOSE), temperature),
        lambda similarity: slow_loss(similarity, CLOSE, temperature),
        {"similarity": np.random.default_rng(1).uniform(-1, 1, size=(3, 5))},
        coordinates=15,
    )


def default_temperature() -> Check:
    return _loss(0.07)


def high_temperature() -> Check:
    return _loss(0.5)


def known_points() -> Check:
    """Equal similarities: ln(|B| / |C and B|). All close: 0. What is no neighbour has no part."""
    close = torch.arange(6)[None] < 2
    equal = torch.ones(1, 6, dtype=torch.float64)
    error = abs(float(local_aggregation.aggregation_loss(equal, close)) - math.log(3))
    error += abs(float(local_aggregation.aggregation_loss(equal, torch.ones_like(close))))
    none = equal.masked_fill(torch.arange(6)[None] >= 4, float("-inf"))
    error += abs(float(local_aggregation.aggregation_loss(none, close)) - math.log(2))
    return Check("known points: ln(|B| / |C and B|) and 0", error, 1e-9)


NEAREST = 4
TRAIN = np.array([7, 2, 9, 4, 11, 5, 0, 3])


def _data() -> Data:
    image = np.random.default_rng(3).integers(0, 255, size=(12, 2, 16, 16)).astype(np.uint8)
    inputs = {"image": Input(("a", "b"), 16, (127.0, 127.0), (70.0, 70.0))}
    return Data("noise", {"image": image}, inputs, {"train": TRAIN})


def _started(**changes) -> tuple[local_aggregation.LocalAggregation, Data, EpochTools]:
    data = _data()
    torch.manual_seed(0)
    settings = {"samples": 12, "dim": 6, "neighbours": NEAREST, "clusters": (3, 3), "alone": 1, **changes}
    method = local_aggregation.LocalAggregation(data.inputs, "test_resnet", **settings).eval()
    return method, data, EpochTools(lambda: None, lambda parameters: None, torch.Generator().manual_seed(0))


def neighbours(method, v: np.ndarray, bank: list[np.ndarray], i: int) -> tuple[list[int], list[int]]:
    """Background and close neighbours of one image, by their numbers."""
    if not len(method.assignment):
        return list(TRAIN), [i]
    others = sorted((n for n in TRAIN if n != i), key=lambda n: -float(v @ bank[n]))
    background = [i, *others[: NEAREST - 1]]
    shared = [n for n in TRAIN if any(a == b for a, b in zip(method.assignment[n], method.assignment[i]))]
    return background, [n for n in background if n in shared]


def steps() -> Check:
    """Two steps of instance discrimination, then four of local aggregation, with the memory kept as a list."""
    method, data, tools = _started()
    bank, error, several, whole = [row.double().numpy() for row in method.bank.rows], 0.0, 0, 0
    for step in range(6):
        if step % 2 == 0:
            method.before_epoch(step // 2, data, tools)
        if step >= 2:  # two clusterings that differ
            method.assignment[TRAIN] = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 2], [0, 1, 1, 2, 2, 0, 0, 1]]).T
        index = torch.as_tensor(TRAIN[[step % 4, 4, 6, 7]])
        with torch.no_grad():
            draws = Draws(0, step, torch.arange(4))
            batch = method.prepare(method.draw(data, index, draws), draws)
            v = F.normalize(method.head(method.encoder(batch["x"])), dim=1).double().numpy()
            ours, expected = float(method(batch).loss), 0.0
        for row, i in zip(v, index.tolist()):
            background, close = neighbours(method, row, bank, i)
            several, whole = several + (len(close) > 1), whole + (len(close) == len(background))
            p = {n: math.exp(float(row @ bank[n]) / 0.07) for n in background}
            expected -= math.log(sum(p[n] for n in close) / sum(p.values())) / 4
        error = max(error, abs(ours - expected) / max(0.1, expected))
        method.after_step(Progress(step + 1, 6, step // 2, 3))
        for row, i in zip(v, index.tolist()):
            entry = 0.5 * bank[i] + 0.5 * row
            bank[i] = entry / math.sqrt(sum(entry**2))
    error = max(error, float(np.abs(np.array(bank) - method.bank.rows.numpy()).max()))
    return Check("six steps equal those by hand", error + (several < 8) + (whole > 8), 2e-5)


def clusters_of_the_memory() -> Check:
    """Entries of two directions make two clusters in every clustering; samples that are not trained on have none."""
    method, data, tools = _started(clusters=(2, 2))
    side = torch.tensor([1.0, 1, -1, 1, -1, -1, 1, -1])
    method.bank.rows[TRAIN] = side[:, None] * F.normalize(torch.ones(8, 6) + 0.01 * torch.randn(8, 6), dim=1)
    method.before_epoch(0, data, tools)
    early = len(method.assignment)
    method.before_epoch(1, data, tools)
    wrong = early + int(not torch.equal(method.known.nonzero()[:, 0], torch.as_tensor(TRAIN).sort().values))
    for h in range(2):
        found = method.assignment[TRAIN, h]
        wrong += int(not torch.equal(found == found[0], side == side[0]))
    others = np.setdiff1d(np.arange(12), TRAIN)
    wrong += int((method.assignment[others] != -1).sum())
    return Check("clusters other than those of the memory", float(wrong), 0.0)


CASES = [default_temperature, high_temperature, known_points, steps, clusters_of_the_memory]

_background = local_aggregation.LocalAggregation.background
_before_epoch = local_aggregation.LocalAggregation.before_epoch


def _only_itself(self, v, index):
    similarity, close = _background(self, v, index)
    return similarity, close & (torch.cumsum(close, 1) == 1)


def _whole_memory(self, v, index):
    self.neighbours = len(self.known)
    return _background(self, v, index)


def _first_clustering(self, v, index):
    kept, self.assignment = self.assignment, self.assignment[:, :1]
    found = _background(self, v, index)
    self.assignment = kept
    return found


def _random_clusters(x, k, generator):
    return None, torch.randint(k, (len(x),), generator=generator)


KNOCKOUTS = {
    "close neighbours": lambda patch: patch(local_aggregation.LocalAggregation, "background", _only_itself),
    "background neighbours": lambda patch: patch(local_aggregation.LocalAggregation, "background", _whole_memory),
    "several clusterings": lambda patch: patch(local_aggregation.LocalAggregation, "background", _first_clustering),
    "clusters of the memory": lambda patch: patch(local_aggregation, "k_means", _random_clusters),
    "images alone at first": lambda patch: patch(
        local_aggregation.LocalAggregation,
        "before_epoch",
        lambda self, epoch, data, tools: _before_epoch(self, 9, data, tools),
    ),
    "the logarithm of a sum, not a sum of logarithms": lambda patch: patch(
        local_aggregation, "aggregation_loss", _mean_of_logarithms
    ),
    "the memory": lambda patch: patch(memory_bank.MemoryBank, "put", lambda self, index, rows: None),
}


def _mean_of_logarithms(similarity, close, temperature=0.07):
    log_p = F.log_softmax(similarity / temperature, dim=1).masked_fill(~close, 0.0)
    return -(log_p.sum(1) / close.sum(1)).mean()
