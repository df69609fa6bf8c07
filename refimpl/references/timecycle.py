"""TimeCycle's tracker and its cycles, cell by cell and frame by frame, from arXiv 1903.07593, section 3."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.temporal import timecycle
from refimpl.references import Check, compare


def slow_sample(frame: np.ndarray, theta: np.ndarray, zoom: float, size: int) -> np.ndarray:
    """(D, n, n) -> (D, size, size): the point of each cell, turned, scaled and shifted, read bilinearly; 0 outside."""
    d, n, _ = frame.shape
    x0, y0, turn = theta
    out = np.zeros((d, size, size))
    for row, column in np.ndindex(size, size):
        u, v = ((2 * at + 1) / size - 1 for at in (column, row))  # in [-1, 1]
        x = zoom * (math.cos(turn) * u - math.sin(turn) * v) + x0
        y = zoom * (math.sin(turn) * u + math.cos(turn) * v) + y0
        px, py = ((at + 1) * n / 2 - 0.5 for at in (x, y))
        for r in (math.floor(py), math.floor(py) + 1):
            for c in (math.floor(px), math.floor(px) + 1):
                if 0 <= r < n and 0 <= c < n:
                    out[:, row, column] += (1 - abs(py - r)) * (1 - abs(px - c)) * frame[:, r, c]
    return out


def windows() -> Check:
    rng = np.random.default_rng(0)
    maps, theta = rng.normal(size=(4, 2, 5, 5)), rng.uniform(-0.8, 0.8, size=(4, 3))
    ours = timecycle.sample(torch.from_numpy(maps), torch.from_numpy(theta), 0.6, 3).numpy()
    slow = np.stack([slow_sample(m, t, 0.6, 3) for m, t in zip(maps, theta, strict=True)])
    return Check("a window is read point by point", float(np.abs(ours - slow).max()), 1e-9)


def slow_distance(found: np.ndarray, true: np.ndarray, zoom: float) -> float:
    """Simpson's rule over the patch, exact for squares of coordinates."""
    nodes = ((-1.0, 1 / 6), (0.0, 4 / 6), (1.0, 1 / 6))

    def place(theta: np.ndarray, u: float, v: float) -> tuple[float, float]:
        x, y, turn = theta
        cos, sin = math.cos(turn), math.sin(turn)
        return zoom * (cos * u - sin * v) + x, zoom * (sin * u + cos * v) + y

    total = 0.0
    for u, wu in nodes:
        for v, wv in nodes:
            (x, y), (x1, y1) = place(found, u, v), place(true, u, v)
            total += wu * wv * ((x - x1) ** 2 + (y - y1) ** 2)
    return total


def distances() -> Check:
    rng = np.random.default_rng(1)
    inputs = {"found": rng.normal(size=(4, 3)), "true": rng.normal(size=(4, 3))}
    return compare(
        "the distance of two places and its gradient equal the mean over points of the patch",
        lambda found, true: timecycle.distance(found, true, 0.4).mean(),
        lambda found, true: float(np.mean([slow_distance(a, b, 0.4) for a, b in zip(found, true, strict=True)])),
        inputs,
    )


