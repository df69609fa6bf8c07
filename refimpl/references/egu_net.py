"""EGU-Net by loops: each loss term, the forward pass of both streams, pseudo-abundances by trying every support."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import torch
from torch.func import functional_call

from refimpl.data.dataset import Input
from refimpl.methods.hyperspectral import egu_net
from refimpl.references import Check, compare

BANDS, ENDMEMBERS, PIXELS = 4, 3, 5


def slow_guidance(logits: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for z, labels in zip(logits, y):
        normaliser = sum(math.exp(v) for v in z)
        total -= sum(label * math.log(math.exp(v) / normaliser) for v, label in zip(z, labels))
    return total / len(logits)


def slow_reconstruction(rebuilt: np.ndarray, x: np.ndarray) -> float:
    return sum((a - b) ** 2 for p, q in zip(rebuilt, x) for a, b in zip(p, q)) / x.size


def slow_nnls(spectrum: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """The best non-negative combination: least squares on every subset of endmembers, of which the feasible best."""
    best, best_error = np.zeros(len(endmembers)), float(spectrum @ spectrum)
    for size in range(1, len(endmembers) + 1):
        for support in map(list, itertools.combinations(range(len(endmembers)), size)):
            share = np.linalg.lstsq(endmembers[support].T, spectrum, rcond=None)[0]
            error = float(np.sum((share @ endmembers[support] - spectrum) ** 2))
            if (share >= 0).all() and error < best_error - 1e-15:
                best, best_error = np.zeros(len(endmembers)), error
                best[support] = share
    return best


def _layer(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear layer, then batch normalisation at its initial scale 1 and shift 0, unit by unit."""
    out = np.empty((len(x), len(weight)))
    for unit, w in enumerate(weight):
        z = x @ w
        mean = z.sum() / len(z)
        out[:, unit] = (z - mean) / math.sqrt(((z - mean) ** 2).sum() / len(z) + 1e-5)
    return out


