"""VICRegL's matches, places and loss by loops, from section 3 of arXiv 2210.01571."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.data.views import RANDOM, View, make_views
from refimpl.engine.draws import Draws
from refimpl.methods.joint_embedding import vicregl
from refimpl.references import Check, compare


def slow_vicreg(z1: np.ndarray, z2: np.ndarray) -> float:
    """One pair of places (or images) of each image: (N, D)."""
    n, d = z1.shape
    loss = 25.0 * sum((z1[i, j] - z2[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    for z in (z1, z2):
        mean = [sum(z[:, j]) / n for j in range(d)]
        for i in range(d):
            for j in range(d):
                c = sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in z) / (n - 1)
                loss += 25.0 * max(0.0, 1.0 - math.sqrt(c + 1e-4)) / d / 2 if i == j else c * c / d / 2
    return loss


def slow_matches(distance: np.ndarray, count: int) -> list[tuple[int, int]]:
    pairs = [(min(row), p, int(np.argmin(row))) for p, row in enumerate(distance)]
    return sorted((p, other) for _, p, other in sorted(pairs)[:count])


def slow_local(z1, z2, at1, at2, count: int, alike: int) -> float:
    """Maps and coordinates as (B, S, D) and (B, S, 2)."""
    loss = 0.0
    for a, b, here, there in ((z1, z2, at1, at2), (z2, z1, at2, at1)):
        for from_, to, kept in ((here, there, count), (a, b, alike)):
            found = []
            for i in range(len(a)):
                distance = np.array([[math.sqrt(sum((p - q) ** 2)) for q in to[i]] for p in from_[i]])
                found.append(slow_matches(distance, kept))
            for m in range(kept):
                left = np.array([a[i][found[i][m][0]] for i in range(len(a))])
                right = np.array([b[i][found[i][m][1]] for i in range(len(a))])
                loss += slow_vicreg(left, right) / kept / 2
    return loss


def formula() -> Check:
    rng = np.random.default_rng(1)
    scale = np.array([0.3, 0.8, 1.6])
    return compare(
        "VICReg of matched pairs and its gradient equal loops",
        vicregl.vicreg,
        lambda z1, z2: sum(slow_vicreg(z1[:, m], z2[:, m]) for m in range(2)) / 2,
        {"z1": rng.normal(size=(5, 2, 3)) * scale, "z2": rng.normal(size=(5, 2, 3)) * scale},
    )


def best_pairs() -> Check:
    distance = np.random.default_rng(2).uniform(size=(3, 6, 6))
    own, other = vicregl.matches(torch.tensor(distance), 4)
    ours = [list(zip(a.tolist(), b.tolist())) for a, b in zip(own, other)]
    return Check(
        "images whose best pairs differ from a sorted list's", float(ours != [slow_matches(d, 4) for d in distance]), 0
    )


def coordinates() -> Check:
    """An image of smooth waves, looked up at the coordinates of a view's pixels, is the view."""
    size, views = 48, [View.geometric(scale=(0.3, 0.6)), View(size=40, scale=(0.5, 1.0))]
    random = Draws(0, 0, torch.arange(32)).uniform(2, len(RANDOM))
    random[:, :, RANDOM.index("jittered")] = random[:, :, RANDOM.index("grey")] = random[
        :, :, RANDOM.index("blurred")
    ] = 1

    def waves(row, column):
        return torch.sin(row / 9) + torch.cos(column / 7 + 1)

    grid = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = waves(*grid).expand(32, 1, -1, -1)
    made = make_views(image, views, torch.zeros(1), torch.ones(1), random)
    found = vicregl.where(views, size, size, random)
    error = max(float((waves(*at.unbind(1)) - view[:, 0]).abs().max()) for at, view in zip(found, made))
    return Check("an image looked up at a view's coordinates is the view", error, 0.02)


def _loss(every_alike: bool) -> Check:
    """The whole loss from the network's own maps; the coordinates are those of its views, averaged over each place."""
    torch.manual_seed(0)
    inputs = {"image": Input(("a", "b"), 48)}
    method = vicregl.VICRegL(inputs, "test_resnet", dim=4, local=3, share=0.4, every_alike=every_alike, alpha=0.7)
    image = torch.randint(0, 255, (4, 2, 48, 48), generator=torch.Generator().manual_seed(1))
    batch = {k: v.double() for k, v in method.prepare({"image": image}, Draws(0, 0, torch.arange(4))).items()}
    method.double().eval()
    maps, at, whole = [], [], []
    with torch.no_grad():
        for view in ("1", "2"):
            h, places = vicregl.features_and_map(method.encoder, batch["x" + view], -2)
            whole.append(method.expander(h).numpy())
            maps.append(np.array([method.local_expander(image).numpy() for image in places]))
            tiles = batch["at" + view].numpy().reshape(4, 2, 3, 16, 3, 16).mean((3, 5)).reshape(4, 2, 9)
            at.append(tiles.transpose(0, 2, 1))
        ours = float(method(batch).loss)
    expected = 0.7 * slow_vicreg(*whole) + 0.3 * slow_local(*maps, *at, 4, 9 if every_alike else 4)
    return Check(
        f"the loss equals loops over places ({'all' if every_alike else 'best'} alike)",
        abs(ours - expected) / expected,
        1e-6,
    )


def as_paper() -> Check:
    return _loss(False)


def as_code() -> Check:
    return _loss(True)


CASES = [formula, best_pairs, coordinates, as_paper, as_code]


def _one_way(distance, count, original=vicregl.matches):
    own, other = original(distance.transpose(1, 2), count)
    return other, own


def _pooled(z1, z2, weights=(25.0, 25.0, 1.0), original=vicregl.vicreg):
    return original(z1.flatten(0, 1)[:, None], z2.flatten(0, 1)[:, None], weights)


def _without(term: int):
    weights = tuple(0.0 if i == term else weight for i, weight in enumerate((25.0, 25.0, 1.0)))
    return lambda z1, z2, original=vicregl.vicreg: original(z1, z2, weights)


KNOCKOUTS = {
    "where places lie": lambda patch: patch(
        vicregl, "where", lambda views, height, width, random, original=vicregl.where: [
            at.flip(3) for at in original(views, height, width, random)]
    ),
    "the best pairs": lambda patch: patch(
        vicregl, "matches", lambda distance, count, original=vicregl.matches: tuple(
            x[:, :count] for x in original(distance, distance.shape[1]))
    ),
    "the nearest place": lambda patch: patch(
        vicregl, "matches", lambda distance, count, original=vicregl.matches: original(-distance, count)
    ),
    "either view's places": lambda patch: patch(vicregl, "matches", _one_way),
    "statistics of each pair by itself": lambda patch: patch(vicregl, "vicreg", _pooled),
    "variance": lambda patch: patch(vicregl, "vicreg", _without(1)),
    "covariance": lambda patch: patch(vicregl, "vicreg", _without(2)),
}  # fmt: skip
