"""CPC's loss by loops and what its context may see, from Eq. 3 and 4 of arXiv 1807.03748."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.predictive import cpc
from refimpl.references import Check, compare


def slow_loss(prediction: np.ndarray, z: np.ndarray, every: np.ndarray, first: int, ahead: int) -> float:
    grid = z.shape[1]
    total, count = 0.0, 0
    for b in range(len(z)):
        for row in range(grid - ahead):
            for column in range(grid):
                p = prediction[b, row, column]
                f = [math.exp(float(p @ target)) for target in every.reshape(-1, every.shape[3])]
                right = ((first + b) * grid + row + ahead) * grid + column
                total -= math.log(f[right] / sum(f))
                count += 1
    return total / count


def _loss_case(ahead: int) -> Check:
    rng = np.random.default_rng(1)
    grid, first = 3, 1
    inputs = {"prediction": rng.normal(size=(2, grid, grid, 3)), "every": rng.normal(size=(3, grid, grid, 3))}
    return compare(
        f"InfoNCE and its gradient equal loops over places and patches, {ahead} rows ahead",
        lambda prediction, every: cpc.info_nce(prediction, every[first : first + 2], every, first, ahead),
        lambda prediction, every: slow_loss(prediction, every[first : first + 2], every, first, ahead),
        inputs,
        coordinates=6,
    )


def one_ahead() -> Check:
    return _loss_case(1)


def two_ahead() -> Check:
    return _loss_case(2)


def blind_features() -> Check:
    z = torch.ones(3, 5, 5, 2, dtype=torch.float64)
    return Check("equal patches cost ln |X|", abs(float(cpc.info_nce(z, z, z, 0, 2)) - math.log(75)), 1e-9)


def _method(**changes) -> cpc.CPC:
    torch.manual_seed(0)
    settings = {"dim": 6, "hidden": 8, "depth": 3, "grid": 4, "steps": 3, **changes}
    return cpc.CPC({"image": Input(("a", "b"), 40)}, "resnet10t", **settings).double().eval()


def context_sees_no_later_row() -> Check:
    """What comes below a row must not change its context; what lies in it or above must."""
    method = _method()
    h = torch.randn(1, method.encoder.width, 4, 4, dtype=torch.float64)
    leaks, blind = 0.0, 0.0
    with torch.no_grad():
        c = method.context(h)
        for row in range(4):
            other = h.clone()
            other[:, :, row] += torch.randn_like(other[:, :, row])
            change = (method.context(other) - c).abs().amax((0, 1, 3))
            leaks = max(leaks, float(change[:row].max()) if row else 0.0)
            blind += float((change[row:] == 0).sum())
    return Check("the context of a row depends on this row and all above, and on none below", leaks + blind, 0.0)


def objective() -> Check:
    """The whole loss from the features of the prepared patches, one after the other."""
    method = _method()
    image = torch.randn(2, 2, 40, 40)
    batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(2)))
    patches = batch["patches"].double()
    with torch.no_grad():
        loss = float(method({"patches": patches}).loss)
        h = torch.stack([torch.stack([method.encoder(p[None])[0] for p in grid]) for grid in patches]).view(2, 4, 4, -1)
        c = torch.stack([method.context(grid.permute(2, 0, 1)[None])[0].permute(1, 2, 0) for grid in h])
        z = (h @ method.target.weight.T + method.target.bias).numpy()
        slow = [slow_loss((c @ w.weight.T).numpy(), z, z, 0, k) for k, w in zip((2, 3), method.predict, strict=True)]
    return Check("the loss is the mean over the distances 2 and 3", abs(loss - sum(slow) / 2) / loss, 1e-9)


def patches_overlap_by_half() -> Check:
    method = _method()
    method.view = cpc.View.geometric(size=40, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False)
    method.float()
    x = torch.randn(1, 2, 40, 40)
    found = method.prepare({"image": x}, Draws(0, 0, torch.arange(1)))["patches"][0].view(4, 4, 2, 16, 16)
    worst = 0.0
    for r in range(4):
        for c in range(4):
            worst = max(worst, float((found[r, c] - x[0, :, 8 * r : 8 * r + 16, 8 * c : 8 * c + 16]).abs().max()))
    return Check("patches are windows of 16 pixels every 8", worst, 1e-4)


CASES = [one_ahead, two_ahead, blind_features, context_sees_no_later_row, objective, patches_overlap_by_half]

_nce = cpc.info_nce


def _whole_view(self, x):
    h = self.sideways(cpc.F.relu(self.narrow(x)))
    return x + self.widen(cpc.F.relu(self.up(cpc.F.pad(h, (0, 0, 0, 1)))))


KNOCKOUTS = {
    "a context that looks up only": lambda patch: patch(cpc.LookUp, "forward", _whole_view),
    "patches of other images as negatives": lambda patch: patch(
        cpc, "info_nce", lambda p, z, every, first, ahead: _nce(p, z, every[first : first + len(z)], 0, ahead)
    ),
    "predicting what lies ahead": lambda patch: patch(
        cpc, "info_nce", lambda p, z, every, first, ahead: _nce(p.roll(1, 1), z, every, first, ahead)
    ),
    "a matrix for each distance": lambda patch: patch(
        cpc, "info_nce", lambda p, z, every, first, ahead: _nce(p, z, every, first, 1)
    ),
}
