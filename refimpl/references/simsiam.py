"""SimSiam's loss by loops, and which side of it learns, from Eq. 1 to 4 of arXiv 2011.10566."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.method import Output
from refimpl.methods.joint_embedding import simsiam
from refimpl.references import Check, compare


def slow_negative_cosine(p: np.ndarray, z: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(p, z):
        norms = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
        total -= sum(x * y for x, y in zip(a, b)) / norms
    return total / len(p)


def formula() -> Check:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(5, 7))
    fixed = torch.tensor(z)
    return compare(
        "the negative cosine and its gradient equal a loop",
        lambda p: simsiam.negative_cosine(p, fixed),
        lambda p: slow_negative_cosine(p, z),
        {"p": rng.normal(size=(5, 7))},
    )


def known_points() -> Check:
    """Equal rows give -1, opposite ones 1, orthogonal ones 0, whatever their length."""
    one = torch.eye(4, dtype=torch.float64)
    pairs = ((3 * one, one, -1.0), (-one, 2 * one, 1.0), (one, one.roll(1, 0), 0.0))
    error = sum(abs(float(simsiam.negative_cosine(p, z)) - expected) for p, z, expected in pairs)
    return Check("known points: -1, 1 and 0", error, 1e-9)


def target_gets_no_gradient() -> Check:
    p, z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.ones(3, 4, dtype=torch.float64)
    z.requires_grad_(True)
    simsiam.negative_cosine(p, z).backward()
    return Check("no gradient reaches the matched side", 0.0 if z.grad is None else float(z.grad.abs().sum()), 0.0)


def _method() -> tuple[simsiam.SimSiam, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    method = simsiam.SimSiam({"image": Input(("a", "b"), 32)}, "test_resnet", dim=6, hidden=16).double().eval()
    return method, {name: torch.randn(4, 2, 32, 32, dtype=torch.float64) for name in ("x1", "x2")}


def both_ways() -> Check:
    """Eq. 4 from the network's own outputs: half of each way, predictions against projections."""
    method, batch = _method()
    with torch.no_grad():
        z = [method.projector(method.encoder(batch[name])).numpy() for name in ("x1", "x2")]
        p = [method.predictor(torch.from_numpy(rows)).numpy() for rows in z]
        expected = slow_negative_cosine(p[0], z[1]) / 2 + slow_negative_cosine(p[1], z[0]) / 2
        error = abs(float(method(batch).loss) - expected)
    return Check("the loss is half of either way", error, 1e-9)


def gradient_of_the_network() -> Check:
    """Of a projector's weight, by differences in which the matched sides stay as they were."""
    method, batch = _method()
    method(batch).loss.backward()
    weight = method.projector[-2].weight
    with torch.no_grad():
        h = [method.encoder(batch[name]) for name in ("x1", "x2")]
        fixed = [method.projector(rows).numpy() for rows in h]

        def slow() -> float:
            p = [method.predictor(method.projector(rows)).numpy() for rows in h]
            return slow_negative_cosine(p[0], fixed[1]) / 2 + slow_negative_cosine(p[1], fixed[0]) / 2

        scale = float(weight.grad.abs().max())
        error = 0.0 if scale else 1.0
        for where in ((0, 0), (2, 5), (5, 1)):
            weight[where] += 1e-5
            above = slow()
            weight[where] -= 2e-5
            error = max(error, abs((above - slow()) / 2e-5 - float(weight.grad[where])) / max(scale, 1e-9))
            weight[where] += 1e-5
    return Check("the projector learns through the predictions alone", error, 1e-6)


CASES = [formula, known_points, target_gets_no_gradient, both_ways, gradient_of_the_network]


def _no_predictor(self, batch, turn="all"):
    z1, z2 = (self.projector(self.encoder(batch[name])) for name in ("x1", "x2"))
    return Output(simsiam.negative_cosine(z1, z2) / 2 + simsiam.negative_cosine(z2, z1) / 2)


KNOCKOUTS = {
    "the predictor": lambda patch: patch(simsiam.SimSiam, "forward", _no_predictor),
    "the stopped gradient": lambda patch: patch(
        simsiam, "negative_cosine", lambda p, z: -torch.cosine_similarity(p, z).mean()
    ),
    "unit length": lambda patch: patch(simsiam, "negative_cosine", lambda p, z: -(p * z.detach()).sum(1).mean()),
    "the gradient on the predicting side": lambda patch: patch(
        simsiam, "negative_cosine", lambda p, z: 0.0 * p.sum() - torch.cosine_similarity(p.detach(), z).mean()
    ),
}
