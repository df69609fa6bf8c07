"""BYOL's regression and its moving average by loops, from Eq. 2 and section 3.2 of arXiv 2006.07733."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from refimpl.methods.joint_embedding import byol
from refimpl.parts import teacher
from refimpl.references import Check, compare


def slow_regression(prediction: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for q, z in zip(prediction, target):
        q = q / math.sqrt(sum(v * v for v in q))
        z = z / math.sqrt(sum(v * v for v in z))
        total += sum((a - b) ** 2 for a, b in zip(q, z))
    return total / len(prediction)


def regression() -> Check:
    rng = np.random.default_rng(1)
    target = rng.normal(size=(5, 7))
    fixed = torch.tensor(target)
    return compare(
        "the regression and its gradient equal a loop",
        lambda prediction: byol.regression_loss(prediction, fixed),
        lambda prediction: slow_regression(prediction, target),
        {"prediction": rng.normal(size=(5, 7))},
    )


def target_gets_no_gradient() -> Check:
    prediction, target = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.ones(3, 4).double()
    target.requires_grad_(True)
    byol.regression_loss(prediction, target).backward()
    return Check("no gradient reaches the target", 0.0 if target.grad is None else float(target.grad.abs().sum()), 0.0)


def opposite_views() -> Check:
    z = torch.eye(4, dtype=torch.float64)
    values = [float(byol.regression_loss(a * z, z)) for a in (1.0, -1.0)]
    return Check("equal rows give 0, opposite ones 4", abs(values[0]) + abs(values[1] - 4.0), 1e-9)


def moving_average() -> Check:
    """Three updates of one weight, by hand; it begins as an exact copy."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(2.0)
    copy = teacher.Teacher(network)
    by_hand, error = 2.0, abs(float(copy.networks[0].weight) - 2.0)
    for step, weight in enumerate((3.0, -1.0, 5.0)):
        network.weight.data.fill_(weight)
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * step / 3) + 1) / 2
        by_hand = tau * by_hand + (1 - tau) * weight
        copy.follow(teacher.rising_momentum(0.9, step / 3), network)
        error = max(error, abs(float(copy.networks[0].weight.detach()) - by_hand))
    return Check("the target is the moving average of section 3.2", error, 1e-6)


CASES = [regression, target_gets_no_gradient, opposite_views, moving_average]

KNOCKOUTS = {
    "unit length": lambda patch: patch(
        byol, "regression_loss", lambda q, z: (q - z.detach()).square().sum(1).mean()
    ),
    "the stopped gradient": lambda patch: patch(
        byol, "regression_loss", lambda q, z: 2 - 2 * torch.cosine_similarity(q, z).mean()
    ),
    "the moving average": lambda patch: patch(teacher.Teacher, "follow", lambda self, momentum, *networks: None),
}  # fmt: skip
