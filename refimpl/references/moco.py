"""MoCo's loss and queue by loops, from Eq. 1 and Algorithm 1 of arXiv 1911.05722."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import moco
from refimpl.parts.queue import Queue
from refimpl.references import Check, compare


def slow_info_nce(queries: np.ndarray, keys: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    def unit(rows: np.ndarray) -> list[np.ndarray]:
        return [row / math.sqrt(sum(v * v for v in row)) for row in rows]

    total = 0.0
    for q, k in zip(unit(queries), unit(keys)):
        positive = math.exp(float(q @ k) / temperature)
        total -= math.log(positive / (positive + sum(math.exp(float(q @ n) / temperature) for n in unit(negatives))))
    return total / len(queries)


def _case(temperature: float) -> Check:
    rng = np.random.default_rng(1)
    keys, negatives = rng.normal(size=(4, 6)), rng.normal(size=(9, 6))
    fixed = torch.tensor(keys), torch.tensor(negatives)
    return compare(
        f"the loss and its gradient equal a loop at temperature {temperature}",
        lambda queries: moco.info_nce(queries, *fixed, temperature),
        lambda queries: slow_info_nce(queries, keys, negatives, temperature),
        {"queries": rng.normal(size=(4, 6))},
    )


def version_1() -> Check:
    return _case(0.07)


def version_2() -> Check:
    return _case(0.2)


def known_points() -> Check:
    """Equal keys and orthogonal negatives give nearly 0; negatives equal to the key give ln(K + 1)."""
    q = torch.eye(8, dtype=torch.float64)[:3]
    far = float(moco.info_nce(q, q, torch.eye(8, dtype=torch.float64)[3:], 0.02))
    one = torch.ones(3, 8, dtype=torch.float64)
    same = float(moco.info_nce(one, one, one[:1].repeat(16, 1), 0.2))
    return Check("known points: 0 and ln(K + 1)", abs(far) + abs(same - math.log(17)), 1e-9)


def queue_by_hand() -> Check:
    """What waits after each put, against a list."""
    queue, by_hand = Queue(5, 1), []
    queue.rows.zero_()
    error = 0.0
    for step in range(4):
        rows = [float(10 * step + i) for i in range(1, 4)]
        queue.put(torch.tensor(rows)[:, None])
        by_hand = (by_hand + rows)[-5:]
        waiting = sorted(float(row) for row in queue.rows if row)
        error = max(error, max(abs(a - b) for a, b in zip(waiting, sorted(by_hand), strict=True)))
    return Check("the queue holds the last rows put into it", error, 0.0)


def keys_are_queued_after_the_loss() -> Check:
    """With the negatives of the loss recorded: none is a key of its own step, all keys of the former step are there."""
    torch.manual_seed(0)
    method = moco.MoCo({"image": Input(("a", "b"), 16)}, "resnet10t", dim=8, queue=8)
    seen: list[torch.Tensor] = []
    made: list[torch.Tensor] = []
    loss = moco.info_nce

    def recording(queries, keys, negatives, temperature):
        made.append(F.normalize(keys.detach(), dim=1))
        seen.append(negatives.clone())
        return loss(queries, keys, negatives, temperature)

    moco.info_nce = recording
    try:
        for step in range(3):
            image = torch.randint(0, 255, (4, 2, 16, 16), generator=torch.Generator().manual_seed(step))
            method(method.prepare({"image": image}, Draws(0, step, torch.arange(4))))
            method.after_step(Progress(step + 1, 3, 0, 1))
    finally:
        moco.info_nce = loss

    def missing(keys: torch.Tensor, negatives: torch.Tensor) -> float:
        return float((torch.cdist(keys, negatives).amin(1) > 1e-4).float().mean())

    own = max(1 - missing(keys, negatives) for keys, negatives in zip(made, seen))
    former = max(missing(keys, negatives) for keys, negatives in zip(made, seen[1:]))
    return Check("a key becomes a negative after its own step, not before", own + former, 0.0)


CASES = [version_1, version_2, known_points, queue_by_hand, keys_are_queued_after_the_loss]


def _queue_first(patch) -> None:
    forward = moco.MoCo.forward

    def early(self, batch, turn="all"):
        self.queue.put(F.normalize(self.teacher(batch["key"]), dim=1))
        return forward(self, batch, turn)

    patch(moco.MoCo, "forward", early)


KNOCKOUTS = {
    "the queue's negatives": lambda patch: patch(
        moco, "info_nce", lambda q, k, n, t, original=moco.info_nce: original(q, k, n[:1], t)
    ),
    "the positive in the denominator": lambda patch: patch(
        moco, "info_nce", lambda q, k, n, t: -((F.normalize(q, dim=1) * F.normalize(k, dim=1)).sum(1) / t
        - torch.logsumexp(F.normalize(q, dim=1) @ F.normalize(n, dim=1).T / t, 1)).mean()
    ),
    "keys queued after the loss": _queue_first,
}  # fmt: skip