def slow_loss(method: egu_net.EGUNet, batch: dict[str, np.ndarray], first: np.ndarray, head: np.ndarray) -> float:
    """Objective of one batch, without weight decay, with `first` and `head` as the weights of *both* streams."""
    x = np.concatenate([batch["pure"], batch["mixed"]])
    keep = np.concatenate([batch["keep"][:, 0], batch["keep"][:, 1]])
    h = np.tanh(_layer(x, first) * keep)
    h = np.tanh(_layer(h, method.encoder.linear[1].weight.detach().numpy()))
    h = np.maximum(_layer(h, method.encoder.linear[2].weight.detach().numpy()), 0)
    z = h @ head.T + method.head.bias.detach().numpy()
    half = len(x) // 2
    code = np.array([[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z[half:]])
    for layer in method.decoder:
        if isinstance(layer, torch.nn.Linear):
            code = 1 / (1 + np.exp(-_layer(code, layer.weight.detach().numpy())))
    return slow_guidance(z[:half], batch["y"]) + method.weight * slow_reconstruction(code, batch["target"])


def _method(**options) -> egu_net.EGUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = {"spectrum": Input(tuple(f"b{i}" for i in range(BANDS)), 1)}
        return egu_net.EGUNet(inputs, endmembers=ENDMEMBERS, **options).double()


def _abundances(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.dirichlet(np.ones(ENDMEMBERS), rows)


def guidance_term() -> Check:
    rng = np.random.default_rng(1)
    z, y = 3 * rng.normal(size=(PIXELS, ENDMEMBERS)), _abundances(rng, PIXELS)
    name = "guidance and its gradient equal a loop over pixels and endmembers"
    return compare(name, lambda logits: egu_net.guidance(logits, torch.tensor(y)),
                   lambda logits: slow_guidance(logits, y), {"logits": z})  # fmt: skip


def reconstruction_term() -> Check:
    rng = np.random.default_rng(2)
    x = rng.uniform(size=(PIXELS, BANDS))
    name = "reconstruction and its gradient equal a loop over pixels and bands"
    return compare(name, lambda rebuilt: egu_net.reconstruction(rebuilt, torch.tensor(x)),
                   lambda rebuilt: slow_reconstruction(rebuilt, x), {"rebuilt": rng.uniform(size=x.shape)})  # fmt: skip


def siamese_loss() -> Check:
    rng = np.random.default_rng(3)
    method = _method(weight=20.0)
    keep = rng.integers(0, 2, size=(PIXELS, 2, method.encoder.hidden)) * 2.0
    batch = {
        "pure": rng.normal(size=(PIXELS, BANDS)), "mixed": rng.normal(size=(PIXELS, BANDS)),
        "y": _abundances(rng, PIXELS), "target": rng.uniform(size=(PIXELS, BANDS)), "keep": keep,
    }  # fmt: skip
    tensors = {name: torch.tensor(value) for name, value in batch.items()}

    def fast(first, head):
        weights = {"encoder.linear.0.weight": first, "head.weight": head}
        return functional_call(method, weights, (tensors,)).loss

    weights = {
        "first": method.encoder.linear[0].weight.detach().numpy().copy(),
        "head": method.head.weight.detach().numpy().copy(),
    }
    name = "the loss equals a loop over both streams, and its gradient that of weights which both streams share"
    return compare(name, fast, lambda first, head: slow_loss(method, batch, first, head), weights, tolerance=1e-5)


def constraints() -> Check:
    rng = np.random.default_rng(4)
    method = _method().eval()
    with torch.no_grad():
        a = method.abundances(torch.tensor(10 * rng.normal(size=(50, BANDS)))).double()
    error = max(float((a.sum(1) - 1).abs().max()), float((-a).clamp(min=0).max()))
    return Check("abundances are non-negative and sum to one", error, 1e-6)


def pseudo_labels() -> Check:
    rng = np.random.default_rng(5)
    endmembers, pure = rng.uniform(size=(ENDMEMBERS, BANDS)), rng.uniform(size=(40, BANDS))
    fits = np.array([slow_nnls(spectrum, endmembers) for spectrum in pure])
    expected = fits / fits.sum(1, keepdims=True)
    error = float(np.abs(egu_net.pseudo_abundances(pure, endmembers) - expected).max())
    return Check("pseudo-abundances equal the best of all subsets of endmembers", error, 1e-9)


def brightness() -> Check:
    rng = np.random.default_rng(6)
    endmembers, y = rng.uniform(size=(ENDMEMBERS, BANDS)), _abundances(rng, 20)
    lit = (y @ endmembers) * rng.uniform(0.3, 2.0, size=(20, 1))
    error = float(np.abs(egu_net.pseudo_abundances(lit, endmembers) - y).max())
    return Check("pseudo-abundances of exact mixtures are exact, however bright", error, 1e-9)


CASES = [guidance_term, reconstruction_term, siamese_loss, constraints, pseudo_labels, brightness]


def _unshared(self, pure, mixed, keep):
    """Two networks of equal weights instead of one: the guide teaches a copy."""
    encoder, head = copy.deepcopy(self.encoder), copy.deepcopy(self.head)
    for parameter in [*encoder.parameters(), *head.parameters()]:
        parameter.detach_()
    both, keep = torch.cat([pure, mixed]), torch.cat([keep[:, 0], keep[:, 1]])
    features = self.encoder(both, keep)
    return head(encoder(both, keep)).chunk(2)[0], self.head(features).chunk(2)[1], features.chunk(2)[1]


KNOCKOUTS = {
    "guidance by endmembers": lambda patch: patch(egu_net, "guidance", lambda logits, y: 0.0 * logits.sum()),
    "weights shared by both streams": lambda patch: patch(egu_net.EGUNet, "streams", _unshared),
    "the constraints": lambda patch: patch(egu_net.EGUNet, "abundances", lambda self, x: self.head(self.embed(x))),
    "non-negative pseudo-abundances": lambda patch: patch(
        egu_net, "pseudo_abundances", lambda pure, endmembers: np.linalg.lstsq(endmembers.T, pure.T, rcond=None)[0].T
    ),
}
