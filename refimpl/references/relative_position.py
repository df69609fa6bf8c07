"""Relative position's pairs, patches, colours and loss by loops, from arXiv 1505.05192, section 3."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.predictive import relative_position
from refimpl.parts.windows import cut, grid_corners
from refimpl.references import Check, compare

# Where the second patch lies, as the paper's figure numbers it round the first: (rows down, columns to the right).
NUMBERED = {1: (-1, -1), 2: (-1, 0), 3: (-1, 1), 4: (0, -1), 5: (0, 1), 6: (1, -1), 7: (1, 0), 8: (1, 1)}


def pairs_are_all_neighbours() -> Check:
    """Every pair of different cells whose rows and columns differ by at most one, once in each order."""
    wrong = 0
    for grid, count in ((2, 12), (3, 40), (4, 84)):
        listed = relative_position.neighbours(grid).T.tolist()
        wrong += abs(len(listed) - count) + abs(len({(a, b) for a, b, _ in listed}) - count)
        for first, second, y in listed:
            (row, column), (other_row, other_column) = divmod(first, grid), divmod(second, grid)
            wrong += NUMBERED[y + 1] != (other_row - row, other_column - column)
    return Check("the label says where the second patch lies from the first", float(wrong), 0.0)


def _cut(**settings) -> tuple[relative_position.RelativePosition, torch.Tensor, torch.Tensor]:
    """A method, its view of a batch of images whose pixels are all different, and the patches it cut from that."""
    torch.manual_seed(0)
    settings = {"width": 8, "hidden": 16, "standard": False, "patch": 14, **settings}
    method = relative_position.RelativePosition({"image": Input(("a", "b", "c"), 48)}, "test_resnet", **settings)
    image = torch.randperm(6 * 3 * 48 * 48).reshape(6, 3, 48, 48).float()
    seen = []
    views = relative_position.random_views

    def recorded(*arguments):
        seen.extend(views(*arguments))
        return seen

    relative_position.random_views = recorded
    try:
        batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(6)))
    finally:
        relative_position.random_views = views
    return method, seen[0], batch["patches"]


def patches_keep_a_gap_and_move() -> Check:
    """Patches of 14 pixels, 7 apart, each moved by at most 1: found by their first pixel, then compared whole."""
    _, x, patches = _cut()
    error, moves = abs(patches.shape[-1] - 14) + abs(x.shape[-1] - (3 * 14 + 2 * 7 + 2)), set()
    for b in range(len(x)):
        for n in range(9):
            top, left = (x[b, 0] == patches[b, n, 0, 0, 0]).nonzero()[0].tolist()
            error = max(error, float((x[b, :, top : top + 14, left : left + 14] - patches[b, n]).abs().max()))
            moves.add((top - 1 - 21 * (n // 3), left - 1 - 21 * (n % 3)))
    outside = sum(max(abs(down), abs(right)) > 1 for down, right in moves)
    return Check("patches lie in their grid, with gaps, moved by a pixel", error + outside + (9 - len(moves)), 0.0)


def patches_are_standardised() -> Check:
    patches = _cut(standard=True)[2].double()
    mean, deviation = patches.mean((-2, -1)), patches.std((-2, -1), correction=0)
    error = float(mean.abs().max() + (deviation - 1).abs().max())
    return Check("every patch and band has mean 0 and deviation 1", error, 1e-3)


def one_band_is_kept() -> Check:
    """The kept band as it was; noise about its mean in the others. All bands have their turn."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 2, 3, 20, 20)), rng.normal(size=(2, 2, 3, 20, 20))
    kept = torch.tensor([[0, 2], [1, 1]])
    ours = relative_position.drop_bands(torch.from_numpy(x), kept, torch.from_numpy(noise)).numpy()
    error = 0.0
    for b, n, c in np.ndindex(2, 2, 3):
        own = x[b, n, kept[b, n]]
        expected = (
            own if c == kept[b, n] else own.mean() + math.sqrt(((own - own.mean()) ** 2).mean()) / 100 * noise[b, n, c]
        )
        error = max(error, float(np.abs(ours[b, n, c] - expected).max()))
    loud = _cut(standard=True, colour="drop")[2].std((-2, -1)) > 0.5
    error += float((loud.sum(2) != 1).sum()) + float(loud.flatten(0, 1).any(0).logical_not().sum())
    return Check("one band of each patch is kept, faint noise in the others", error, 1e-6)


