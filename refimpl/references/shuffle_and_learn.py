"""The tuples of Shuffle and Learn by enumeration and its loss by a loop, from arXiv 1603.08561, section 3."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.temporal import shuffle_and_learn
from refimpl.references import Check, compare

DATES = 7


def _method(**changes) -> shuffle_and_learn.ShuffleAndLearn:
    torch.manual_seed(0)
    return shuffle_and_learn.ShuffleAndLearn({"series": Input(("a",), 32)}, "resnet10t", hidden=8, **changes)


def _prepared(count: int = 600, **changes):
    """Times of the frames of many tuples, and their labels: each frame is as bright as its rank in time."""
    method = _method(**changes)
    rng = np.random.default_rng(1)
    dates = np.stack([rng.permutation(DATES) for _ in range(count)])
    series = np.broadcast_to(dates[:, :, None, None, None], (count, DATES, 1, 8, 8)).astype(np.float32)
    batch = {"series": torch.from_numpy(series.copy()), "dates": torch.from_numpy(dates * 30 + 17000)}
    made = method.prepare(batch, Draws(0, 0, torch.arange(count)))
    frames = made["frames"]
    mixed = float((frames.amax((2, 3, 4)) - frames.amin((2, 3, 4))).max())
    return frames.mean((2, 3, 4)).round().long(), made["y"], mixed


def _in_order(first: int, middle: int, last: int) -> bool:
    return first < middle < last or last < middle < first


def labels() -> Check:
    """A tuple is labelled 1 exactly if its middle frame was taken between the other two."""
    times, y, mixed = _prepared()
    wrong = sum(_in_order(*row) != bool(label) for row, label in zip(times.tolist(), y.tolist()))
    return Check("the label says whether the middle frame lies between the others", wrong + mixed, 1e-3)


def every_tuple_occurs() -> Check:
    """With four dates: (b, c, d) of both triples, (b, a, d) and (b, e, d), each forwards and backwards."""
    four = torch.tensor([[0, 1, 2, 3]])
    found = set()
    for bits in range(8):
        flags = [torch.tensor([bool(bits >> i & 1)]) for i in range(3)]
        found.add(tuple(shuffle_and_learn.tuples(four, *flags)[0].tolist()))
    forwards = {(1, 2, 3), (0, 1, 2), (1, 0, 3), (0, 3, 2)}
    wanted = forwards | {t[::-1] for t in forwards}
    return Check("the tuples of four dates are those of the paper", float(len(found ^ wanted)), 0.0)


def shares() -> Check:
    """A quarter in order, half of all reversed, and first and last frame say nothing about the label."""
    times, y, _ = _prepared(4000)
    forwards = (times[:, 2] > times[:, 0]).float().mean()
    worst = max(abs(float(y.float().mean()) - 0.25), abs(float(forwards) - 0.5))
    span = (times[:, 2] - times[:, 0]).abs().float()
    # The same three of four dates are drawn whatever the label, so spans are alike: 2.67 of 6 dates on average.
    apart = abs(float(span[y == 1].mean() - span[y == 0].mean())) / 6
    return Check("a quarter of the tuples are in order and their ends give nothing away", max(worst, apart), 0.03)


def loss() -> Check:
    """Cross entropy of the classifier on the joined features of each frame alone, by a loop."""
    method = _method().double().eval()
    frames = torch.randn(5, 3, 1, 32, 32, dtype=torch.float64)
    y = torch.tensor([1, 0, 0, 1, 0])
    with torch.no_grad():
        joined = [torch.cat([method.encoder(frame[None]) for frame in row], 1) for row in frames]
        hidden = torch.cat([method.classifier[:-1](row) for row in joined]).numpy()
    w, b = (p.detach().numpy() for p in (method.classifier[-1].weight, method.classifier[-1].bias))

    def slow(weight: np.ndarray) -> float:
        total = 0.0
        for row, label in zip(hidden, y.tolist()):
            scores = [float(weight[k] @ row) + b[k] for k in (0, 1)]
            total -= scores[label] - math.log(math.exp(scores[0]) + math.exp(scores[1]))
        return total / len(hidden)

    def fast(weight: torch.Tensor) -> torch.Tensor:
        changed = {f"classifier.{len(method.classifier) - 1}.weight": weight}
        return torch.func.functional_call(method, changed, ({"frames": frames, "y": y},)).loss

    return compare("the loss and its gradient equal a loop over tuples", fast, slow, {"weight": w})


def frames_share_their_view() -> Check:
    """Three equal frames stay equal: crop, flip and turn are those of the tuple."""
    method = _method()
    image = torch.randn(6, 1, 1, 32, 32)
    batch = {"series": image.expand(6, 5, 1, 32, 32), "dates": torch.arange(5).expand(6, 5)}
    frames = method.prepare(batch, Draws(0, 0, torch.arange(6)))["frames"]
    moved = float((frames[:, 0] - image[:, 0]).abs().max() < 1e-3)
    return Check(
        "the frames of a tuple are cropped and turned together",
        float((frames - frames[:, :1]).abs().max()) + moved,
        1e-5,
    )


def series_feature() -> Check:
    method = _method().eval()
    stored = torch.randn(2, 5, 1, 32, 32)
    with torch.no_grad():
        ours = method.embed(stored)
        rows = [
            sum(method.encoder(method.encoder.normalise(frame[None]))[0] for frame in series) / 5 for series in stored
        ]
    return Check("a series is the mean of its dates", float((ours - torch.stack(rows)).abs().max()), 1e-5)


CASES = [labels, every_tuple_occurs, shares, loss, frames_share_their_view, series_feature]

_tuples = shuffle_and_learn.tuples


def _ends_tell(four, early, right, reverse):
    """Wrong tuples by swapping two frames of b, c, d: then the ends differ between the classes."""
    made = _tuples(four, early, torch.ones_like(right), reverse)
    return torch.where(right[:, None], made, made[:, [1, 0, 2]])


_prepare = shuffle_and_learn.ShuffleAndLearn.prepare


def _as_stored(self, batch, draws):
    as_they_lie = torch.arange(batch["dates"].shape[1]).expand_as(batch["dates"])
    return _prepare(self, {**batch, "dates": as_they_lie}, draws)


KNOCKOUTS = {
    "wrong tuples with the same ends": lambda patch: patch(shuffle_and_learn, "tuples", _ends_tell),
    "the order of time": lambda patch: patch(shuffle_and_learn.ShuffleAndLearn, "prepare", _as_stored),
    "the middle frame from outside": lambda patch: patch(
        shuffle_and_learn, "tuples", lambda four, early, right, reverse: _tuples(four, early, ~right, reverse)
    ),
    "a tuple and its reverse alike": lambda patch: patch(
        shuffle_and_learn, "tuples", lambda four, early, right, reverse: _tuples(four, early, right, reverse & False)
    ),
}  # fmt: skip
