"""TCN's losses by loops over anchors, positives and negatives, from arXiv 1704.06888, section III-A."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.methods.temporal import time_contrastive
from refimpl.references import Check, compare

PLACE = np.array([0, 0, 0, 0, 1, 1, 1, 1])
TIME = np.array([5, 60, 130, 300, 0, 30, 200, 290])
WINDOW, APART = 70.0, 2.0


def slow_relations(others: bool) -> tuple[list[tuple[int, int]], dict[int, list[int]]]:
    """All pairs of anchor and positive, and the negatives of every anchor."""
    pairs, negatives = [], {}
    every = range(len(PLACE))
    for a in every:
        negatives[a] = []
        for b in every:
            gap = abs(int(TIME[a]) - int(TIME[b]))
            if PLACE[a] != PLACE[b]:
                negatives[a] += [b] if others else []
            elif gap > APART * WINDOW:
                negatives[a].append(b)
            elif gap <= WINDOW and a != b:
                pairs.append((a, b))
    return [(a, p) for a, p in pairs if negatives[a]], negatives


def slow_triplet(z: np.ndarray, others: bool, margin: float) -> float:
    unit = [row / math.sqrt(sum(v * v for v in row)) for row in z]

    def distance(i: int, j: int) -> float:
        return sum((x - y) ** 2 for x, y in zip(unit[i], unit[j], strict=True))

    pairs, negatives = slow_relations(others)
    total = 0.0
    for a, p in pairs:
        far = sorted(distance(a, n) for n in negatives[a])
        beyond = [d for d in far if d > distance(a, p)]
        total += max(0.0, distance(a, p) - (beyond[0] if beyond else far[-1]) + margin)
    return total / len(pairs)


def slow_n_pairs(z: np.ndarray, others: bool, penalty: float) -> float:
    pairs, negatives = slow_relations(others)
    total = 0.0
    for a, p in pairs:
        right = math.exp(z[a] @ z[p])
        total -= math.log(right / (right + sum(math.exp(z[a] @ z[n]) for n in negatives[a])))
    return total / len(pairs) + penalty * sum(float(row @ row) for row in z) / len(z)


def _relations(others: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return time_contrastive.relations(torch.from_numpy(PLACE), torch.from_numpy(TIME), WINDOW, APART, others)


def _triplet_case(others: bool, what: str) -> Check:
    z = np.random.default_rng(2).normal(size=(8, 3)) * 2
    return compare(
        f"the triplet loss and its gradient equal loops, {what}",
        lambda z: time_contrastive.triplet_loss(z, *_relations(others), 0.7),
        lambda z: slow_triplet(z, others, 0.7),
        {"z": z},
    )


def triplets() -> Check:
    return _triplet_case(False, "negatives of the same place")


def triplets_with_others() -> Check:
    return _triplet_case(True, "other places are negatives too")


def n_pairs() -> Check:
    return compare(
        "the n-pairs loss and its gradient equal loops",
        lambda z: time_contrastive.n_pairs_loss(z, *_relations(False), 0.03),
        lambda z: slow_n_pairs(z, False, 0.03),
        {"z": np.random.default_rng(3).normal(size=(8, 3))},
    )


def blind_features() -> Check:
    z = torch.ones(8, 4, dtype=torch.float64)
    triplet = float(time_contrastive.triplet_loss(z, *_relations(False), 0.2)) - 0.2
    # Each anchor of these series has two negatives or one; equal ones cost ln(1 + negatives).
    pairs, negatives = slow_relations(False)
    wanted = sum(math.log(1 + len(negatives[a])) for a, _ in pairs) / len(pairs)
    softmax = float(time_contrastive.n_pairs_loss(z, *_relations(False), 0.0)) - wanted
    return Check("features that ignore the image cost alpha, or the logarithm", max(abs(triplet), abs(softmax)), 1e-9)


def semi_hard() -> Check:
    """On a circle with the positive at 60 degrees: of negatives at 30, 90 and 150 degrees the one at 90 is taken.

    Squared distances are 2 - 2 cos, so that the loss with alpha = 1.5 is 1 - 2 + 1.5. Without those farther than the
    positive, the farthest of the nearer ones (at 30 degrees) remains: 1 - (2 - sqrt 3) + 1.5.
    """
    angle = torch.tensor([0.0, 60.0, 30.0, 90.0, 150.0], dtype=torch.float64).deg2rad()
    z = torch.stack([angle.cos(), angle.sin()], 1)
    alike, unlike = torch.zeros(5, 5, dtype=torch.bool), torch.zeros(5, 5, dtype=torch.bool)
    alike[0, 1], unlike[0, 2:] = True, True
    far = float(time_contrastive.triplet_loss(z, alike, unlike, 1.5)) - 0.5
    unlike[0, 3:] = False
    near = float(time_contrastive.triplet_loss(z, alike, unlike, 1.5)) - (0.5 + math.sqrt(3))
    return Check("the nearest negative beyond the positive is taken, else the farthest", max(abs(far), abs(near)), 1e-9)


def no_pairs() -> Check:
    """Dates too far apart for a positive cost nothing, and nothing breaks."""
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    place, time = torch.zeros(4, dtype=torch.int64), torch.arange(4) * 1000
    relations = time_contrastive.relations(place, time, 70.0, 2.0, False)
    loss = time_contrastive.triplet_loss(z, *relations, 0.2) + time_contrastive.n_pairs_loss(z, *relations, 0.0)
    loss.backward()
    return Check(
        "series without neighbouring dates cost nothing", float(loss.detach()) + float(z.grad.abs().max()), 0.0
    )


def _method(**changes) -> time_contrastive.TimeContrastive:
    torch.manual_seed(0)
    return time_contrastive.TimeContrastive({"series": Input(("a",), 32)}, "test_resnet", dim=4, **changes)


def _batch() -> dict[str, torch.Tensor]:
    """Two series whose frames are as bright as their date is late."""
    dates = torch.from_numpy(TIME.reshape(2, 4) + 17000)
    return {"series": (dates - 17000.0)[:, :, None, None, None].expand(2, 4, 1, 32, 32), "dates": dates}


def prepared() -> Check:
    """Every frame of both views comes with its own date, and no two frames of a series are the same."""
    method = _method(views=2, frames=3)
    method.view = time_contrastive.View.geometric()
    made = method.prepare(_batch(), Draws(0, 0, torch.arange(2)))
    days = made["x"].mean((2, 3, 4)) + 17000
    halves = made["time"].unflatten(1, (2, 3))
    repeated = float((halves[:, 0] != halves[:, 1]).sum() + (3 - len(set(halves[0, 0].tolist()))))
    return Check("a frame comes with its date", float((days - made["time"]).abs().max()) + repeated, 1e-2)


def frames_have_views_of_their_own() -> Check:
    method = _method(views=2)
    series = torch.rand(2, 1, 1, 32, 32).expand(2, 4, 1, 32, 32)
    x = method.prepare({**_batch(), "series": series}, Draws(0, 0, torch.arange(2)))["x"]
    apart = torch.cdist(x.flatten(2), x.flatten(2)) + 100 * torch.eye(8)
    return Check("pairs of frames that were cut alike", float((apart < 1e-3).sum()), 0.0)


def objective() -> Check:
    """The whole loss from prepared frames, each embedded alone."""
    worst = 0.0
    for n_pairs, others in ((False, False), (True, False), (False, True)):
        changes = {"n_pairs": n_pairs, "others": others, "alpha": 0.5, "penalty": 0.01}
        method = _method(window=WINDOW, apart=APART, **changes).double().eval()
        x, time = torch.randn(2, 4, 1, 32, 32, dtype=torch.float64), torch.from_numpy(TIME).view(2, 4)
        with torch.no_grad():
            loss = float(method({"x": x, "time": time}).loss)
            z = torch.cat([method.head(method.encoder(frame[None])) for frame in x.flatten(0, 1)]).numpy()
        slow = slow_n_pairs(z, others, 0.01) if n_pairs else slow_triplet(z, others, 0.5)
        worst = max(worst, abs(loss - slow) / slow)
    return Check("the loss is that of all frames, each seen alone", worst, 1e-9)


def window() -> Check:
    """1.25 steps, whatever the order in which dates are stored."""
    dates = np.array([[0, 80, 40, 120], [1000, 1120, 1040, 1080]])
    data = Data("steps", {"dates": dates}, {}, {"train": np.arange(2)})
    return Check("the window follows from the steps", abs(_method().settings_for(data)["window"] - 50.0), 1e-9)


def series_feature() -> Check:
    method = _method().eval()
    stored = torch.randn(2, 5, 1, 32, 32)
    with torch.no_grad():
        ours = method.embed(stored)
        rows = [sum(method.encoder(method.encoder.normalise(f[None]))[0] for f in series) / 5 for series in stored]
    return Check("a series is the mean of its dates", float((ours - torch.stack(rows)).abs().max()), 1e-5)


CASES = [
    triplets, triplets_with_others, n_pairs, blind_features, semi_hard, no_pairs, prepared,
    frames_have_views_of_their_own, objective, window, series_feature,
]  # fmt: skip

_relations_fast = time_contrastive.relations
_triplets, _n_pairs = time_contrastive.triplet_loss, time_contrastive.n_pairs_loss


def _other_places_only(place, time, window, apart, others):
    alike, unlike = _relations_fast(place, time, window, apart, True)
    return alike, unlike & (place[:, None] != place)


def _whole_series(place, time, window, apart, others):
    alike, unlike = _relations_fast(place, time, window, apart, others)
    return alike | (place[:, None] == place) & ~unlike & ~torch.eye(len(place), dtype=torch.bool), unlike


def _hardest(z, alike, unlike, margin=0.2):
    z = F.normalize(z, dim=1)
    distance = 2 - 2 * z @ z.T
    a, p = (alike & unlike.any(1, keepdim=True)).nonzero(as_tuple=True)
    hardest = distance[a].masked_fill(~unlike[a], 9.0).amin(1)
    return F.relu(distance[a, p] - hardest + margin).sum() / max(1, len(a))


def _one_gap(place, time, window, apart, others):
    return _relations_fast(place, time, window, 1.0, others)


KNOCKOUTS = {
    "negatives of the same place": lambda patch: patch(time_contrastive, "relations", _other_places_only),
    "positives from the window only": lambda patch: patch(time_contrastive, "relations", _whole_series),
    "a gap between positives and negatives": lambda patch: patch(time_contrastive, "relations", _one_gap),
    "semi-hard negatives": lambda patch: patch(time_contrastive, "triplet_loss", _hardest),
    "the margin": lambda patch: patch(
        time_contrastive, "triplet_loss", lambda z, alike, unlike, margin: _triplets(z, alike, unlike, 0.0)
    ),
    "squared distances": lambda patch: patch(
        time_contrastive, "triplet_loss", lambda z, alike, unlike, margin: _triplets(z, alike, unlike, 2 * margin) / 2
    ),
    "negatives without the positives": lambda patch: patch(
        time_contrastive, "n_pairs_loss", lambda z, alike, unlike, weight: _n_pairs(z, alike, unlike | alike, weight)
    ),
}
