"""Jigsaw's set of orders, its tiles and its loss by loops, from arXiv 1603.09246, Algorithm 1 and section 4."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.predictive import jigsaw
from refimpl.parts.windows import cut, grid_corners
from refimpl.references import Check, compare


def _distance(a, b) -> int:
    return sum(i != j for i, j in zip(a, b))


def orders_are_the_most_distant() -> Check:
    """Each order of a 2 x 2 puzzle against the best of all that are left, by loops."""
    chosen = [tuple(order) for order in jigsaw.distant_orders(12, 4).tolist()]
    left = set(itertools.permutations(range(4)))
    error = 0.0
    for i, order in enumerate(chosen):
        best = max(sum(_distance(other, old) for old in chosen[:i]) for other in left)
        error = max(error, float(best - sum(_distance(order, old) for old in chosen[:i])))
        error += float(order not in left)
        left.discard(order)
    return Check("each order has the largest sum of Hamming distances to those before it", error, 0.0)


def orders_of_nine() -> Check:
    """The first nine orders of nine tiles can differ in every place, and then they must."""
    chosen = jigsaw.distant_orders(9, 9).tolist()
    nearest = min(_distance(a, b) for a, b in itertools.combinations(chosen, 2))
    return Check("of nine tiles, the first nine orders differ everywhere", float(9 - nearest), 0.0)


def windows() -> Check:
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12))
    offset = np.random.default_rng(2).integers(3, size=(2, 9, 2))
    ours = cut(torch.from_numpy(x), grid_corners(3, 4) + torch.from_numpy(offset), 2)
    error = 0.0
    for b in range(2):
        for n in range(9):
            top, left = 4 * (n // 3) + offset[b, n, 0], 4 * (n % 3) + offset[b, n, 1]
            error = max(error, np.abs(ours[b, n].numpy() - x[b, :, top : top + 2, left : left + 2]).max())
    return Check("tiles are the windows of their cells", float(error), 0.0)


def _puzzle(standard: bool = False, bands: int = 2) -> tuple[jigsaw.Jigsaw, torch.Tensor, dict[str, torch.Tensor]]:
    """A method, its view of a batch of images whose pixels are all different, and what it prepared."""
    torch.manual_seed(0)
    names = tuple("abcd"[:bands])
    method = jigsaw.Jigsaw({"image": Input(names, 48)}, "resnet10t", orders=20, width=4, hidden=8, standard=standard)
    image = torch.arange(6 * bands * 48 * 48).reshape(6, bands, 48, 48).float()
    seen = []
    views = jigsaw.random_views

    def recorded(*arguments):
        seen.extend(views(*arguments))
        return seen

    jigsaw.random_views = recorded
    try:
        batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(6)))
    finally:
        jigsaw.random_views = views
    return method, seen[0], batch


def label_tells_where_each_tile_lies() -> Check:
    """The tile at place j must be found in the cell that the labelled order names for place j, at some gap."""
    method, x, batch = _puzzle()
    cell, tile, worst = method.cell, method.tile, 0.0
    for b in range(len(x)):
        order = method.orders[batch["y"][b]]
        for j in range(9):
            row, column = divmod(int(order[j]), 3)
            found = min(
                float((x[b, :, r : r + tile, c : c + tile] - batch["tiles"][b, j]).abs().max())
                for r in range(row * cell, (row + 1) * cell - tile + 1)
                for c in range(column * cell, (column + 1) * cell - tile + 1)
            )
            worst = max(worst, found)
    return Check("the label names the cell that each tile was cut from", worst, 0.0)


def tiles_leave_gaps() -> Check:
    """Where tiles begin in their cells must vary: of 54 tiles with a slack of 3 pixels, at least 10 places of 16."""
    method, x, batch = _puzzle()
    places = set()
    for b in range(len(x)):
        order = method.orders[batch["y"][b]]
        for j in range(9):
            corner = batch["tiles"][b, j, 0, 0, 0]
            where = (x[b, 0] == corner).nonzero()[0]
            places.add(tuple((where - torch.tensor(divmod(int(order[j]), 3)) * method.cell).tolist()))
    slack = method.cell - method.tile
    outside = sum(not (0 <= r <= slack and 0 <= c <= slack) for r, c in places)
    return Check("tiles begin anywhere in their cell", float(outside + max(0, 10 - len(places))), 0.0)


def tiles_are_standardised() -> Check:
    _, _, batch = _puzzle(standard=True)
    tiles = batch["tiles"].double()
    mean, deviation = tiles.mean((-2, -1)), tiles.std((-2, -1), correction=0)
    return Check(
        "every tile and band has mean 0 and deviation 1", float(mean.abs().max() + (deviation - 1).abs().max()), 1e-3
    )


def loss() -> Check:
    """Cross entropy of the head on the tiles' features, one after the other, in the order in which they lie."""
    method, _, batch = _puzzle(standard=True)
    method.double().eval()
    tiles, y = batch["tiles"].double(), batch["y"]
    with torch.no_grad():
        rows = [torch.cat([method.reduce(method.encoder(tile[None])) for tile in image], 1) for image in tiles]
        hidden = torch.cat([method.head[:-1](row) for row in rows]).numpy()
    w, b = (p.detach().numpy() for p in (method.head[-1].weight, method.head[-1].bias))

    def slow(weight: np.ndarray) -> float:
        total = 0.0
        for row, label in zip(hidden, y.tolist()):
            scores = [float(weight[k] @ row) + b[k] for k in range(len(weight))]
            total -= scores[label] - math.log(sum(math.exp(s) for s in scores))
        return total / len(hidden)

    def fast(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(
            method, {f"head.{len(method.head) - 1}.weight": weight}, ({"tiles": tiles, "y": y},)
        ).loss

    return compare("the loss and its gradient equal loops over images and orders", fast, slow, {"weight": w})


CASES = [
    orders_are_the_most_distant,
    orders_of_nine,
    windows,
    label_tells_where_each_tile_lies,
    tiles_leave_gaps,
    tiles_are_standardised,
    loss,
]


def _any_orders(count, tiles, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(tiles, generator=generator) for _ in range(count)])


KNOCKOUTS = {
    "orders far from one another": lambda patch: patch(jigsaw, "distant_orders", _any_orders),
    "shuffling by the labelled order": lambda patch: patch(
        jigsaw, "cut", lambda x, corner, size: cut(x, corner, size).roll(1, 1)
    ),
    "gaps between the tiles": lambda patch: patch(
        jigsaw, "cut", lambda x, corner, size: cut(x, grid_corners(3, x.shape[2] // 3), size)
    ),
    "standardised tiles": lambda patch: patch(jigsaw, "standardise", lambda tiles: tiles),
    "the order that was applied as the label": lambda patch: patch(
        jigsaw.F, "cross_entropy", lambda logits, y, original=jigsaw.F.cross_entropy: original(logits, y.roll(1))
    ),
}  # fmt: skip
