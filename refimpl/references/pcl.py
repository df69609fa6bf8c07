"""PCL's prototypes, concentrations and losses by loops, from Eq. 11 and 12 of arXiv 2005.04966."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools
from refimpl.methods.joint_embedding import pcl
from refimpl.references import Check, compare


def unit(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(sum(v * v for v in row)) for row in rows])


def slow_proto_nce(features: np.ndarray, prototypes: np.ndarray, phi: np.ndarray, assignment: np.ndarray) -> float:
    total, c = 0.0, unit(prototypes)
    for v, s in zip(unit(features), assignment):
        exps = [math.exp(float(v @ c[j]) / phi[j]) for j in range(len(c))]
        total -= math.log(exps[s] / sum(exps))
    return total / len(features)


def slow_info_nce(queries: np.ndarray, keys: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    total = 0.0
    for q, k in zip(unit(queries), unit(keys)):
        exps = [math.exp(float(q @ n) / temperature) for n in (k, *unit(negatives))]
        total -= math.log(exps[0] / sum(exps))
    return total / len(queries)


def slow_concentration(features: np.ndarray, centres: np.ndarray, assignment: np.ndarray, temperature: float):
    phi = []
    for j, c in enumerate(centres):
        distances = [math.sqrt(sum((v - c) ** 2)) for v, s in zip(features, assignment) if s == j]
        z = len(distances)
        phi.append(sum(distances) / (z * math.log(z + 10)) if z > 1 else None)
    largest = max(value for value in phi if value is not None)
    phi = np.array([largest if value is None else value for value in phi])
    phi = phi.clip(np.percentile(phi, 10), np.percentile(phi, 90))
    return temperature * phi / phi.mean()


def formula() -> Check:
    rng = np.random.default_rng(1)
    prototypes, phi, assignment = rng.normal(size=(4, 6)), rng.uniform(0.1, 0.4, size=4), np.array([2, 0, 2, 3, 1])
    fixed = torch.tensor(prototypes), torch.tensor(phi), torch.tensor(assignment)
    return compare(
        "ProtoNCE and its gradient equal a loop",
        lambda features: pcl.proto_nce(features, *fixed),
        lambda features: slow_proto_nce(features, prototypes, phi, assignment),
        {"features": rng.normal(size=(5, 6))},
    )


def concentrations() -> Check:
    """Tight and wide clusters, one of a single image."""
    rng = np.random.default_rng(2)
    assignment = np.array([0] * 9 + [1] * 4 + [2] * 15 + [3] + [4] * 6)
    width = np.array([0.1, 0.5, 1.0, 0.3, 2.0])[assignment]
    features = unit(rng.normal(size=(5, 6))[assignment] + width[:, None] * rng.normal(size=(35, 6)))
    centres = np.array([features[assignment == j].mean(0) for j in range(5)])
    ours = pcl.concentration(*map(torch.tensor, (features, centres, assignment)), 0.2).numpy()
    theirs = slow_concentration(features, centres, assignment, 0.2)
    return Check("concentrations equal those by loops", float(np.abs(ours / theirs - 1).max()), 1e-9)


def known_points() -> Check:
    """Equal prototypes: ln k. Own prototype, others orthogonal, tight: 0. Concentrations have the mean tau."""
    one = torch.eye(8, dtype=torch.float64)
    same = float(pcl.proto_nce(one[:3], one[:1].repeat(8, 1), torch.full((8,), 0.2).double(), torch.arange(3)))
    own = float(pcl.proto_nce(one[:3], 5 * one, torch.full((8,), 0.02).double(), torch.arange(3)))
    v = torch.nn.functional.normalize(torch.randn(40, 5, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    phi = pcl.concentration(v, v[:8], torch.arange(40) % 8, 0.2)
    return Check("known points: ln k, 0 and tau", abs(same - math.log(8)) + own + abs(float(phi.mean()) - 0.2), 1e-9)


def one_epoch_by_hand() -> Check:
    """Clusters are made of the momentum encoder's projections, after `alone` epochs, and each image meets its own."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, size=24)
    image = (
        60 * kind[:, None, None, None]
        + 40 * np.array([0, 1])[None, :, None, None] * (kind == 1)[:, None, None, None]
        + rng.integers(0, 20, size=(24, 2, 16, 16))
    ).astype(np.uint8)
    train = rng.permutation(24)[:20]
    inputs = {"image": Input(("a", "b"), 16, (80.0, 80.0), (60.0, 60.0))}
    data = Data("kinds", {"image": image}, inputs, {"train": train})
    torch.manual_seed(0)
    method = pcl.PCL(inputs, "test_resnet", clusters=(3, 5), alone=1, dim=6, queue=7).eval()
    with torch.no_grad():
        for parameter in method.head.parameters():
            parameter.mul_(1.3).add_(0.05)  # as if it had learned, so that the two networks differ
        stored = data.take("image", torch.as_tensor(train))
        key_encoder, key_head = method.teacher.networks
        v = unit(key_head(key_encoder(method.encoder.normalise(stored))).double().numpy())
    tools = EpochTools(lambda: method.embed(stored).detach(), lambda parameters: None, torch.Generator().manual_seed(0))
    method.before_epoch(0, data, tools)
    error = float(method.assignment.numel())
    method.before_epoch(1, data, tools)
    index, error_of_loss = torch.as_tensor(train[[3, 0, 8, 11]]), 0.0
    with torch.no_grad():
        draws = Draws(0, 0, torch.arange(4))
        batch = method.prepare(method.draw(data, index, draws), draws)
        q = method.head(method.encoder(batch["query"])).double().numpy()
        k = method.teacher(batch["key"]).double().numpy()
        ours = float(method(batch).loss)
    expected = slow_info_nce(q, k, method.queue.rows.double().numpy(), 0.2)
    for m in range(2):
        assigned = method.assignment[m].numpy()[train]
        centres = np.array([v[assigned == j].mean(0) for j in range(assigned.max() + 1)])
        nearest = [min(range(len(centres)), key=lambda j, row=row: sum((row - centres[j]) ** 2)) for row in v]
        error += float(np.mean(np.array(nearest) != assigned))
        phi = slow_concentration(v, centres, assigned, 0.2)
        expected += slow_proto_nce(q, centres, phi, assigned[[3, 0, 8, 11]]) / 2
    error_of_loss = abs(ours - expected) / expected
    return Check("clusters, prototypes and the whole loss equal those by hand", error + error_of_loss, 1e-4)


