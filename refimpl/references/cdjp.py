"""Damaged puzzles and their three losses by loops, from arXiv 1802.01880 and the papers of the three tasks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools
from refimpl.methods.predictive import cdjp
from refimpl.parts import colours as part
from refimpl.parts.windows import cut, grid_corners
from refimpl.references import Check, compare


def cross_entropy(scores: np.ndarray, label: int) -> float:
    return math.log(sum(math.exp(v) for v in scores)) - scores[label]


def _puzzle(**settings) -> tuple[cdjp.CDJP, torch.Tensor, dict[str, torch.Tensor]]:
    """A method, its view of a batch of noise, and what it prepared."""
    torch.manual_seed(0)
    inputs = {"image": Input(("a", "b", "c"), 48)}
    method = cdjp.CDJP(inputs, "test_resnet", orders=12, width=8, hidden=16, colours=7, **settings)
    method.bins.centres.normal_()
    method.bins.w.uniform_(0.5, 2)
    image = torch.randperm(6 * 3 * 48 * 48).reshape(6, 3, 48, 48).float()
    image = (image - image.mean()) / image.std()
    seen = []
    views = cdjp.random_views

    def recorded(*arguments):
        seen.extend(views(*arguments))
        return seen

    cdjp.random_views = recorded
    try:
        batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(6)))
    finally:
        cdjp.random_views = views
    return method.eval(), seen[0], batch


def orders_are_the_most_distant() -> Check:
    """Each order of a 2 x 2 puzzle against the best of all that are left."""
    chosen = [tuple(order) for order in cdjp.distant_orders(10, 4).tolist()]
    left, error = set(itertools.permutations(range(4))), 0.0
    for i, order in enumerate(chosen):
        far = {other: sum(a != b for old in chosen[:i] for a, b in zip(other, old)) for other in left}
        error = max(error, float(max(far.values()) - far.get(order, -1)))
        left.discard(order)
    return Check("each order has the largest sum of Hamming distances to those before it", error, 0.0)


def label_tells_where_each_tile_lies() -> Check:
    """Tiles of 13 pixels from cells of 16, in the labelled order, anywhere in their cell."""
    method, x, batch = _puzzle()
    worst, places = 0.0, set()
    for b, j in np.ndindex(3, 9):
        row, column = divmod(int(method.orders[batch["y"][b], j]), 3)
        difference = {
            (r, c): float((x[b, :, 16 * row + r :, 16 * column + c :][:, :13, :13] - batch["tiles"][b, j]).abs().max())
            for r in range(4)
            for c in range(4)
        }
        worst = max(worst, min(difference.values()))
        places.add(min(difference, key=difference.get))
    return Check("the label names the cell of each tile, with gaps", worst + max(0, 8 - len(places)), 0.0)


def damage() -> Check:
    """Other colours of the same lightness, and any other missing tile, must change nothing that the network answers."""
    method, _, batch = _puzzle()
    answers = []
    for module in (method.head, method.decoder, method.painter):
        module.register_forward_hook(lambda module, arguments, output: answers.append(output))
    tiles = batch["tiles"]
    grey = tiles.mean(2, keepdim=True)
    other = torch.randn_like(tiles)
    other = other - other.mean(2, keepdim=True) + grey
    for b in range(6):
        other[b, batch["missing"][b]] = torch.randn(3, 13, 13)
    moved = tiles.clone()
    moved[torch.arange(6), (batch["missing"] + 1) % 9] *= 2  # but what is not missing is seen
    with torch.no_grad():
        for each in (tiles, other, moved):
            method({**batch, "tiles": each})
    error = max(float((a - b).abs().max()) for a, b in zip(answers[:3], answers[3:6]))
    unseen = min(float((a - b).abs().max()) for a, b in zip(answers[:3], answers[6:9])) == 0
    return Check("neither colours nor the missing tile are seen", error + unseen, 1e-4)


def painting() -> Check:
    rng = np.random.default_rng(1)

    def slow(painted: np.ndarray, tile: np.ndarray) -> float:
        total = 0.0
        for b, c, i, j in np.ndindex(painted.shape):
            total += (painted[b, c, i, j] - tile[b, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()) ** 2
        return total / painted.size

    return compare(
        "the painting's loss and gradient equal a loop over its values",
        cdjp.painting_loss,
        slow,
        {"painted": rng.normal(size=(2, 3, 4, 4)), "tile": rng.normal(size=(2, 3, 8, 8))},
    )


def whole() -> Check:
    """Order, painting and colours of a batch from the network's own answers, at weights 0.5 and 2."""
    method, _, batch = _puzzle(alpha=0.5, beta=2.0)
    method.double()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    answers = []
    for module in (method.head, method.decoder, method.painter):
        module.register_forward_hook(lambda module, arguments, output: answers.append(output))
    with torch.no_grad():
        ours = float(method(batch).loss)
    answers = {tuple(a.shape[:2]): a for a in answers}
    scores, painted, named = answers[(6, 12)].numpy(), answers[(6, 3)], answers[(54, 7)].numpy()
    tiles, missing = batch["tiles"], batch["missing"].tolist()
    order = sum(cross_entropy(scores[b], int(batch["y"][b])) for b in range(6)) / 6
    true = torch.stack([torch.nn.functional.adaptive_avg_pool2d(tiles[b, m], 8) for b, m in enumerate(missing)])
    paint = float(((true - painted) ** 2).sum()) / true.numel()
    centres, w, costs = method.bins.centres.numpy(), method.bins.w.tolist(), []
    side = named.shape[2]
    for b, j in np.ndindex(6, 9):
        if j == missing[b]:
            continue
        colour = torch.nn.functional.adaptive_avg_pool2d(tiles[b, j] - tiles[b, j].mean(0), side).numpy()
        for r, c in np.ndindex(side, side):
            distance = np.sqrt(((colour[:, r, c] - centres) ** 2).sum(1))
            nearest = np.argsort(distance)[:5]
            share = np.exp(-(distance[nearest] ** 2) / 2)
            row = named[9 * b + j, :, r, c]
            cost = sum(p * cross_entropy(row, q) for p, q in zip(share / share.sum(), nearest))
            costs.append(w[nearest[0]] * cost)
    expected = order + 0.5 * paint + 2.0 * sum(costs) / len(costs)
    return Check(
        "the loss of a batch equals loops over images, tiles and places", float(abs(ours - expected) / expected), 1e-6
    )


