"""DPC's loss by loops over images, dates and places and its predictions step by step, from arXiv 1909.04656."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.temporal import dpc
from refimpl.references import Check, compare


def slow_loss(predicted: np.ndarray, every: np.ndarray, first: int) -> float:
    total, count = 0.0, 0
    for b, date, place in np.ndindex(predicted.shape[:3]):
        own = predicted[b, date, place]
        scores = {where: math.exp(float(own @ every[where])) for where in np.ndindex(every.shape[:3])}
        total -= math.log(scores[first + b, date, place] / sum(scores.values()))
        count += 1
    return total / count


def loss() -> Check:
    rng = np.random.default_rng(1)
    return compare(
        "the contrast and its gradient, into targets too, equal loops over images, dates and places",
        lambda predicted, every: dpc.dense_nce(predicted, every, 1),
        lambda predicted, every: slow_loss(predicted, every, 1),
        {"predicted": rng.normal(size=(2, 2, 3, 4)), "every": rng.normal(size=(4, 2, 3, 4))},
    )


def blind_features() -> Check:
    z = torch.ones(3, 2, 4, 5, dtype=torch.float64)
    error = abs(float(dpc.dense_nce(z, z, 0)) - math.log(3 * 2 * 4))
    return Check("equal features cost the logarithm of images x dates x places", error, 1e-9)


def _method(**changes) -> dpc.DPC:
    torch.manual_seed(0)
    method = dpc.DPC({"series": Input(("a",), 32)}, "test_resnet", **{"dim": 6, "memory": 5, **changes})
    return method.double().eval()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_unit(unit: dpc.GRU, x: np.ndarray, state: np.ndarray) -> np.ndarray:
    """One place: update and reset gate, candidate, and the mixture of the old state and the candidate."""
    gates, new, dim = unit.gates, unit.new, len(x)
    w, b = gates.weight.detach().numpy(), gates.bias.detach().numpy()
    both = np.concatenate([x, state])
    update, reset = _sigmoid(w[:dim] @ both + b[:dim]), _sigmoid(w[dim:] @ both + b[dim:])
    w, b = new.weight.detach().numpy(), new.bias.detach().numpy()
    candidate = np.tanh(w @ np.concatenate([x, reset * state]) + b)
    return (1 - update) * state + update * candidate


def slow_prediction(method: dpc.DPC, seen: np.ndarray, unit: dpc.GRU) -> np.ndarray:
    """(T, D) of one place -> (steps, D)."""
    state = np.zeros(seen.shape[1])
    for z in seen:
        state = slow_unit(unit, np.maximum(z, 0), state)
    (w1, b1), (w2, b2) = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in method.foresee[::2])
    found = []
    for _ in range(method.steps):
        z = w2 @ np.maximum(w1 @ state + b1, 0) + b2
        if method.memory is not None:
            p = np.exp(z) / np.exp(z).sum()
            z = sum(share * slot for share, slot in zip(p, method.memory.detach().numpy(), strict=True))
        found.append(z)
        state = slow_unit(unit, np.maximum(z, 0), state)
    return np.stack(found)


def predictions() -> Check:
    worst = 0.0
    for memory in (0, 5):
        method = _method(memory=memory)
        with torch.no_grad():
            for layer in (method.foresee[2], method.aggregate[0].gates, method.aggregate[0].new):
                layer.weight *= 3  # so that no step is almost linear
                layer.bias += 0.3
            seen = torch.randn(2, 4, 3, 6, dtype=torch.float64)
            ours = method.predict(seen, method.aggregate[0]).numpy()
        for b, s in np.ndindex(2, 3):
            slow = slow_prediction(method, seen[b, :, s].numpy(), method.aggregate[0])
            worst = max(worst, float(np.abs(ours[b, :, s] - slow).max()))
    return Check("predictions equal those of one place after the other, step by step", worst, 1e-9)


def objective() -> Check:
    """The whole loss from prepared images, each seen alone: the last dates from the first and the other way."""
    worst = 0.0
    for stage, both_ways in ((-2, True), (-1, False)):
        method = _method(stage=stage, both_ways=both_ways)
        x = torch.randn(2, 4, 1, 64, 64, dtype=torch.float64)
        with torch.no_grad():
            ours = float(method({"x": x}).loss)
            z = torch.stack(
                [torch.stack([_slow_map(method, image[None], stage) for image in row]) for row in x]
            ).numpy()
        slow = 0.0
        for unit, way in zip(method.aggregate, (z, z[:, ::-1]), strict=False):
            predicted = [[slow_prediction(method, way[b, :2, s], unit) for s in range(z.shape[2])] for b in (0, 1)]
            slow += slow_loss(np.array(predicted).transpose(0, 2, 1, 3), way[:, 2:], 0)
        worst = max(worst, abs(ours - slow) / slow)
    return Check("the loss is that of the dates to come, and of those past if both ways", worst, 1e-9)


def _slow_map(method: dpc.DPC, image: torch.Tensor, stage: int) -> torch.Tensor:
    last, (chosen,) = method.encoder.net.forward_intermediates(image, indices=[stage])
    rows = []
    for row in range(chosen.shape[2]):
        for column in range(chosen.shape[3]):
            here = chosen[0, :, row, column]
            whole = last.mean((0, 2, 3)) if stage < -1 else here.new_zeros(0)
            rows.append(method.narrow(torch.cat([here, whole])))
    return torch.stack(rows)


def order_of_time() -> Check:
    """Frames as bright as their date is late, stored in any order, come out in the order of time."""
    method = _method().float()
    dates = torch.tensor([[30, 10, 0, 20], [0, 30, 20, 10]])
    series = dates[:, :, None, None, None].float().expand(2, 4, 1, 32, 32)
    method.view = dpc.View.geometric()
    x = method.prepare({"series": series, "dates": dates + 17000}, Draws(0, 0, torch.arange(2)))["x"].mean((2, 3, 4))
    return Check("dates are put in order", float((x - torch.arange(0.0, 40.0, 10.0)).abs().max()), 1e-3)


def one_view() -> Check:
    method = _method().float()
    series = torch.rand(3, 1, 1, 32, 32).expand(3, 4, 1, 32, 32)
    x = method.prepare({"series": series, "dates": torch.arange(4).expand(3, 4)}, Draws(0, 0, torch.arange(3)))["x"]
    moved = float((x[:, 0] - series[:, 0]).abs().max() < 1e-3)
    return Check("dates are cut and turned together", float((x - x[:, :1]).abs().max()) + moved, 1e-6)


def series_feature() -> Check:
    method = _method()
    stored = torch.randn(2, 5, 1, 32, 32).double()
    with torch.no_grad():
        ours = method.embed(stored)
        rows = [sum(method.encoder(frame[None])[0] for frame in series) / 5 for series in stored.float().double()]
    return Check("a series is the mean of its dates", float((ours - torch.stack(rows)).abs().max()), 1e-5)


CASES = [loss, blind_features, predictions, objective, order_of_time, one_view, series_feature]

_nce = dpc.dense_nce


def _date_by_date(predicted, every, first):
    """Each date contrasted with the same date of other images only."""
    dates = [_nce(predicted[:, k : k + 1], every[:, k : k + 1], first) for k in range(predicted.shape[1])]
    return torch.stack(dates).mean()


def _place_by_place(predicted, every, first):
    places = [_nce(predicted[:, :, s : s + 1], every[:, :, s : s + 1], first) for s in range(predicted.shape[2])]
    return torch.stack(places).mean()


_foresee = dpc.DPC.predict


def _all_at_once(self, seen, aggregate):
    """Every step from the last context, none from the prediction before it."""
    return _foresee(self, seen, aggregate)[:, :1].expand(-1, self.steps, -1, -1)


def _no_memory(self, seen, aggregate):
    state = torch.zeros_like(seen[:, 0])
    for z in seen.unbind(1):
        state = aggregate(F.relu(z), state)
    return torch.stack([self.foresee(state)[..., :1].expand_as(state)] * self.steps, 1)


KNOCKOUTS = {
    "other dates of the same place as negatives": lambda patch: patch(dpc, "dense_nce", _date_by_date),
    "other places as negatives": lambda patch: patch(dpc, "dense_nce", _place_by_place),
    "each place predicts itself": lambda patch: patch(
        dpc, "dense_nce", lambda predicted, every, first: _nce(predicted.roll(1, 2), every, first)
    ),
    "a gradient into the targets": lambda patch: patch(
        dpc, "dense_nce", lambda predicted, every, first: _nce(predicted, every.detach(), first)
    ),
    "a prediction leads to the next": lambda patch: patch(dpc.DPC, "predict", _all_at_once),
    "the memory": lambda patch: patch(dpc.DPC, "predict", _no_memory),
    "the order of time": lambda patch: patch(dpc, "in_time", lambda series, dates: series),
}
