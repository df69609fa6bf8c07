"""The context encoder's losses by loops, and what its encoder may not see, from arXiv 1604.07379 section 3."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.inpainting import context_encoder
from refimpl.references import Check, compare


def slow_reconstruction(x: np.ndarray, painted: np.ndarray, mask: np.ndarray) -> float:
    total, count = 0.0, 0
    for b, c, i, j in np.ndindex(x.shape):
        if mask[b, 0, i, j]:
            total += (x[b, c, i, j] - painted[b, c, i, j]) ** 2
            count += 1
    return total / count


def slow_adversarial(real: np.ndarray, painted: np.ndarray) -> float:
    def probability(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    value = sum(math.log(probability(v)) for v in real) / len(real)
    value += sum(math.log(1 - probability(v)) for v in painted) / len(painted)
    return -value


def reconstruction() -> Check:
    rng = np.random.default_rng(5)
    mask = (rng.random((2, 1, 4, 4)) < 0.4).astype(float)
    return compare(
        "reconstruction loss and its gradient equal a loop over missing pixels (Eq. 1)",
        lambda x, painted: context_encoder.reconstruction_loss(x, painted, torch.from_numpy(mask).to(x.device)),
        lambda x, painted: slow_reconstruction(x, painted, mask),
        {"x": rng.normal(size=(2, 3, 4, 4)), "painted": rng.normal(size=(2, 3, 4, 4))},
    )


def adversary() -> Check:
    rng = np.random.default_rng(6)
    return compare(
        "discriminator loss and its gradient equal Eq. 2 written out",
        context_encoder.discriminator_loss,
        slow_adversarial,
        {"real": rng.normal(size=7), "painted": rng.normal(size=7)},
    )


def generator() -> Check:
    return compare(
        "generator loss is minus the mean of log D",
        context_encoder.generator_loss,
        lambda painted: sum(math.log(1 + math.exp(-v)) for v in painted) / len(painted),
        {"painted": np.random.default_rng(7).normal(size=7)},
    )


def _method() -> context_encoder.ContextEncoder:
    torch.manual_seed(0)
    inputs = {"image": Input(("a", "b"), 32)}
    return context_encoder.ContextEncoder(inputs, "resnet10t", decoder_width=8).eval()


def missing_pixels_stay_missing() -> Check:
    method = _method()
    x, mask = torch.randn(3, 2, 32, 32), context_encoder.random_region(Draws(0, 0, torch.arange(3)), 32)
    other = torch.where(mask > 0, torch.randn_like(x), x)
    with torch.no_grad():
        difference = method.paint(x, mask)[0] - method.paint(other, mask)[0]
    return Check("what was taken out cannot be seen", float(difference.abs().max()), 1e-6)


def region_size() -> Check:
    mask = context_encoder.random_region(Draws(0, 0, torch.arange(8)), 64)
    return Check("a quarter of every image is taken out", float((mask.mean((1, 2, 3)) - 0.25).abs().max()), 0.01)


def adversary_reaches_the_generator() -> Check:
    """The generator's loss must fall when its paintings look real to the discriminator: the two share a gradient."""
    method = _method()
    batch = {"x": torch.randn(2, 2, 32, 32), "mask": torch.ones(2, 1, 32, 32)}
    with torch.no_grad():
        out = method(batch, "generator")
        method.discriminator[-2].bias += 5.0
        fooled = method(batch, "generator")
    worth = method.weight_adv * float(out.metrics["adv"] - fooled.metrics["adv"])
    gain = float(out.loss - fooled.loss)
    error = abs(gain - worth) / gain if gain > 0 else 1.0
    return Check("looking real lowers the generator's loss by the adversary's weight", error, 1e-3)


CASES = [
    reconstruction,
    adversary,
    generator,
    missing_pixels_stay_missing,
    region_size,
    adversary_reaches_the_generator,
]

KNOCKOUTS = {
    "the hole": lambda patch: patch(
        context_encoder.ContextEncoder,
        "paint",
        lambda self, x, mask, original=context_encoder.ContextEncoder.paint: original(self, x, mask * 0),
    ),
    "the adversary": lambda patch: patch(context_encoder, "generator_loss", lambda painted: painted.sum() * 0),
    "the loss on missing pixels only": lambda patch: patch(
        context_encoder, "reconstruction_loss", lambda x, painted, mask: (x - painted).square().mean()
    ),
}
