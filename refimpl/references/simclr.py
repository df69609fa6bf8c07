"""NT-Xent by loops, from Eq. 1 of arXiv 2002.05709."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.methods.joint_embedding import simclr
from refimpl.references import Check, compare


def slow_nt_xent(z1: np.ndarray, z2: np.ndarray, temperature: float) -> float:
    n = len(z1)
    z = [row / math.sqrt(sum(v * v for v in row)) for row in [*z1, *z2]]
    total = 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n
        numerator = math.exp(float(z[i] @ z[j]) / temperature)
        denominator = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i)
        total += -math.log(numerator / denominator)
    return total / (2 * n)


def _case(temperature: float) -> Check:
    rng = np.random.default_rng(1)
    z1, z2 = rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    return compare(
        f"NT-Xent and its gradient equal a double loop at temperature {temperature}",
        lambda z1, z2: simclr.nt_xent(z1, z2, temperature),
        lambda z1, z2: slow_nt_xent(z1, z2, temperature),
        {"z1": z1, "z2": z2},
    )


def default_temperature() -> Check:
    return _case(0.5)


def low_temperature() -> Check:
    return _case(0.1)


def orthogonal_projections() -> Check:
    """With all views orthogonal to one another the loss is ln(2N - 1)."""
    n = 6
    z = torch.eye(2 * n, dtype=torch.float64)
    value = float(simclr.nt_xent(z[:n], z[n:], 0.5))
    return Check("orthogonal views give ln(2N - 1)", abs(value - math.log(2 * n - 1)), 1e-6)


CASES = [default_temperature, low_temperature, orthogonal_projections]

KNOCKOUTS = {
    "negatives from the batch": lambda patch: patch(
        simclr, "nt_xent", lambda z1, z2, t=0.5: -torch.cosine_similarity(z1, z2).mean() / t
    ),
    "the partner as positive": lambda patch: patch(
        simclr, "nt_xent", lambda z1, z2, t=0.5, original=simclr.nt_xent: original(z1, z2.roll(1, 0), t)
    ),
}
