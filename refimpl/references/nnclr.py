"""NNCLR's neighbours, loss and support set by loops, from Eq. 3 and 4 of arXiv 2104.14548."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import nnclr
from refimpl.references import Check, compare


def unit(rows: np.ndarray) -> list[np.ndarray]:
    return [row / math.sqrt(sum(v * v for v in row)) for row in rows]


def slow_nearest(z: np.ndarray, support: np.ndarray) -> np.ndarray:
    return np.array([min(support, key=lambda q: sum((a - b) ** 2 for a, b in zip(row, q))) for row in z])


def slow_loss(neighbours: np.ndarray, predictions: np.ndarray, temperature: float) -> float:
    total, p = 0.0, unit(predictions)
    for i, neighbour in enumerate(unit(neighbours)):
        exps = [math.exp(float(neighbour @ row) / temperature) for row in p]
        total -= math.log(exps[i] / sum(exps))
    return total / len(p)


def _case(temperature: float) -> Check:
    rng = np.random.default_rng(1)
    neighbours = rng.normal(size=(5, 7))
    fixed = torch.tensor(neighbours)
    return compare(
        f"the loss and its gradient equal a double loop at temperature {temperature}",
        lambda predictions: nnclr.nnclr_loss(fixed, predictions, temperature),
        lambda predictions: slow_loss(neighbours, predictions, temperature),
        {"predictions": rng.normal(size=(5, 7))},
    )


def default_temperature() -> Check:
    return _case(0.1)


def high_temperature() -> Check:
    return _case(0.5)


def neighbours() -> Check:
    rng = np.random.default_rng(2)
    z, support = np.array(unit(rng.normal(size=(6, 4)))), np.array(unit(rng.normal(size=(20, 4))))
    ours = nnclr.nearest(torch.tensor(z), torch.tensor(support)).numpy()
    return Check("neighbours are those of the smallest distance", float(abs(ours - slow_nearest(z, support)).max()), 0)


def known_points() -> Check:
    """All orthogonal: ln n. Neighbours equal to their own predictions, orthogonal to others: nearly 0 when cold."""
    n = 6
    one = torch.eye(2 * n, dtype=torch.float64)
    unrelated = float(nnclr.nnclr_loss(one[:n], one[n:], 0.1))
    own = float(nnclr.nnclr_loss(one[:n], one[:n], 0.02))
    return Check("known points: ln n and 0", abs(unrelated - math.log(n)) + own, 1e-9)


def one_step_by_hand() -> Check:
    """Loss of three steps from the network's own outputs, with the support set kept as a list.

    The neighbour of one view meets the predictions of the other, and is sought among features of former steps only.
    """
    torch.manual_seed(0)
    method = nnclr.NNCLR({"image": Input(("a", "b"), 16)}, "test_resnet", dim=6, hidden=8, predictor=8, queue=6)
    method.double().eval()
    waiting, error = [row.numpy() for row in method.support.rows], 0.0
    for step in range(3):
        image = torch.randint(0, 255, (4, 2, 16, 16), generator=torch.Generator().manual_seed(step))
        with torch.no_grad():
            batch = method.prepare({"image": image}, Draws(0, step, torch.arange(4)))
            z = [method.projector(method.encoder(batch[view])) for view in ("x1", "x2")]
            p = [method.predictor(rows).numpy() for rows in z]
            z = [F.normalize(rows, dim=1).numpy() for rows in z]
            support = np.array(waiting)
            expected = slow_loss(slow_nearest(z[0], support), p[1], 0.1) / 2
            expected += slow_loss(slow_nearest(z[1], support), p[0], 0.1) / 2
            error = max(error, abs(float(method(batch).loss) - expected))
        method.after_step(Progress(step + 1, 3, 0, 1))
        waiting = (waiting + list(z[0]))[-6:]
    return Check("three steps equal those by hand, with a list as support set", error, 1e-8)


CASES = [default_temperature, high_temperature, neighbours, known_points, one_step_by_hand]


def _put_first(self, batch, turn="all", original=nnclr.NNCLR.forward):
    with torch.no_grad():
        self.support.put(F.normalize(self.projector(self.encoder(batch["x1"])), dim=1))
    return original(self, batch, turn)


KNOCKOUTS = {
    "the neighbour": lambda patch: patch(nnclr, "nearest", lambda z, support: z),
    "the nearest one": lambda patch: patch(nnclr, "nearest", lambda z, support: support[(z @ support.T).argmin(1)]),
    "negatives from the batch": lambda patch: patch(
        nnclr, "nnclr_loss", lambda n, p, t=0.1: -torch.cosine_similarity(n, p).mean() / t
    ),
    "the own prediction as positive": lambda patch: patch(
        nnclr, "nnclr_loss", lambda n, p, t=0.1, original=nnclr.nnclr_loss: original(n, p.roll(1, 0), t)
    ),
    "predictions as alternatives, not neighbours": lambda patch: patch(
        nnclr, "nnclr_loss", lambda n, p, t=0.1, original=nnclr.nnclr_loss:
        F.cross_entropy(F.normalize(p, dim=1) @ F.normalize(n, dim=1).T / t, torch.arange(len(p)))
    ),
    "the support set of former steps": lambda patch: patch(nnclr.NNCLR, "forward", _put_first),
}  # fmt: skip
