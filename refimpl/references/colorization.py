"""Colorization's bins, weights and loss by loops, from Eq. 2 to 5 of arXiv 1603.08511."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.method import EpochTools
from refimpl.methods.predictive import colorization
from refimpl.parts import colours as part
from refimpl.references import Check, compare

BANDS = ("B02", "B03", "B04", "B08")


def slow_shares(colour: np.ndarray, centres: np.ndarray, sigma: float, nearest: int) -> dict[int, float]:
    """Z of one place: bin -> share."""
    distance = [math.sqrt(sum((a - b) ** 2 for a, b in zip(colour, centre))) for centre in centres]
    chosen = sorted(range(len(centres)), key=lambda q: distance[q])[:nearest]
    weight = {q: math.exp(-(distance[q] ** 2) / (2 * sigma**2)) for q in chosen}
    return {q: value / sum(weight.values()) for q, value in weight.items()}


def slow_weights(p: list[float], centres: np.ndarray, sigma: float, mix: float) -> list[float]:
    smooth = []
    for a in centres:
        kernel = [math.exp(-sum((u - v) ** 2 for u, v in zip(a, b)) / (2 * sigma**2)) for b in centres]
        smooth.append(sum(k * share for k, share in zip(kernel, p)))
    smooth = [s / sum(smooth) for s in smooth]
    w = [1 / ((1 - mix) * s + mix / len(p)) for s in smooth]
    expected = sum(s * value for s, value in zip(smooth, w))
    return [value / expected for value in w]


def slow_loss(logits: np.ndarray, colours: np.ndarray, centres: np.ndarray, sigma: float, w, nearest: int) -> float:
    """logits: (places, Q); colours: (places, d)."""
    total = 0.0
    for row, colour in zip(logits, colours):
        z = slow_shares(colour, centres, sigma, nearest)
        norm = math.log(sum(math.exp(v) for v in row))
        total -= w[max(z, key=z.get)] * sum(share * (row[q] - norm) for q, share in z.items())
    return total / len(logits)


def shares() -> Check:
    rng = np.random.default_rng(1)
    colours, centres = rng.normal(size=(6, 3)), rng.normal(size=(9, 3))
    index, share = part.soft_encode(
        torch.from_numpy(colours), torch.from_numpy(centres), torch.tensor(0.8, dtype=torch.float64), 5
    )
    error = 0.0
    for i, colour in enumerate(colours):
        z = slow_shares(colour, centres, 0.8, 5)
        error += set(z) != set(index[i].tolist()) or max(z, key=z.get) != int(index[i, 0])
        error = max(error, *(abs(z.get(q, 9.0) - s) for q, s in zip(index[i].tolist(), share[i].tolist())))
    return Check("a colour is shared out among its five nearest bins", float(error), 1e-9)


def weights() -> Check:
    rng = np.random.default_rng(2)
    p, centres, error = rng.dirichlet(np.ones(7)), rng.normal(size=(7, 2)), 0.0
    for mix in (0.0, 0.5, 1.0):
        sigma = torch.tensor(0.5, dtype=torch.float64)
        ours = part.rarity(torch.from_numpy(p), torch.from_numpy(centres), sigma, mix).numpy()
        error = max(error, float(np.abs(ours - slow_weights(list(p), centres, 0.5, mix)).max()))
    return Check("rare colours count more, by Eq. 4", error + float(np.abs(ours - 1).max()), 1e-9)


def loss() -> Check:
    rng = np.random.default_rng(3)
    colours, centres, w = rng.normal(size=(8, 2)), rng.normal(size=(6, 2)), rng.uniform(0.5, 3, size=6)
    index, share = part.soft_encode(
        torch.from_numpy(colours), torch.from_numpy(centres), torch.tensor(0.7, dtype=torch.float64), 3
    )
    index, share = index.view(2, 2, 2, -1), share.view(2, 2, 2, -1)
    return compare(
        "the loss and its gradient equal loops over places and bins",
        lambda logits: part.colour_loss(logits.view(2, 2, 2, 6), index, share, torch.from_numpy(w)),
        lambda logits: slow_loss(logits, colours, centres, 0.7, w, 3),
        {"logits": rng.normal(size=(8, 6))},
    )


def annealed() -> Check:
    """By Eq. 5; at T = 1 the mean, and near 0 the most likely colour."""
    rng = np.random.default_rng(4)
    logits, centres, error = rng.normal(size=(5, 6)), rng.normal(size=(6, 2)), 0.0
    for t in (0.01, 0.38, 1.0):
        ours = colorization.annealed_mean(torch.from_numpy(logits), torch.from_numpy(centres), t).numpy()
        for row, colour in zip(logits, ours):
            z = [math.exp(v) / sum(math.exp(u) for u in row) for v in row]
            sharp = [math.exp(math.log(v) / t) for v in z]
            expected = sum(v / sum(sharp) * centre for v, centre in zip(sharp, centres))
            error = max(error, float(np.abs(expected - colour).max()))
    return Check("the annealed mean of the bins, by Eq. 5", error, 1e-9)


def known_points() -> Check:
    """Equal logits cost ln Q where all bins count the same; the true shares cost their own entropy."""
    rng = np.random.default_rng(5)
    colours, centres = torch.from_numpy(rng.normal(size=(7, 3))), torch.from_numpy(rng.normal(size=(5, 3)))
    index, share = part.soft_encode(colours, centres, torch.tensor(1.0, dtype=torch.float64), 5)
    one = torch.ones(5, dtype=torch.float64)
    guess = float(part.colour_loss(torch.zeros(7, 5, dtype=torch.float64), index, share, one))
    truth = torch.zeros(7, 5, dtype=torch.float64).scatter(1, index, share)
    right = float(part.colour_loss(truth.log(), index, share, one))
    error = abs(guess - math.log(5)) + abs(right + float((truth * truth.log()).sum(1).mean()))
    return Check("known points: ln Q and the entropy of the shares", error, 1e-9)


def _method(bands: str = "") -> colorization.Colorization:
    torch.manual_seed(0)
    inputs = {"image": Input(BANDS, 32)}
    return colorization.Colorization(inputs, "test_resnet", bands=bands, colours=3, width=8).eval()


def colours_stay_unseen() -> Check:
    """Features of images that differ in colour alone are equal; light and colour together are the whole image."""
    x, other = torch.randn(2, 4, 32, 32), torch.randn(2, 4, 32, 32)
    wrong = 0.0
    with torch.no_grad():
        encoder = _method().encoder
        recoloured = other - other.mean(1, keepdim=True) + x.mean(1, keepdim=True)
        wrong = max(wrong, float((encoder(recoloured) - encoder(x)).abs().max()))
        wrong += float((encoder.light(x) + encoder.colour(x) - x).abs().max())
        encoder = _method("B08,B02").encoder
        recoloured = torch.cat([x[:, :1], other[:, 1:3], x[:, 3:]], 1)
        wrong = max(wrong, float((encoder(recoloured) - encoder(x)).abs().max()))
        wrong += float((encoder.colour(x) - x[:, 1:3]).abs().max())
        seen = float((encoder(x.roll(1, 0)) - encoder(x)).abs().max())
    return Check("the encoder sees no colour", wrong + (seen == 0), 1e-5)


def bins_of_the_data() -> Check:
    """Images of three colours, 1/2, 3/8 and 1/8 of them: these are the bins, and their weights are those of Eq. 4."""
    method = _method()
    paint = np.array([[10.0, 0, 0, 0], [0, 10.0, 0, 10.0], [0, 0, 40.0, 0]])
    image = np.concatenate([np.tile(paint[i][None, :, None, None], (n, 1, 8, 8)) for i, n in enumerate((16, 12, 4))])
    data = Data("paint", {"image": image}, method.inputs, {"train": np.arange(32)})
    p, colours = [0.5, 0.375, 0.125], paint - paint.mean(1, keepdims=True)
    error = float("inf")
    for seed in range(8):  # k-means begins with points at random, of which two may be one; then another start is due
        tools = EpochTools(lambda: None, lambda parameters: None, torch.Generator().manual_seed(seed))
        method.before_epoch(0, data, tools)
        centres = method.bins.centres.double().numpy()
        order = [int(np.abs(centres - colour).sum(1).argmin()) for colour in colours]
        if len(set(order)) == 3:
            distance = [[np.linalg.norm(a - b) for b in colours] for a in colours]
            sigma = np.mean([min(row[:i] + row[i + 1 :]) for i, row in enumerate(distance)]) / 2
            error = max(abs(sigma - float(method.bins.sigma)), float(np.abs(centres[order] - colours).max()))
            expected = slow_weights(p, colours, sigma, 0.5)
            error = max(error, *(abs(float(method.bins.w[q]) - v) for q, v in zip(order, expected)))
            break
    return Check("bins and weights are those of the data", float(error), 1e-5)


def whole() -> Check:
    """The method's loss from its own prediction: the true colour of a place is the mean of its pixels."""
    method = _method().double()
    x = torch.randn(2, 4, 32, 32, dtype=torch.float64)
    method.bins.centres.normal_()
    method.bins.w.uniform_(0.5, 2)
    made = []
    method.painter.register_forward_hook(lambda module, arguments, output: made.append(output))
    with torch.no_grad():
        ours = float(method(dict(x=x)).loss)
    logits, colours = made[0].permute(0, 2, 3, 1).reshape(-1, 3).numpy(), []
    for b, r, c in np.ndindex(2, 8, 8):
        block = x[b, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].numpy()
        colours.append((block - block.mean(0)).mean((1, 2)))
    expected = slow_loss(logits, np.array(colours), method.bins.centres.numpy(), 1.0, method.bins.w.tolist(), 5)
    return Check("the loss of a batch equals loops over its places", float(abs(ours - expected) / expected), 1e-6)