def green_against_magenta() -> Check:
    """Magenta minus green must vanish; grey and red minus blue must stay."""
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 4))
    ours = relative_position.project(torch.from_numpy(x)).numpy()
    error = np.abs(ours[:, 0] + ours[:, 2] - 2 * ours[:, 1]).max()
    error += np.abs((ours - x).sum(1)).max() + np.abs((ours[:, 0] - ours[:, 2]) - (x[:, 0] - x[:, 2])).max()
    made = _cut(standard=True, colour="project")[2]
    error += float((made[:, :, 0] + made[:, :, 2] - 2 * made[:, :, 1]).abs().max()) > 1e-5
    return Check("what lies along green against magenta is taken out", float(error), 1e-9)


def features_are_normalised_over_the_batch() -> Check:
    method, _, patches = _cut(standard=True)
    with torch.no_grad():
        z = method.reduce[0](method.encoder(patches.flatten(0, 1)))
    error = float(z.mean(0).abs().max() + (z.std(0, correction=0) - 1).abs().max())
    return Check("features of patches vary over the batch, mean 0 and deviation 1", error, 0.02)


def loss() -> Check:
    """Cross entropy of the head on the features of two patches, pair by pair."""
    method, _, patches = _cut(standard=True)
    method.double().eval()
    patches = patches[:2].double()
    hidden, labels = [], []
    with torch.no_grad():
        for image in patches:
            z = [method.reduce(method.encoder(patch[None])) for patch in image]
            for a in range(9):
                for y, (down, right) in NUMBERED.items():
                    row, column = a // 3 + down, a % 3 + right
                    if 0 <= row < 3 and 0 <= column < 3:
                        hidden.append(method.head[:-1](torch.cat([z[a], z[3 * row + column]], 1))[0].numpy())
                        labels.append(y - 1)
    w, b = (p.detach().numpy() for p in (method.head[-1].weight, method.head[-1].bias))

    def slow(weight: np.ndarray) -> float:
        total = 0.0
        for row, label in zip(hidden, labels):
            scores = [float(weight[k] @ row) + b[k] for k in range(8)]
            total -= scores[label] - math.log(sum(math.exp(s) for s in scores))
        return total / len(hidden)

    def fast(weight: torch.Tensor) -> torch.Tensor:
        last = f"head.{len(method.head) - 1}.weight"
        return torch.func.functional_call(method, {last: weight}, ({"patches": patches},)).loss

    return compare("the loss and its gradient equal loops over images and pairs", fast, slow, {"weight": w})


CASES = [
    pairs_are_all_neighbours,
    patches_keep_a_gap_and_move,
    patches_are_standardised,
    one_band_is_kept,
    green_against_magenta,
    features_are_normalised_over_the_batch,
    loss,
]

_neighbours, _drop, _mlp = relative_position.neighbours, relative_position.drop_bands, relative_position.mlp

KNOCKOUTS = {
    "the position as seen from the first patch": lambda patch: patch(
        relative_position, "neighbours", lambda grid: _neighbours(grid)[[1, 0, 2]]
    ),
    "the second patch": lambda patch: patch(
        relative_position, "neighbours", lambda grid: _neighbours(grid)[[0, 0, 2]]
    ),
    "gaps between the patches": lambda patch: patch(
        relative_position, "cut", lambda x, corner, size: cut(x, grid_corners(3, size) + corner % 2, size)
    ),
    "patches that are moved": lambda patch: patch(
        relative_position, "cut", lambda x, corner, size: cut(x, grid_corners(3, size * 3 // 2) + 1, size)
    ),
    "standardised patches": lambda patch: patch(relative_position, "standardise", lambda patches: patches),
    "dropped bands": lambda patch: patch(relative_position, "drop_bands", lambda patches, kept, noise: patches),
    "faint noise": lambda patch: patch(
        relative_position, "drop_bands", lambda patches, kept, noise: _drop(patches, kept, 100 * noise)
    ),
    "the green-magenta axis": lambda patch: patch(relative_position, "project", lambda patches: patches),
    "features normalised over the batch": lambda patch: patch(
        relative_position, "mlp", lambda *widths, last_norm=False: _mlp(*widths)
    ),
    "the right label": lambda patch: patch(
        relative_position.F,
        "cross_entropy",
        lambda logits, y, original=relative_position.F.cross_entropy: original(logits, y.roll(1)),
    ),
}  # fmt: skip
