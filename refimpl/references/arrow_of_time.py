"""The direction of a series by loops over places and dates, from Wei et al., CVPR 2018, section 3."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.temporal import arrow_of_time
from refimpl.references import Check, compare


def loss() -> Check:
    def slow(forwards: np.ndarray, backwards: np.ndarray) -> float:
        total = 0.0
        for f, b in zip(forwards, backwards, strict=True):
            total -= math.log(1 / (1 + math.exp(-f))) + math.log(1 - 1 / (1 + math.exp(-b)))
        return total / (2 * len(forwards))

    rng = np.random.default_rng(1)
    inputs = {"forwards": rng.normal(size=5) * 2, "backwards": rng.normal(size=5) * 2}
    return compare(
        "binary cross entropy of both directions and its gradient", arrow_of_time.direction_loss, slow, inputs
    )


def known_points() -> Check:
    zero, sure = torch.zeros(3, dtype=torch.float64), torch.full((3,), 50.0, dtype=torch.float64)
    guess = float(arrow_of_time.direction_loss(zero, zero)) - math.log(2)
    right = float(arrow_of_time.direction_loss(sure, -sure))
    wrong = float(arrow_of_time.direction_loss(-sure, sure)) - 50
    return Check("a guess costs ln 2, the truth nothing", max(abs(guess), abs(right), abs(wrong)), 1e-9)


def _method(**changes) -> arrow_of_time.ArrowOfTime:
    torch.manual_seed(0)
    settings = {"frames": 3, "hidden": 7, **changes}
    method = arrow_of_time.ArrowOfTime({"series": Input(("a",), 64)}, "test_resnet", **settings).double().eval()
    method.fuse[0].weight.data *= 300  # the features of a random network are small: beyond where ReLU is linear
    for module in method.fuse:
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
    return method


def _slow_logit(method: arrow_of_time.ArrowOfTime, shown: torch.Tensor) -> float:
    """(T, C, H, W) as shown -> the mean over places of g of all dates, one place after the other."""
    maps = [method.encoder.map(image[None])[0] for image in shown]
    logits = []
    for row in range(maps[0].shape[1]):
        for column in range(maps[0].shape[2]):
            x = torch.cat([each[:, row, column] for each in maps]).numpy()
            for layer, norm in ((0, 1), (3, 4)):
                w, n = method.fuse[layer].weight.numpy(), method.fuse[norm]
                x = (w @ x - n.running_mean.numpy()) / np.sqrt(n.running_var.numpy() + n.eps)
                x = np.maximum(x * n.weight.numpy() + n.bias.numpy(), 0)
            logits.append(float(method.fuse[6].weight.numpy()[0] @ x) + float(method.fuse[6].bias))
    return sum(logits) / len(logits)


def objective() -> Check:
    """The whole loss, each date seen alone, and its gradient at the last layer."""
    method = _method()
    x = torch.randn(3, 3, 1, 64, 64, dtype=torch.float64)
    weight = method.fuse[6].weight.detach().numpy() * 5
    slow_method = _method()
    slow_method.requires_grad_(False)

    def slow(weight: np.ndarray) -> float:
        slow_method.fuse[6].weight.copy_(torch.from_numpy(weight))
        total = 0.0
        for series in x:
            forwards, backwards = _slow_logit(slow_method, series), _slow_logit(slow_method, series.flip(0))
            total += math.log(1 + math.exp(-forwards)) + math.log(1 + math.exp(backwards))
        return total / 6

    def fast(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(method, {"fuse.6.weight": weight}, ({"x": x},)).loss

    return compare("the loss equals a loop over places and dates", fast, slow, {"weight": weight}, coordinates=2)


def palindrome() -> Check:
    """A series that is its own reverse has no direction: one guess of two is right, and no loss is below ln 2."""
    method = _method()
    x = torch.randn(4, 3, 1, 64, 64, dtype=torch.float64)
    x[:, 2] = x[:, 0]
    with torch.no_grad():
        out = method({"x": x})
    below = max(0.0, math.log(2) - float(out.loss))
    return Check("what reads the same both ways has no direction", abs(float(out.metrics["right"]) - 0.5) + below, 1e-9)


def order_of_time() -> Check:
    """Frames as bright as their date is late come out rising, whichever of them are drawn."""
    method = _method().float()
    method.view = arrow_of_time.View.geometric()
    dates = torch.stack([torch.from_numpy(np.random.default_rng(i).permutation(7)) for i in range(40)])
    series = dates[:, :, None, None, None].float().expand(40, 7, 1, 32, 32)
    x = method.prepare({"series": series, "dates": dates * 30 + 17000}, Draws(0, 0, torch.arange(40)))["x"]
    days = x.mean((2, 3, 4)).round()
    falling = (days.diff(dim=1) <= 0).float().mean()
    unseen = sum(day not in days for day in range(7))
    return Check("dates are shown in the order of time", float(falling) + unseen, 0.0)


def one_view() -> Check:
    method = _method().float()
    series = torch.rand(3, 1, 1, 32, 32).expand(3, 4, 1, 32, 32)
    x = method.prepare({"series": series, "dates": torch.arange(4).expand(3, 4)}, Draws(0, 0, torch.arange(3)))["x"]
    moved = float((x[:, 0] - series[:, 0]).abs().max() < 1e-3)
    return Check("dates are cut and turned together", float((x - x[:, :1]).abs().max()) + moved, 1e-6)


def series_feature() -> Check:
    method = _method()
    stored = torch.randn(2, 5, 1, 64, 64)
    with torch.no_grad():
        ours = method.embed(stored.double())
        rows = [sum(method.encoder(frame[None].double())[0] for frame in series) / 5 for series in stored]
    return Check("a series is the mean of its dates", float((ours - torch.stack(rows)).abs().max()), 1e-5)


CASES = [loss, known_points, objective, palindrome, order_of_time, one_view, series_feature]

_map, _loss = arrow_of_time.ArrowOfTime.direction_map, arrow_of_time.direction_loss

KNOCKOUTS = {
    "the order of time": lambda patch: patch(arrow_of_time, "in_time", lambda series, dates: series),
    "an order in which dates are fused": lambda patch: patch(
        arrow_of_time.ArrowOfTime, "direction_map", lambda self, maps: _map(self, maps.mean(1, True).expand_as(maps))
    ),
    "fusion at each place": lambda patch: patch(
        arrow_of_time.ArrowOfTime, "direction_map", lambda self, maps: _map(self, maps.mean(2, True))
    ),
    "the reverse is backwards": lambda patch: patch(
        arrow_of_time, "direction_loss", lambda forwards, backwards: _loss(forwards, -backwards)
    ),
    "both directions": lambda patch: patch(
        arrow_of_time, "direction_loss", lambda forwards, backwards: _loss(forwards, -forwards)
    ),
}