CASES = [shares, weights, loss, annealed, known_points, colours_stay_unseen, bins_of_the_data, whole]


def _hard(colours, centres, sigma, nearest, original=part.soft_encode):
    return original(colours, centres, sigma, 1)


def _rough(p, centres, sigma, mix, original=part.rarity):
    return original(p, centres, sigma * 1e-3, mix)


KNOCKOUTS = {
    "rare colours that count more": lambda patch: patch(
        part, "rarity", lambda p, centres, sigma, mix: torch.ones_like(p)
    ),
    "the smoothed distribution": lambda patch: patch(part, "rarity", _rough),
    "colours shared out among bins": lambda patch: patch(part, "soft_encode", _hard),
    "the weight of the nearest bin": lambda patch: patch(
        colorization,
        "colour_loss",
        lambda logits, index, share, w, original=part.colour_loss: original(logits, index, share, w.roll(1)),
    ),
    "classes, not the mean colour": lambda patch: patch(
        colorization, "colour_loss", lambda logits, index, share, w: (logits.gather(-1, index) - share).square().mean()
    ),
    "annealing": lambda patch: patch(
        colorization,
        "annealed_mean",
        lambda logits, centres, t, original=colorization.annealed_mean: original(logits, centres, 1.0),
    ),
    "an encoder that sees no colour": lambda patch: patch(
        part.Colourless, "light", lambda self, x: x[:, : max(1, len(self.shown))]
    ),
    "bins from the data": lambda patch: patch(
        part, "k_means", lambda x, k, generator: (torch.randn(k, x.shape[1]), torch.arange(len(x)) % k)
    ),
}