CASES = [formula, concentrations, known_points, one_epoch_by_hand]


def _shifted(self, epoch, data, tools, original=pcl.PCL.before_epoch):
    original(self, epoch, data, tools)
    if epoch >= self.alone:
        train = torch.as_tensor(data.splits["train"])
        self.assignment[:, train] = self.assignment[:, train].roll(1, 1)


KNOCKOUTS = {
    "prototypes": lambda patch: patch(pcl, "proto_nce", lambda v, c, phi, s: 0.0 * v.sum()),
    "other prototypes as negatives": lambda patch: patch(
        pcl, "proto_nce", lambda v, c, phi, s: -(torch.cosine_similarity(v, c[s]) / phi[s]).mean()
    ),
    "a concentration for each cluster": lambda patch: patch(
        pcl, "concentration", lambda v, c, s, t: torch.full((len(c),), t, dtype=c.dtype)
    ),
    "the logarithm of the size": lambda patch: patch(
        pcl, "concentration", lambda v, c, s, t, original=pcl.concentration: t * torch.stack(
            [(v[s == j] - c[j]).norm(dim=1).mean() for j in range(len(c))]).nan_to_num()
    ),
    "each image's own cluster": lambda patch: patch(pcl.PCL, "before_epoch", _shifted),
    "clusters of the momentum encoder's projections": lambda patch: patch(
        pcl.PCL, "embed", lambda self, stored: self.head(self.encoder(self.encoder.normalise(stored)))
    ),
}  # fmt: skip