def bins_of_the_data() -> Check:
    """Bins are made of colours without their lightness, and rare ones count more."""
    method = _puzzle()[0]
    image = np.random.default_rng(5).normal(size=(20, 3, 8, 8)) + 100
    data = Data("noise", {"image": image}, method.inputs, {"train": np.arange(20)})
    method.before_epoch(0, data, EpochTools(lambda: None, lambda parameters: None, torch.Generator().manual_seed(0)))
    error = float(method.bins.centres.sum(1).abs().max()) + float(method.bins.centres.unique(dim=0).shape[0] != 7)
    return Check("bins are those of the data's colours", error + float(method.bins.w.std() == 0), 1e-3)


CASES = [
    orders_are_the_most_distant,
    label_tells_where_each_tile_lies,
    damage,
    painting,
    whole,
    bins_of_the_data,
]

KNOCKOUTS = {
    "orders far from one another": lambda patch: patch(
        cdjp, "distant_orders", lambda count, tiles: torch.stack([torch.randperm(tiles) for _ in range(count)])
    ),
    "gaps between the tiles": lambda patch: patch(
        cdjp, "cut", lambda x, corner, size: cut(x, grid_corners(3, x.shape[2] // 3), size)
    ),
    "the missing tile": lambda patch: patch(cdjp, "without", lambda tiles, missing: tiles),
    "lost colours": lambda patch: patch(part.Colourless, "light", lambda self, x: x[:, :1]),
    "the order that was applied as the label": lambda patch: patch(
        cdjp.F, "cross_entropy", lambda logits, y, original=cdjp.F.cross_entropy: original(logits, y.roll(1))
    ),
    "painting": lambda patch: patch(cdjp, "painting_loss", lambda painted, tile: 0 * painted.sum()),
    "colours": lambda patch: patch(cdjp, "colour_loss", lambda named, index, share, w: 0 * named.sum()),
    "no colours asked of the missing tile": lambda patch: patch(cdjp, "others", lambda tiles, missing: tiles[:, 1:]),
    "rare colours that count more": lambda patch: patch(
        part, "rarity", lambda p, centres, sigma, mix: torch.ones_like(p)
    ),
}  # fmt: skip
