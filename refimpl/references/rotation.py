"""Rotation's turns and loss by loops, from Eq. 2 and 3 of arXiv 1803.07728."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.predictive import rotation
from refimpl.references import Check, compare


def turns() -> Check:
    """A quarter turn anticlockwise moves pixel (r, c) to (H - 1 - c, r)."""
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5))
    ours = rotation.turned(torch.from_numpy(x)).numpy()
    error = 0.0
    for b in range(2):
        expected = x[b]
        for y in range(4):
            error = max(error, float(np.abs(ours[b, y] - expected).max()))
            moved = np.empty_like(expected)
            for r in range(5):
                for c in range(5):
                    moved[:, 4 - c, r] = expected[:, r, c]
            expected = moved
    return Check("each image stands in its four turns", error, 0.0)


def loss() -> Check:
    """Eq. 3 from the features of each turned image alone."""
    torch.manual_seed(0)
    method = rotation.Rotation({"image": Input(("a", "b"), 32)}, "resnet10t").double().eval()
    x = torch.randn(3, 2, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        h = [[method.encoder(torch.rot90(image, y, (1, 2))[None])[0].numpy() for y in range(4)] for image in x]
    bias = method.classifier.bias.detach().numpy()

    def slow(weight: np.ndarray) -> float:
        total = 0.0
        for image in h:
            for y, row in enumerate(image):
                scores = [float(weight[k] @ row) + bias[k] for k in range(4)]
                total -= (scores[y] - math.log(sum(math.exp(s) for s in scores))) / 4
        return total / len(h)

    def fast(weight: torch.Tensor) -> torch.Tensor:
        batch = {"x": rotation.turned(x)}
        return torch.func.functional_call(method, {"classifier.weight": weight}, (batch,)).loss

    return compare(
        "the loss and its gradient equal loops over images and turns",
        fast,
        slow,
        {"weight": method.classifier.weight.detach().numpy()},
    )


def views_keep_the_upright() -> Check:
    """A ramp to the right and one downwards, in two bands: no view may turn or mirror them."""
    torch.manual_seed(0)
    method = rotation.Rotation({"image": Input(("a", "b"), 32)}, "resnet10t")
    ramp = torch.arange(32.0).expand(32, 32)
    x = method.prepare({"image": torch.stack([ramp, ramp.T]).expand(40, 2, 32, 32)}, Draws(0, 0, torch.arange(40)))["x"]
    first = x[:, 0]
    right = first[:, 0, 16, -1] > first[:, 0, 16, 0]
    down = first[:, 1, -1, 16] > first[:, 1, 0, 16]
    return Check("the view of turn 0 stands as the image does", float((~(right & down)).float().mean()), 0.0)


CASES = [turns, loss, views_keep_the_upright]


def _random_view(self, inputs, backbone=None, *, crop=0.5, original=rotation.Rotation.__init__):
    original(self, inputs, backbone, crop=crop)
    self.view = rotation.View.geometric(scale=(crop, 1.0))


KNOCKOUTS = {
    "the turn that was made as the label": lambda patch: patch(
        rotation, "turned", lambda x: torch.stack([x, x, x, x], dim=1)
    ),
    "turns in their order": lambda patch: patch(
        rotation, "turned", lambda x: torch.stack([torch.rot90(x, -y, (2, 3)) for y in range(4)], dim=1)
    ),
    "views that stay upright": lambda patch: patch(rotation.Rotation, "__init__", _random_view),
}
