"""DenseCL's correspondence, dense loss and queues by loops, from Eq. 1 to 4 of arXiv 2011.09157."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import densecl
from refimpl.parts.maps import features_and_map
from refimpl.references import Check, compare


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum(x * y for x, y in zip(a, b))) / math.sqrt(float(sum(a * a)) * float(sum(b * b)))


def slow_correspondence(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    places = range(key.shape[1])
    return np.array([[max(places, key=lambda j: cosine(f, g[j])) for f in q] for q, g in zip(query, key)])


def slow_contrast(query: np.ndarray, key: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    positive = math.exp(cosine(query, key) / temperature)
    return -math.log(positive / (positive + sum(math.exp(cosine(query, n) / temperature) for n in negatives)))


def slow_dense(queries: np.ndarray, keys: np.ndarray, match: np.ndarray, negatives: np.ndarray, temperature: float):
    images, places = queries.shape[:2]
    total = 0.0
    for b in range(images):
        for s in range(places):
            total += slow_contrast(queries[b, s], keys[b, match[b, s]], negatives, temperature) / places / images
    return total


def formula() -> Check:
    rng = np.random.default_rng(1)
    keys, negatives, match = rng.normal(size=(3, 4, 5)), rng.normal(size=(6, 5)), rng.integers(0, 4, size=(3, 4))
    fixed = torch.tensor(keys), torch.tensor(match), torch.tensor(negatives)
    return compare(
        "the dense loss and its gradient equal loops over images and places",
        lambda queries: densecl.dense_loss(queries, *fixed, 0.2),
        lambda queries: slow_dense(queries, keys, match, negatives, 0.2),
        {"queries": rng.normal(size=(3, 4, 5))},
    )


def correspondence() -> Check:
    rng = np.random.default_rng(2)
    query, key = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 9, 6))
    ours = densecl.correspondence(torch.tensor(query), torch.tensor(key)).numpy()
    return Check(
        "share of places paired otherwise than by loops", float((ours != slow_correspondence(query, key)).mean()), 0
    )


def shuffled_map() -> Check:
    """A map and the same map with its places shuffled: every place finds itself again."""
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)).double()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    match = densecl.correspondence(x, 3.0 * x[:, order])
    return Check(
        "share of places that do not find themselves", float((order[match] != torch.arange(9)).float().mean()), 0
    )


def three_steps_by_hand() -> Check:
    """Losses from the network's own outputs, with both queues kept as lists and the key encoder as it stands."""
    torch.manual_seed(0)
    method = densecl.DenseCL({"image": Input(("a", "b"), 48)}, "test_resnet", dim=6, queue=5, momentum=0.5, dense=0.3)
    method.double().eval()
    encoder, head, dense_head = method.teacher.networks
    queue, dense_queue = ([row.numpy() for row in q.rows.clone()] for q in (method.queue, method.dense_queue))
    error = 0.0
    for step in range(3):
        with torch.no_grad():
            for parameter in (*method.head.parameters(), *method.dense_head.parameters()):
                parameter.add_(0.1)  # as if it had learned, so that the two networks differ
            image = torch.randint(0, 255, (3, 2, 48, 48), generator=torch.Generator().manual_seed(step))
            batch = method.prepare({"image": image}, Draws(0, step, torch.arange(3)))
            h, f = features_and_map(method.encoder, batch["query"], -2)
            q, r = method.head(h).numpy(), method.dense_head(f).numpy()
            h2, f2 = features_and_map(encoder, batch["key"], -2)
            k, t = head(h2).numpy(), dense_head(f2).numpy()
            ours = float(method(batch).loss)
        one = sum(slow_contrast(q[i], k[i], np.array(queue), 0.2) for i in range(3)) / 3
        many = slow_dense(r, t, slow_correspondence(f.numpy(), f2.numpy()), np.array(dense_queue), 0.2)
        error = max(error, abs(ours - 0.7 * one - 0.3 * many))
        method.after_step(Progress(step + 1, 3, 0, 1))
        queue = (queue + [row / math.sqrt(sum(row * row)) for row in k])[-5:]
        means = [sum(rows) / len(rows) for rows in t]
        dense_queue = (dense_queue + [row / math.sqrt(sum(row * row)) for row in means])[-5:]
    return Check("three steps equal those by hand, with lists as queues", error, 1e-6)


CASES = [formula, correspondence, shuffled_map, three_steps_by_hand]


def _queue_first(self, batch, turn="all", original=densecl.DenseCL.forward):
    self.dense_queue.put(F.normalize(self.keys(batch["key"])[2].mean(1), dim=1))
    return original(self, batch, turn)


def _matched_by_projection(self, batch, turn="all", original=densecl.DenseCL.forward):
    _, places = features_and_map(self.encoder, batch["query"], self.stage)
    match = densecl.correspondence(self.dense_head(places), self.keys(batch["key"])[2])
    kept, densecl.correspondence = densecl.correspondence, lambda query, key: match
    try:
        return original(self, batch, turn)
    finally:
        densecl.correspondence = kept


KNOCKOUTS = {
    "the most alike place": lambda patch: patch(
        densecl, "correspondence", lambda q, k: torch.arange(q.shape[1]).expand(q.shape[:2])
    ),
    "likeness by angle": lambda patch: patch(
        densecl, "correspondence", lambda q, k: (q @ k.transpose(1, 2)).argmax(2)
    ),
    "likeness of the backbone's features": lambda patch: patch(densecl.DenseCL, "forward", _matched_by_projection),
    "places apart": lambda patch: patch(
        densecl, "dense_loss", lambda q, k, m, n, t: densecl.info_nce(q.mean(1), k.mean(1), n, t)
    ),
    "negatives": lambda patch: patch(
        densecl, "dense_loss", lambda q, k, m, n, t, original=densecl.dense_loss: original(q, k, m, n[:1], t)
    ),
    "keys queued after the loss": lambda patch: patch(densecl.DenseCL, "forward", _queue_first),
}  # fmt: skip
