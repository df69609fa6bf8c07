"""Barlow Twins' loss by loops, from Eq. 1 and 2 of arXiv 2103.03230."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.methods.joint_embedding import barlow_twins
from refimpl.references import Check, compare


def slow_loss(z1: np.ndarray, z2: np.ndarray, weight: float) -> float:
    n, d = z1.shape
    total = 0.0
    for i in range(d):
        for j in range(d):
            a, b = z1[:, i] - sum(z1[:, i]) / n, z2[:, j] - sum(z2[:, j]) / n
            norms = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
            c = sum(x * y for x, y in zip(a, b)) / norms
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def formula() -> Check:
    rng = np.random.default_rng(1)
    return compare(
        "the loss and its gradient equal a double loop",
        lambda z1, z2: barlow_twins.barlow_twins_loss(z1, z2, 5e-3),
        lambda z1, z2: slow_loss(z1, z2, 5e-3),
        {"z1": rng.normal(size=(6, 4)), "z2": rng.normal(size=(6, 4))},
    )


def known_points() -> Check:
    """Equal, uncorrelated units give 0; equal units that all say the same give lambda (D^2 - D)."""
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    zero = float(barlow_twins.barlow_twins_loss(z, 3 * z + 1, 0.1))
    same = float(barlow_twins.barlow_twins_loss(z[:, :1].repeat(1, 5), z[:, :1].repeat(1, 5), 0.1))
    return Check("known points: 0 and lambda (D^2 - D)", abs(zero) + abs(same - 0.1 * 20), 1e-6)


CASES = [formula, known_points]

KNOCKOUTS = {
    "redundancy reduction": lambda patch: patch(
        barlow_twins, "barlow_twins_loss", lambda a, b, w, original=barlow_twins.barlow_twins_loss: original(a, b, 0.0)
    ),
    "standardised units": lambda patch: patch(
        barlow_twins,
        "barlow_twins_loss",
        lambda a, b, w: (
            (1 - (a.T @ b / len(a)).diagonal()).square().sum()
            + w * ((a.T @ b / len(a)).square().sum() - (a.T @ b / len(a)).diagonal().square().sum())
        ),
    ),
}
