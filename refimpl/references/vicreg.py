"""VICReg's three terms by loops, in both readings, from Eq. 1 to 6 of arXiv 2105.04906."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.methods.joint_embedding import vicreg
from refimpl.references import Check, compare

EPSILON = 1e-4


def slow_terms(z1: np.ndarray, z2: np.ndarray, reading: str) -> list[float]:
    n, d = z1.shape
    invariance = 0.0
    for a, b in zip(z1, z2):
        invariance += sum((x - y) ** 2 for x, y in zip(a, b)) / n
    varies = covaries = 0.0
    for z in (z1, z2):
        mean = [sum(z[:, j]) / n for j in range(d)]
        for i in range(d):
            for j in range(d):
                c = sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in z) / (n - 1)
                if i == j:
                    varies += max(0.0, 1.0 - math.sqrt(c + EPSILON)) / d
                else:
                    covaries += c * c / d
    # The authors' code: the invariance is a mean over all entries, the variance one over both branches.
    return [invariance / d, varies / 2, covaries] if reading == "code" else [invariance, varies, covaries]


def _case(reading: str) -> Check:
    rng = np.random.default_rng(1)
    weights = (25.0, 25.0, 1.0)
    # Some deviations above 1 and some below.
    scale = np.array([0.3, 0.6, 1.5, 0.9])
    return compare(
        f"the loss and its gradient equal loops, as the {reading} has them",
        lambda z1, z2: (vicreg.vicreg_terms(z1, z2, reading) * z1.new_tensor(weights)).sum(),
        lambda z1, z2: sum(w * t for w, t in zip(weights, slow_terms(z1, z2, reading))),
        {"z1": rng.normal(size=(6, 4)) * scale, "z2": rng.normal(size=(6, 4)) * scale + 0.5},
    )


def as_code() -> Check:
    return _case("code")


def as_paper() -> Check:
    return _case("paper")


def known_points() -> Check:
    """Equal, uncorrelated units of deviation above 1 give 0; one point gives 1 - 0.01 in each branch, and nothing else.

    Two equal units of variance 4 / 3 give a covariance term of 2 (4 / 3)^2 / 2 in each branch.
    """
    cross = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    error = float(vicreg.vicreg_terms(cross, cross, "paper").abs().sum())
    point = vicreg.vicreg_terms(torch.ones(4, 2).double(), torch.ones(4, 2).double(), "paper")
    error += float((point - point.new_tensor([0.0, 2 * 0.99, 0.0])).abs().sum())
    same = cross[:, :1].repeat(1, 2)
    error += abs(float(vicreg.vicreg_terms(same, same, "paper")[2]) - 2 * 16 / 9)
    return Check("known points: 0, 2 (1 - 0.01) at collapse, 32 / 9 for equal units", error, 1e-9)


def readings_differ_by_constants() -> Check:
    rng = np.random.default_rng(2)
    z1, z2 = (torch.tensor(rng.normal(size=(8, 16))) * 0.5 for _ in range(2))
    paper, code = (vicreg.vicreg_terms(z1, z2, reading) for reading in ("paper", "code"))
    error = (paper - code * code.new_tensor([16.0, 2.0, 1.0])).abs().max()
    return Check("paper over code: d for invariance, 2 for variance, 1 for covariance", float(error), 1e-9)


CASES = [as_code, as_paper, known_points, readings_differ_by_constants]


def _without(term: int):
    def terms(z1, z2, reading="code", original=vicreg.vicreg_terms):
        found = original(z1, z2, reading)
        return torch.stack([t if i != term else 0.0 * t for i, t in enumerate(found)])

    return lambda patch: patch(vicreg, "vicreg_terms", terms)


KNOCKOUTS = {
    "invariance": _without(0),
    "variance": _without(1),
    "covariance": _without(2),
    "the hinge": lambda patch: patch(vicreg, "variance", lambda z: (1 - (z.var(0) + 1e-4).sqrt()).mean()),
    "deviation, not variance, in the hinge": lambda patch: patch(
        vicreg, "variance", lambda z: torch.relu(1 - z.var(0)).mean()
    ),
    "the half and the mean over units": lambda patch: patch(
        vicreg, "vicreg_terms", lambda z1, z2, r="code", original=vicreg.vicreg_terms: original(z1, z2, "paper")
    ),
}
