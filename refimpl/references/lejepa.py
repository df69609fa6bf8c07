"""LeJEPA's two terms by loops and complex numbers, from arXiv 2511.08544, Algorithm 1 and 2, and known points."""

from __future__ import annotations

import cmath
import math
from itertools import pairwise

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.joint_embedding import lejepa
from refimpl.references import Check, compare


def slow_statistic(x: np.ndarray, points: int, reach: float) -> float:
    """T by the trapezoidal rule on `points` places from -reach to reach."""
    places = [-reach + 2 * reach * i / (points - 1) for i in range(points)]
    values = []
    for t in places:
        empirical = sum(cmath.exp(1j * t * v) for v in x) / len(x)
        values.append(abs(empirical - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))
    step = 2 * reach / (points - 1)
    return len(x) * step * sum((a + b) / 2 for a, b in pairwise(values))


def slow_sigreg(z: np.ndarray, directions: np.ndarray, points: int, reach: float) -> float:
    each = [slow_statistic(view @ a, points, reach) for view in z for a in directions.T]
    return sum(each) / len(each)


def slow_agreement(z: np.ndarray, large: int, as_printed: bool) -> float:
    views, images, width = z.shape
    total = 0.0
    for n in range(images):
        mean = sum(z[v, n] for v in range(large)) / large
        for v in range(views):
            total += sum((m - x) ** 2 for m, x in zip(mean, z[v, n])) / views / images
    return total if as_printed else total / width


def unit_columns(rng: np.random.Generator, width: int, count: int) -> np.ndarray:
    drawn = rng.normal(size=(width, count))
    return drawn / np.sqrt((drawn**2).sum(0))


def _sigreg(points: int, reach: float) -> Check:
    rng = np.random.default_rng(1)
    directions = unit_columns(rng, 4, 3)
    return compare(
        f"SIGReg and its gradient equal loops over views, directions and {2 * points - 1} points up to {reach:g}",
        lambda z: lejepa.sigreg(z, torch.tensor(directions), points, reach),
        lambda z: slow_sigreg(z, directions, 2 * points - 1, reach),
        {"z": rng.normal(size=(2, 5, 4)) * 1.5 + 0.3},
    )


def as_in_algorithm_1() -> Check:
    return _sigreg(9, 5.0)


def as_in_the_repository() -> Check:
    return _sigreg(17, 3.0)


def _agreement(as_printed: bool) -> Check:
    return compare(
        f"agreement and its gradient, that through the means too ({'sum' if as_printed else 'mean'} over dimensions)",
        lambda z: lejepa.agreement(z, 2, as_printed),
        lambda z: slow_agreement(z, 2, as_printed),
        {"z": np.random.default_rng(2).normal(size=(5, 3, 4))},
    )


def mean_over_dimensions() -> Check:
    return _agreement(False)


def sum_over_dimensions() -> Check:
    return _agreement(True)


def collapse() -> Check:
    """All features zero: T = N (sqrt(2 pi) - 2 sqrt(pi) + sqrt(2 pi / 3)), from the integral itself."""
    exact = 64 * (math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) + math.sqrt(2 * math.pi / 3))
    directions = torch.tensor(unit_columns(np.random.default_rng(3), 4, 3))
    ours = float(lejepa.sigreg(torch.zeros(1, 64, 4, dtype=torch.float64), directions))
    return Check("collapsed features have the statistic that the integral gives", abs(ours / exact - 1), 1e-4)


def gaussian_features() -> Check:
    """Normal features: T = sqrt(2 pi) - sqrt(2 pi / 3) on average, whatever N."""
    rng = np.random.default_rng(4)
    exact = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    directions = torch.tensor(unit_columns(rng, 64, 64))
    ours = float(lejepa.sigreg(torch.tensor(rng.normal(size=(8, 512, 64))), directions))
    return Check("normal features have the statistic of chance", abs(ours / exact - 1), 0.05)


def whole_step() -> Check:
    """The loss from the projector's own outputs: all views count in both terms, the large ones alone as the mean."""
    torch.manual_seed(0)
    sizes = {"hidden": 8, "dim": 4, "directions": 6, "crops": 3, "weight": 0.2}
    method = lejepa.LeJEPA({"image": Input(("a", "b"), 32)}, "resnet10t", **sizes).eval()
    image = torch.randint(0, 255, (5, 2, 32, 32))
    batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(5)))
    with torch.no_grad():
        ours = float(method(batch).loss)
        z = [method.projector(method.encoder(view)) for view in (*batch["large"].split(5), *batch["small"].split(5))]
    z, directions = torch.stack(z).double().numpy(), batch["directions"].double().numpy()
    expected = 0.2 * slow_sigreg(z, directions, 17, 5.0) + 0.8 * slow_agreement(z, 2, False)
    return Check("the loss of a step equals that by hand", abs(ours - expected) / expected, 1e-4)


def directions() -> Check:
    """Of unit length, new in each step, and the same whichever rows of the global batch a process has."""
    method = lejepa.LeJEPA({"image": Input(("a",), 32)}, "resnet10t", hidden=8, dim=4, directions=500, crops=0)
    image = torch.randint(0, 255, (4, 1, 32, 32))
    first, other, later = (
        method.prepare({"image": image}, Draws(0, step, rows))["directions"]
        for step, rows in ((0, torch.arange(4)), (0, torch.arange(4, 8)), (1, torch.arange(4)))
    )
    error = float((first - other).abs().max()) + float((first.norm(dim=0) - 1).abs().max())
    uneven = abs(first @ first.T / 500 - torch.eye(4) / 4).max() > 0.06
    return Check(
        "directions are unit vectors, shared and fresh", error + float(torch.equal(first, later) or uneven), 1e-5
    )


CASES = [
    as_in_algorithm_1, as_in_the_repository, mean_over_dimensions, sum_over_dimensions, collapse, gaussian_features,
    whole_step, directions,
]  # fmt: skip


def _variance_only(z, directions, points=9, reach=5.0):
    return ((z @ directions).std(1) - 1).square().mean()


def _stopped(z, large, as_printed=False):
    return (z - z[:large].mean(0).detach()).square().mean()


KNOCKOUTS = {
    "a test of the whole distribution": lambda patch: patch(lejepa, "sigreg", _variance_only),
    "the imaginary part": lambda patch: patch(
        lejepa, "sigreg",
        lambda z, d, *a, original=lejepa.sigreg: original(torch.cat([z, -z], 1), d, *a) / 2,
    ),
    "the number of samples in the statistic": lambda patch: patch(
        lejepa, "sigreg", lambda z, *a, original=lejepa.sigreg: original(z, *a) / z.shape[1]
    ),
    "small views in SIGReg": lambda patch: patch(
        lejepa, "sigreg", lambda z, *a, original=lejepa.sigreg: original(z[:2], *a)
    ),
    "means of the large views only": lambda patch: patch(
        lejepa, "agreement", lambda z, large, *a, original=lejepa.agreement: original(z, len(z), *a)
    ),
    "a gradient through the means": lambda patch: patch(lejepa, "agreement", _stopped),
    "directions of unit length": lambda patch: patch(lejepa.F, "normalize", lambda x, dim: x),
}  # fmt: skip
