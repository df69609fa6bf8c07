"""Audio-visual correspondence by loops over pairs, from sections 2 and 3 of arXiv 1705.08168 and 2 of 1712.06651."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.cross_modal import audio_visual_correspondence as avc
from refimpl.references import Check, compare


def slow_loss(scores: np.ndarray, own: np.ndarray) -> float:
    """Softmax over two classes with the logits (0, T)."""
    together, apart = [], []
    for i, row in enumerate(scores):
        for j, t in enumerate(row):
            p = math.exp(t) / (1 + math.exp(t))
            if j == own[i]:
                together.append(-math.log(p))
            else:
                apart.append(-math.log(1 - p))
    return sum(together) / len(together) / 2 + sum(apart) / len(apart) / 2


def loss() -> Check:
    """Two of four places, as the second of two processes sees them."""
    return compare(
        "the loss and its gradient equal a loop over pairs",
        lambda scores, own: avc.correspondence(scores, own)[0],
        slow_loss,
        {"scores": 2 * np.random.default_rng(1).normal(size=(2, 4)), "own": np.array([2, 3])},
    )


def known_points() -> Check:
    """A guess costs ln 2 and is right half of the time; sure and right costs nothing."""
    own, zero = torch.arange(4), torch.zeros(4, 4, dtype=torch.float64)
    sure = 60 * torch.eye(4, dtype=torch.float64) - 30
    error = abs(float(avc.correspondence(zero, own)[0]) - math.log(2))
    error += float(avc.correspondence(sure, own)[0]) + 1 - float(avc.correspondence(sure, own)[1])
    error += abs(float(avc.correspondence(-sure, own)[0]) - 30) + float(avc.correspondence(-sure, own)[1])
    always = torch.ones(4, 4, dtype=torch.float64)
    error += abs(float(avc.correspondence(always, own)[1]) - 0.5)
    return Check("known points: ln 2 for a guess, 0 for certainty", error, 1e-9)


def joined() -> Check:
    """Each pair's features in one row, through both layers."""
    torch.manual_seed(0)
    network = avc.Joined(3, 4, 5).double()
    weight = torch.cat([network.first.weight, network.second.weight], 1).detach().numpy()
    bias, last, offset = (p.detach().numpy() for p in (network.first.bias, network.last.weight[0], network.last.bias))

    def slow(f: np.ndarray, g: np.ndarray) -> float:
        hidden = [[np.maximum(weight @ np.concatenate([a, b]) + bias, 0) for b in g] for a in f]
        return sum((float(last @ h) + offset[0]) ** 3 for row in hidden for h in row)

    rng = np.random.default_rng(2)
    inputs = {"f": rng.normal(size=(2, 3)), "g": rng.normal(size=(3, 4))}
    return compare(
        "the joined form sees both features of each pair", lambda f, g: network(f, g).pow(3).sum(), slow, inputs
    )


def distance() -> Check:
    torch.manual_seed(0)
    network = avc.Distance(3, 4, 5).double()

    def unit(network: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
        (a, c), (b, d) = ((layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in network[::2])
        y = b @ np.maximum(a @ x + c, 0) + d
        return y / math.sqrt(sum(y**2))

    def slow(f: np.ndarray, g: np.ndarray) -> float:
        total = 0.0
        for a in f:
            for b in g:
                between = unit(network.first, a) - unit(network.second, b)
                total += (-5 * math.sqrt(sum(between**2)) + 5) ** 3
        return total

    rng = np.random.default_rng(3)
    inputs = {"f": rng.normal(size=(2, 3)), "g": rng.normal(size=(3, 4))}
    return compare(
        "the other form is a line in the distance of unit vectors",
        lambda f, g: network(f, g).pow(3).sum(),
        slow,
        inputs,
    )


INPUTS = {"image": Input(("a", "b", "c"), 32), "second": Input(("vv", "vh"), 32)}


def _objective(form: str) -> Check:
    """The loss of four places from their two images, one place after the other."""
    torch.manual_seed(0)
    method = avc.AudioVisualCorrespondence(INPUTS, "test_resnet", form=form, hidden=6).eval()
    stored = {name: 20 * torch.randn(4, len(field.bands), 32, 32) for name, field in INPUTS.items()}
    with torch.no_grad():
        batch = method.prepare(stored, Draws(0, 0, torch.arange(4)))
        ours = float(method(batch).loss)
        f = [method.encoder(x[None]) for x in batch["x"]]
        g = [method.second(x[None]) for x in batch["second"]]
        scores = np.array([[float(method.together(a, b)) for b in g] for a in f])
        spread = scores.std()
    expected = slow_loss(scores.astype(float), np.arange(4))
    return Check(f"the objective by loops over places: {form}", abs(ours - expected) / expected + (spread < 1e-3), 1e-5)


def joined_objective() -> Check:
    return _objective("joined")


def distance_objective() -> Check:
    return _objective("distance")


def altered_apart() -> Check:
    """The same picture for both sensors: their views must be of different pieces of it, each turned by itself."""
    torch.manual_seed(0)
    same = {"image": Input(("a",), 32), "second": Input(("a",), 32)}
    method = avc.AudioVisualCorrespondence(same, "test_resnet")
    image = torch.randn(1, 1, 32, 32).expand(40, -1, -1, -1)
    batch = method.prepare({"image": image, "second": image}, Draws(0, 0, torch.arange(40)))

    def shape(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        return (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)

    alike = (shape(batch["x"]) * shape(batch["second"])).mean(1)
    return Check("both images are cropped and turned alike", float((alike > 0.999).float().mean()), 0.02)


CASES = [loss, known_points, joined, distance, joined_objective, distance_objective, altered_apart]

_pairs = avc.own_and_others


def _one_view(self, batch, draws):
    (x,) = avc.random_views(batch["image"], self.views[1:], self.encoder, draws.to(draws.rows.device))
    (second,) = avc.random_views(batch["second"], self.views[1:], self.second, draws)
    return {"x": x, "second": second}


KNOCKOUTS = {
    "pairs of two places": lambda patch: patch(
        avc, "own_and_others", lambda scores, own: (_pairs(scores, own)[0], torch.full_like(scores, float("-inf")))
    ),
    "the partner of the same place": lambda patch: patch(
        avc, "own_and_others", lambda scores, own: _pairs(scores, own.roll(1))
    ),
    "both classes counting half": lambda patch: patch(
        avc, "correspondence", lambda scores, own: (torch.nn.functional.binary_cross_entropy_with_logits(
            scores, torch.nn.functional.one_hot(own, scores.shape[1]).to(scores)
        ), scores.mean())
    ),
    "a network that sees both": lambda patch: patch(
        avc.Joined, "forward", lambda self, f, g: self.last(self.first(f).relu()) + self.last(self.second(g).relu()).T
    ),
    "unit length before the distance": lambda patch: patch(avc.F, "normalize", lambda x, dim: x),
    "views of their own": lambda patch: patch(avc.AudioVisualCorrespondence, "prepare", _one_view),
}  # fmt: skip
