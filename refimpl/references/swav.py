"""SwAV's swapped prediction and its balanced codes by loops, from Eq. 2 and 3 of arXiv 2006.09882."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.methods.clustering import swav
from refimpl.references import Check, compare


def slow_swapped_prediction(scores: np.ndarray, codes: np.ndarray, temperature: float) -> float:
    total, pairs = 0.0, 0
    for s in range(len(codes)):
        for t in range(len(scores)):
            if s == t:
                continue
            pairs += 1
            for i in range(scores.shape[1]):
                exps = [math.exp(v / temperature) for v in scores[t, i]]
                total -= sum(q * math.log(e / sum(exps)) for q, e in zip(codes[s, i], exps)) / scores.shape[1]
    return total / pairs


def slow_sinkhorn(scores: np.ndarray, temperature: float, iterations: int) -> np.ndarray:
    q = np.exp(scores / temperature)
    samples, prototypes = q.shape
    for _ in range(iterations):
        for k in range(prototypes):
            q[:, k] *= samples / prototypes / q[:, k].sum()
        for i in range(samples):
            q[i] /= q[i].sum()
    return q


def swapped_prediction() -> Check:
    rng = np.random.default_rng(1)
    codes = rng.dirichlet(np.ones(4), size=(2, 3))
    fixed = torch.tensor(codes)
    return compare(
        "the swapped prediction and its gradient equal loops over pairs of views",
        lambda scores: swav.swapped_prediction(scores, fixed, 0.1),
        lambda scores: slow_swapped_prediction(scores, codes, 0.1),
        {"scores": rng.uniform(-1, 1, size=(4, 3, 4))},
    )


def codes() -> Check:
    scores = np.random.default_rng(2).uniform(-1, 1, size=(12, 4))
    ours = swav.sinkhorn(torch.tensor(scores), 0.05, 3).numpy()
    return Check("codes equal plain Sinkhorn iterations", float(abs(ours - slow_sinkhorn(scores, 0.05, 3)).max()), 1e-9)


def large_scores() -> Check:
    """exp(400) has no float; adding a constant to all scores changes no code."""
    scores = torch.tensor(np.random.default_rng(3).uniform(-1, 1, size=(12, 4)))
    error = (swav.sinkhorn(scores + 20.0, 0.05, 3) - swav.sinkhorn(scores, 0.05, 3)).abs().max()
    return Check("large scores give the same codes", float(error), 1e-9)


def balance() -> Check:
    """Many iterations: rows sum to 1, every prototype gets B / K, though all images prefer the first."""
    scores = torch.rand(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    scores[:, 0] += 0.5
    q = swav.sinkhorn(scores, 0.1, 200)
    error = (q.sum(1) - 1).abs().max() + (q.sum(0) - 8).abs().max() / 8
    return Check("prototypes share the batch equally", float(error), 1e-6)


CASES = [swapped_prediction, codes, large_scores, balance]

KNOCKOUTS = {
    "balance": lambda patch: patch(swav, "sinkhorn", lambda scores, t=0.05, n=3: torch.softmax(scores / t, 1)),
    "the swap": lambda patch: patch(
        swav, "swapped_prediction", lambda scores, codes, t=0.1:
        -(codes * torch.log_softmax(scores[: len(codes)] / t, 2)).sum(2).mean()
    ),
    "the log domain": lambda patch: patch(
        swav, "sinkhorn", lambda scores, t=0.05, n=3: torch.tensor(slow_sinkhorn(scores.float().numpy(), t, n))
    ),
}  # fmt: skip
