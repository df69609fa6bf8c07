"""Tile2Vec's triplet loss by loops, and where its tiles come from, from arXiv 1805.02855."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.methods.geographic import tile2vec
from refimpl.references import Check, compare


def slow_triplet(z_a: np.ndarray, z_n: np.ndarray, z_d: np.ndarray, margin: float, penalty: float) -> float:
    def norm(v) -> float:
        return math.sqrt(sum(x * x for x in v))

    total = 0.0
    for a, n, d in zip(z_a, z_n, z_d):
        total += max(0.0, norm(a - n) - norm(a - d) + margin) + penalty * (norm(a) + norm(n) + norm(d))
    return total / len(z_a)


def loss() -> Check:
    rng = np.random.default_rng(4)
    inputs = {name: rng.normal(size=(6, 5)) for name in ("z_a", "z_n", "z_d")}
    return compare(
        "triplet loss and its gradient equal a loop",
        lambda z_a, z_n, z_d: tile2vec.triplet_loss(z_a, z_n, z_d, 0.7, 0.05),
        lambda z_a, z_n, z_d: slow_triplet(z_a, z_n, z_d, 0.7, 0.05),
        inputs,
    )


def blind_features() -> Check:
    z = torch.zeros(4, 3, dtype=torch.float64)
    value = float(tile2vec.triplet_loss(z, z, z, 1.5, 0.1))
    return Check("features that ignore the image cost the margin", abs(value - 1.5), 1e-9)


def _drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Locations of drawn anchors, neighbours and distant tiles on a grid of 100 m, and the radius used."""
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2) * 100.0
    # The image of a tile is its location, so that the drawn images tell which tiles were drawn.
    image = grid[:, :, None, None].repeat(32, 2).repeat(32, 3).astype(np.float32)
    train = np.arange(0, 144)
    data = Data("grid", {"image": image, "location": grid}, {"image": Input(("x", "y"), 32)}, {"train": train})
    torch.manual_seed(0)
    method = tile2vec.Tile2Vec(data.inputs, "resnet10t", radius=150.0)
    index = torch.arange(144)
    batch = method.draw(data, index, Draws(0, 0, index))
    return (*(batch[name][:, :, 0, 0] for name in ("anchor", "neighbour", "distant")), 150.0)


def neighbours_are_near() -> Check:
    anchor, neighbour, _, radius = _drawn()
    distance = (anchor - neighbour).norm(dim=1)
    outside = ((distance > radius) | (distance == 0)).float().mean()
    return Check("share of neighbours that lie beyond the radius or are the anchor itself", float(outside), 0.0)


def distant_tiles_are_far() -> Check:
    anchor, _, distant, radius = _drawn()
    inside = ((anchor - distant).norm(dim=1) <= radius).float().mean()
    return Check("share of distant tiles that lie within the radius", float(inside), 0.0)


CASES = [loss, blind_features, neighbours_are_near, distant_tiles_are_far]


def _no_geography(self, *arguments, original=tile2vec.Neighbourhood.__init__):
    original(self, *arguments)
    self.table = self.table[torch.randperm(len(self.table), generator=torch.Generator().manual_seed(0))]


KNOCKOUTS = {
    "neighbours from the neighbourhood": lambda patch: patch(tile2vec.Neighbourhood, "__init__", _no_geography),
    "the distant tile": lambda patch: patch(
        tile2vec,
        "triplet_loss",
        lambda z_a, z_n, z_d, margin=1.0, penalty=0.01: (z_a - z_n).norm(dim=1).mean() + penalty * z_a.norm(),
    ),
}