def slow_affinity(frame: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """(D, n, n), (D, m, m) -> (n * n, m * m)."""
    d, n, m = len(frame), frame.shape[1], patch.shape[1]
    a = np.zeros((n * n, m * m))
    for i in range(m * m):
        query = patch[:, i // m, i % m]
        scores = [math.exp(math.sqrt(d) * float(frame[:, j // n, j % n] @ query)) for j in range(n * n)]
        a[:, i] = np.array(scores) / sum(scores)
    return a


def slow_inliers(a: np.ndarray, theta: np.ndarray, zoom: float) -> float:
    """Each cell's row of A as an image, read where theta puts the cell."""
    n, m = math.isqrt(len(a)), math.isqrt(a.shape[1])
    found = [slow_sample(a[:, i].reshape(1, n, n), theta, zoom, m)[0, i // m, i % m] for i in range(m * m)]
    return sum(found) / len(found)


def affinities() -> Check:
    rng = np.random.default_rng(2)
    frame, patch = rng.normal(size=(2, 4, 5, 5)), rng.normal(size=(2, 4, 3, 3))
    ours = timecycle.affinity(torch.from_numpy(frame), torch.from_numpy(patch)).numpy()
    slow = np.stack([slow_affinity(f, p) for f, p in zip(frame, patch, strict=True)])
    return Check("A is a softmax over the cells of the frame", float(np.abs(ours - slow).max()), 1e-9)


def inliers() -> Check:
    rng = np.random.default_rng(3)
    a, theta = rng.uniform(size=(2, 25, 9)), rng.uniform(-0.5, 0.5, size=(2, 3))
    return compare(
        "the share of inliers and its gradient equal a loop over cells",
        lambda a, theta: timecycle.inlier_share(a, theta, 0.5).mean(),
        lambda a, theta: float(np.mean([slow_inliers(x, t, 0.5) for x, t in zip(a, theta, strict=True)])),
        {"a": a, "theta": theta},
    )


def _method(**changes) -> timecycle.TimeCycle:
    torch.manual_seed(0)
    settings = {"dim": 6, "hidden": 8, **changes}
    method = timecycle.TimeCycle({"series": Input(("a",), 32)}, "test_resnet", **settings)
    return method.double().eval()


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.sqrt((x**2).sum(0, keepdims=True)), 1e-12)


def _slow_track(method: timecycle.TimeCycle, frame: np.ndarray, patch: np.ndarray):
    a = slow_affinity(frame, patch)
    (w1, b1), (w2, b2) = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in method.localise[::2])
    theta = w2 @ np.maximum(w1 @ a.flatten() + b1, 0) + b2
    return _unit(slow_sample(frame, theta, method.zoom, patch.shape[1])), theta, a


def _slow_loss(method: timecycle.TimeCycle, frames: np.ndarray, start: np.ndarray, theta: np.ndarray) -> float:
    """One sample's loss for k = 2, with every cycle written out. frames: (3, D, n, n)."""
    before, last, now = frames

    def follow(*path: np.ndarray):
        patch = start
        for frame in path:
            patch, end, a = _slow_track(method, frame, patch)
        return patch, end, a

    long = [follow(last, now), follow(last, before, last, now)]
    skip = [follow(last, now), follow(before, now)]
    cycles = sum(slow_distance(end, theta, method.zoom) for _, end, _ in (*long, *skip))
    similar = 0.0
    for found, there, a in (follow(last), follow(before)):
        cosine = float((found * start).sum(0).mean())
        similar -= slow_inliers(a, there, method.zoom) if method.inliers else cosine
    return similar + method.weight * cycles


def _slow_map(method: timecycle.TimeCycle, image: torch.Tensor) -> np.ndarray:
    h = method.encoder.map(image[None])[0].flatten(1)
    cells = _unit(torch.relu(method.narrow.weight[:, :, 0, 0] @ h).numpy())
    side = math.isqrt(cells.shape[1])
    return cells.reshape(len(cells), side, side)


def objective() -> Check:
    worst = 0.0
    for counted in (True, False):
        method = _method(inliers=counted, weight=0.3)
        x, patch = torch.randn(2, 3, 1, 32, 32).double(), torch.randn(2, 1, 16, 16).double()
        theta = torch.empty(2, 3).uniform_(-0.5, 0.5).double()
        with torch.no_grad():
            method.narrow.weight *= 30  # cells that differ
            method.localise[0].weight *= 20
            ours = float(method({"x": x, "theta": theta, "patch": patch}).loss)
            slow = [
                _slow_loss(method, np.stack([_slow_map(method, f) for f in row]), _slow_map(method, p), t.numpy())
                for row, p, t in zip(x, patch, theta, strict=True)
            ]
        worst = max(worst, float(abs(ours - sum(slow) / 2) / abs(ours)))
    return Check("the loss is that of all cycles, each written out", worst, 1e-9)


def patch_lies_there() -> Check:
    """The patch shows what theta says of the last frame, and frames of equal ground differ by a shift alone."""
    method = _method(shift=0.2).float()
    wave = torch.linspace(0, 1, 64)[None, :] + 10 * torch.linspace(0, 1, 64)[:, None]
    series = wave.expand(5, 4, 1, 64, 64) + 100 * torch.tensor([2.0, 0.0, 3.0, 1.0])[None, :, None, None, None]
    method.encoder.input = Input(("a",), 64)
    dates = torch.tensor([30, 10, 40, 20]).expand(5, 4)
    made = method.prepare({"series": series, "dates": dates}, Draws(0, 0, torch.arange(5)))
    x, theta, patch = made["x"], made["theta"], made["patch"]
    rank = (x.mean((2, 3, 4)) / 100).floor()
    order = float((rank.diff(dim=1) <= 0).sum())
    slow = np.stack([slow_sample(f.numpy(), t.numpy(), 0.5, 16) for f, t in zip(x[:, -1], theta, strict=True)])
    found = float(np.abs(patch.numpy() - slow).max()) / 100
    flat = x - 100 * rank[:, :, None, None, None]
    slopes = flat.diff(dim=4).mean((2, 3, 4)), flat.diff(dim=3).mean((2, 3, 4))
    same_turn = float(max((s - s[:, :1]).abs().max() for s in slopes))
    shifted = float((flat.mean((2, 3, 4)).std(dim=1) < 1e-2).sum())
    return Check("patches and registration errors are as drawn", order + found + same_turn + shifted, 1e-3)


def no_look_at_position() -> Check:
    """A patch of the frame itself, cell for cell, draws A to its own cells: 2 x 2 of 4 x 4 from the second row on."""
    frame = F.normalize(torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    a = timecycle.affinity(frame, frame[:, :, 1:3, 1:3]).view(4, 4, 4)
    best = [divmod(int(a[:, :, i].argmax()), 4) for i in range(4)]
    wrong = sum(found != true for found, true in zip(best, ((1, 1), (1, 2), (2, 1), (2, 2)), strict=True))
    theta = torch.zeros(1, 3, dtype=torch.float64)
    share = float(timecycle.inlier_share(torch.eye(16).double()[:, [5, 6, 9, 10]][None], theta, 0.5))
    return Check("a patch finds its own cells, and there they count as inliers", wrong + abs(share - 1), 1e-9)


def no_place_in_the_map() -> Check:
    """Ground that is the same everywhere gives the same cell everywhere, at the border too."""
    with torch.no_grad():
        cells = _method().cells(torch.full((1, 1, 32, 32), 0.7).double())[0].flatten(1)
    apart = (cells - cells[:, :1]).abs().max() / cells.abs().max()
    return Check("a cell does not tell where in the map it is", float(apart), 1e-9)


def series_feature() -> Check:
    method = _method()
    stored = torch.randn(2, 5, 1, 32, 32)
    with torch.no_grad():
        ours = method.embed(stored.double())
        rows = [sum(method.encoder(frame[None].double())[0] for frame in series) / 5 for series in stored]
    return Check("a series is the mean of its dates", float((ours - torch.stack(rows)).abs().max()), 1e-5)


CASES = [
    windows, distances, affinities, inliers, objective, patch_lies_there, no_look_at_position, no_place_in_the_map,
    series_feature,
]  # fmt: skip

_affinity, _distance, _sample = timecycle.affinity, timecycle.distance, timecycle.sample
_track, _view, _cut = timecycle.TimeCycle.track, timecycle.one_view_of_all, timecycle.without_last_stage


def _with_zeros(encoder):
    cut = _cut(encoder)
    for layer in cut.net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.padding_mode = "zeros"
    return cut


def _not_followed(self, frame, patch):
    _, theta, a = _track(self, frame, patch)
    return patch, theta, a


KNOCKOUTS = {
    "a softmax over the frame": lambda patch: patch(
        timecycle, "affinity", lambda frame, query: _affinity(query, frame).transpose(1, 2)
    ),
    "the temperature": lambda patch: patch(
        timecycle, "affinity", lambda frame, query: _affinity(frame, query / math.sqrt(frame.shape[1]))
    ),
    "what was found is looked for next": lambda patch: patch(timecycle.TimeCycle, "track", _not_followed),
    "the turn of a patch": lambda patch: patch(
        timecycle, "sample", lambda maps, theta, zoom, size: _sample(
            maps, theta * torch.tensor([1.0, 1.0, 0.0]).to(theta), zoom, size
        )
    ),
    "a distance over the whole patch": lambda patch: patch(
        timecycle, "distance", lambda found, true, zoom: _distance(found, true, 0.0)
    ),
    "registration errors": lambda patch: patch(
        timecycle, "one_view_of_all", lambda *arguments, apart: _view(*arguments, apart=())
    ),
    "a border that tells no place": lambda patch: patch(timecycle, "without_last_stage", _with_zeros),
    "the order of time": lambda patch: patch(timecycle, "in_time", lambda series, dates: series),
}  # fmt: skip
