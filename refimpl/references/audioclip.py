"""AudioCLIP's loss over three modalities and its code of a location by loops, from section 3 of arXiv 2106.13043."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.cross_modal import audioclip
from refimpl.references import Check, compare

INPUTS = {"image": Input(("a", "b", "c"), 32), "second": Input(("vv", "vh"), 32)}


def slow_pair(a: np.ndarray, b: np.ndarray, every_a: np.ndarray, every_b: np.ndarray, own: np.ndarray, scale) -> float:
    total, scale = 0.0, float(np.asarray(scale))
    for i, j in enumerate(own):
        towards_b = [math.exp(scale * sum(a[i] * row)) for row in every_b]
        towards_a = [math.exp(scale * sum(b[i] * row)) for row in every_a]
        total -= math.log(towards_b[j] / sum(towards_b)) / 2 + math.log(towards_a[j] / sum(towards_a)) / 2
    return total / len(own)


def pair() -> Check:
    """Two of four samples, as the second of two processes sees them."""
    rng = np.random.default_rng(1)
    inputs = {name: rng.normal(size=(n, 5)) for name, n in (("a", 2), ("b", 2), ("every_a", 4), ("every_b", 4))}
    inputs |= {"own": np.array([2, 3]), "scale": np.array(1.7)}
    return compare("the loss of a pair and its gradient equal a loop", audioclip.pair_loss, slow_pair, inputs)


def known_points() -> Check:
    """All embeddings alike: ln N. The two of a sample alike, all others opposite to them: nearly 0."""
    alike, own, scale = torch.ones(4, 1, dtype=torch.float64), torch.arange(4), torch.tensor(30.0)
    error = abs(float(audioclip.pair_loss(alike, alike, alike, alike, own, scale)) - math.log(4))
    apart = torch.eye(4, dtype=torch.float64)
    error += float(audioclip.pair_loss(apart, apart, apart, apart, own, scale))
    return Check("known points: ln N and 0", error, 1e-9)


def _method(**changes) -> audioclip.AudioCLIP:
    torch.manual_seed(0)
    settings = {"dim": 6, "centre": (500.0, 700.0), "span": 4000.0, "waves": 3, **changes}
    return audioclip.AudioCLIP(INPUTS, "test_resnet", **settings)


def objective() -> Check:
    """The loss of four samples from the three networks, one sample after the other, with three different scales."""
    method = _method().eval()
    with torch.no_grad():
        method.log_scale.copy_(torch.tensor([2.0, 5.0, 11.0]).log())
        stored = {name: 20 * torch.randn(4, len(field.bands), 32, 32) for name, field in INPUTS.items()}
        stored["location"] = 1000 * torch.randn(4, 2)
        batch = method.prepare(stored, Draws(0, 0, torch.arange(4)))
        ours, z = float(method(batch).loss), {}
        for name, network in (("image", method.encoder), ("second", method.second), ("location", method.location)):
            rows = [method.project[name](network(row[None]))[0].double().numpy() for row in batch[name]]
            z[name] = np.array([row / math.sqrt(sum(row**2)) for row in rows])
    expected = 0.0
    for a, b, scale in (("image", "second", 2.0), ("image", "location", 5.0), ("second", "location", 11.0)):
        expected += slow_pair(z[a], z[b], z[a], z[b], np.arange(4), scale) / 3
    return Check("the objective by loops over samples and pairs of modalities", abs(ours - expected) / expected, 1e-5)


def location_code() -> Check:
    """Sines and cosines of 4000, 2000 and 1000 m about the centre; far from the origin no digit is lost."""
    method = _method(centre=(500_000.0, 5_000_000.0))
    location = np.array([[500_250.0, 5_000_300.0], [498_100.0, 5_001_900.0]])
    ours = method.location.code(torch.as_tensor(location, dtype=torch.float32))
    error = 0.0
    for row, (east, north) in zip(ours, location):
        phases = [2 * math.pi * x / wave for x in (east - 500_000, north - 5_000_000) for wave in (4000, 2000, 1000)]
        wanted = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
        error = max(error, max(abs(float(a) - b) for a, b in zip(row, wanted)))
    return Check("a location's sines and cosines", error, 1e-6)


def scales() -> Check:
    """They begin at 1 / 0.07, every pair's own learns, and one at its bound stays there but keeps its gradient."""
    method = _method().double().eval()
    error = float((method.log_scale.exp() - 1 / 0.07).abs().max().detach())
    stored = {name: torch.randn(4, len(field.bands), 32, 32) for name, field in INPUTS.items()}
    stored["location"] = 1000 * torch.randn(4, 2)
    batch = {k: v.double() for k, v in method.float().prepare(stored, Draws(0, 0, torch.arange(4))).items()}
    method.double()
    with torch.no_grad():
        method.log_scale.copy_(torch.tensor([9.0, 2.0, 9.0]))
    method.after_step(Progress(1, 2, 0, 1))
    with torch.no_grad():
        error += float((method.log_scale.exp() - torch.tensor([100.0, math.exp(2.0), 100.0])).abs().max())
    method(batch).loss.backward()
    grad = method.log_scale.grad
    error += 3.0 if grad is None else float((grad == 0).sum())
    return Check("scales: their start, their bound and their gradients", error, 1e-4)


CASES = [pair, known_points, objective, location_code, scales]

_pair = audioclip.pair_loss
_forward = audioclip.AudioCLIP.forward


def _two_modalities(self, batch, turn="all"):
    self.pairs, kept = self.pairs[:1], self.pairs
    scale, self.log_scale = self.log_scale, torch.nn.Parameter(self.log_scale[:1].detach())
    out = _forward(self, batch, turn)
    self.pairs, self.log_scale = kept, scale
    return out


def _one_scale(self, batch, turn="all"):
    scale, self.log_scale = self.log_scale, torch.nn.Parameter(self.log_scale.detach().mean().expand(3))
    out = _forward(self, batch, turn)
    self.log_scale = scale
    return out


def _one_way(a, b, every_a, every_b, own, scale):
    return torch.nn.functional.cross_entropy(scale * a @ every_b.T, own)


def _another_partner(a, b, every_a, every_b, own, scale):
    return _pair(a, b, every_a, every_b, own.roll(1), scale)


def _no_negatives(a, b, every_a, every_b, own, scale):
    return -scale * (a * b).sum(1).mean()


KNOCKOUTS = {
    "both directions": lambda patch: patch(audioclip, "pair_loss", _one_way),
    "the partner of the same sample": lambda patch: patch(audioclip, "pair_loss", _another_partner),
    "other samples as negatives": lambda patch: patch(audioclip, "pair_loss", _no_negatives),
    "the third modality": lambda patch: patch(audioclip.AudioCLIP, "forward", _two_modalities),
    "a scale for each pair": lambda patch: patch(audioclip.AudioCLIP, "forward", _one_scale),
    "unit length": lambda patch: patch(audioclip.F, "normalize", lambda x, dim: x),
    "the bound of the scales": lambda patch: patch(audioclip.AudioCLIP, "after_step", lambda self, progress: None),
}  # fmt: skip
