"""Deep InfoMax's two estimators, its prior and the whole objective by loops, from Eq. 4 to 8 of arXiv 1808.06670."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.methods.joint_embedding import deep_infomax
from refimpl.references import Check, compare


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log(1 + math.exp(-abs(x)))


def slow_jsd(scores: np.ndarray, own: np.ndarray) -> float:
    positive, negative = [], []
    for b in range(scores.shape[0]):
        for n in range(scores.shape[1]):
            for t in scores[b, n]:
                (positive if n == own[b] else negative).append(softplus(-t) if n == own[b] else softplus(t))
    return sum(positive) / len(positive) + sum(negative) / len(negative)


def slow_infonce(scores: np.ndarray, own: np.ndarray) -> float:
    total, count = 0.0, 0
    for b in range(scores.shape[0]):
        others = sum(math.exp(t) for n in range(scores.shape[1]) if n != own[b] for t in scores[b, n])
        for t in scores[b, own[b]]:
            total -= t - math.log(math.exp(t) + others)
            count += 1
    return total / count


SLOW = {"jsd": slow_jsd, "infonce": slow_infonce}


def _estimator(name: str) -> Check:
    """Two of four images, as the second of two processes sees them."""
    own = np.array([2, 3])
    return compare(
        f"the {name} estimator and its gradient equal loops over images and places",
        lambda scores, own: deep_infomax.ESTIMATORS[name](scores, own),
        lambda scores, own: SLOW[name](scores, own),
        {"scores": 3 * np.random.default_rng(1).normal(size=(2, 4, 5)), "own": own},
        coordinates=30,
    )


def jsd_form() -> Check:
    return _estimator("jsd")


def infonce_form() -> Check:
    return _estimator("infonce")


def slow_products(sources: np.ndarray, places: np.ndarray) -> np.ndarray:
    scores = [[[sum(s * p) / math.sqrt(len(s)) for p in image] for image in places] for s in sources]
    return np.array(scores)


def scores_are_products() -> Check:
    rng = np.random.default_rng(2)
    return compare(
        "scores are products over the root of their length",
        lambda sources, places: deep_infomax.products(sources, places).pow(3).sum(),
        lambda sources, places: float((slow_products(sources, places) ** 3).sum()),
        {"sources": rng.normal(size=(2, 6)), "places": rng.normal(size=(3, 4, 6))},
    )


def known_points() -> Check:
    """Scores of 0: 2 ln 2 and ln((N - 1) S + 1). Own places far above all others: nearly 0."""
    own, zero = torch.arange(3), torch.zeros(3, 3, 5, dtype=torch.float64)
    apart = 60 * (torch.eye(3, dtype=torch.float64)[:, :, None].expand(3, 3, 5) - 0.5)
    error = abs(float(deep_infomax.jsd(zero, own)) - 2 * math.log(2))
    error += abs(float(deep_infomax.infonce(zero, own)) - math.log(11))
    error += float(deep_infomax.jsd(apart, own)) + float(deep_infomax.infonce(apart, own))
    return Check("known points: 2 ln 2, ln((N - 1) S + 1) and 0", error, 1e-9)


def _method(**changes) -> deep_infomax.DeepInfoMax:
    torch.manual_seed(0)
    settings = {"dim": 6, "units": 8, "stages": (-4,), **changes}
    method = deep_infomax.DeepInfoMax({"image": Input(("a", "b"), 32)}, "test_resnet", **settings).double().eval()
    with torch.no_grad():  # so that scores are far from 0
        for network in (method.to_y, method.embed_y, *method.embed_places, *method.embed_whole):
            for weight in network.parameters():
                weight.mul_(4)
    return method


def prior() -> Check:
    """Eq. 7 by hand. The discriminator's loss moves no y, what the encoder minimises moves no discriminator."""
    method = _method()
    y = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    noise = torch.rand(4, 6, dtype=torch.float64)
    judged, fooled = method.prior_losses(y, noise)
    with torch.no_grad():
        real = [1 / (1 + math.exp(-float(method.discriminator(row)))) for row in noise]
        fake = [1 / (1 + math.exp(-float(method.discriminator(1 / (1 + torch.exp(-row)))))) for row in y]
    error = abs(float(judged.detach()) + sum(math.log(r) + math.log(1 - f) for r, f in zip(real, fake)) / 4)
    error += abs(float(fooled.detach()) + sum(math.log(f) for f in fake) / 4)
    weights = list(method.discriminator.parameters())
    moved = torch.autograd.grad(judged, y, allow_unused=True, retain_graph=True)[0]
    error += 0.0 if moved is None else float(moved.abs().sum())
    moved = torch.autograd.grad(fooled, weights, allow_unused=True, retain_graph=True)
    error += sum(float(m.abs().sum()) for m in moved if m is not None)
    error += float(torch.autograd.grad(fooled, y)[0].abs().sum() == 0)
    return Check("the prior's two losses by hand, each moving its own side only", error, 1e-9)


def noise_is_uniform() -> Check:
    batch = _method(dim=64).prepare({"image": torch.zeros(200, 2, 32, 32)}, Draws(0, 0, torch.arange(200)))
    u = batch["prior"].flatten()
    deciles = torch.histc(u, 10, 0, 1) / len(u)
    return Check("the prior is uniform on [0, 1]", float((deciles - 0.1).abs().max()), 0.01)


def _objective(name: str, **changes) -> Check:
    """The whole loss of three images from the maps of the network, one image and one place after the other."""
    method = _method(**changes)
    views = len(method.views)
    image = torch.randn(3, 2, 32, 32, dtype=torch.float64)
    batch = method.float().prepare({"image": image.float()}, Draws(0, 0, torch.arange(3)))
    batch = {key: value.double() for key, value in batch.items()}
    method.double()
    with torch.no_grad():
        ours = float(method(batch).loss)
        maps, y = [], []
        for x in batch["x"]:
            last, found = method.encoder.net.forward_intermediates(x[None], indices=list(method.stages))
            maps.append([m[0] for m in found])
            y.append(method.to_y(method.encoder.pool(last))[0])
        source = [method.embed_y(each[None])[0].numpy() for each in y]
        terms = []
        for k in range(len(method.stages)):
            places = [
                torch.stack([m[k][:, r, c] for r in range(m[k].shape[1]) for c in range(m[k].shape[2])]) for m in maps
            ]
            if method.local:
                embedded = [method.embed_places[k](p).numpy() for p in places]
                terms.append((method.local, source, embedded))
            if method.whole:
                pooled = [m[k].reshape(-1, 4, m[k].shape[1] // 4, 4, m[k].shape[2] // 4).mean((2, 4)) for m in maps]
                whole = [method.embed_whole[k](p.reshape(1, -1)).numpy() for p in pooled]
                terms.append((method.whole, source, whole))
            if method.across and k == 0:
                chosen = [int(batch["at"][i, 0] * len(embedded[0])) for i in range(3 * views)]
                terms.append((1.0, [e[c] for e, c in zip(embedded, chosen)], embedded))
        expected = 0.0
        for weight, sources, places in terms:
            for view in range(views):
                other = (view + 1) % views
                scores = slow_products(
                    np.array(sources[3 * view : 3 * view + 3]), np.array(places[3 * other : 3 * other + 3])
                )
                expected += method.penalty * (scores**2).mean() / views
                bounded = method.clip * np.tanh(scores / method.clip) if method.clip else scores
                estimate = slow_jsd if method.information is deep_infomax.ESTIMATORS["jsd"] else slow_infonce
                expected += weight * estimate(bounded, np.arange(3)) / views
        if method.prior:
            fake = [1 / (1 + math.exp(-float(method.discriminator(torch.sigmoid(each))))) for each in y]
            real = [1 / (1 + math.exp(-float(method.discriminator(u)))) for u in batch["prior"]]
            expected -= sum(math.log(r) for r in real) / len(real)
            expected -= sum(math.log(1 - f) + method.prior * math.log(f) for f in fake) / len(fake)
    return Check(f"the objective by loops: {name}", abs(ours - expected) / abs(expected), 1e-9)


def local_objective() -> Check:
    return _objective("DIM(L)")


def global_objective() -> Check:
    return _objective("DIM(G) with the Jensen-Shannon estimator", whole=1.0, local=0.0, prior=1.0, estimator="jsd")


def across_views() -> Check:
    amdim = {"views": 2, "across": True, "clip": 2.0, "penalty": 0.04, "prior": 0.0, "stages": (-4, -3)}
    return _objective("AMDIM", **amdim)


def drawn_places() -> Check:
    """Of a map of 64 places at most 10 are read, each as often as any other; of a small map every one, in order."""
    method = _method(places=10)
    at = method.float().prepare({"image": torch.zeros(500, 2, 32, 32)}, Draws(0, 0, torch.arange(500)))["at"]
    numbers = torch.arange(64.0).view(1, 1, 8, 8).expand(500, 1, 8, 8)
    found = method.some(numbers, at)[:, :, 0]
    wrong = float(found.shape != (500, 10)) + float(not torch.equal(found, (at * 64).floor()))
    wrong += float(not torch.equal(method.some(numbers[:, :, :3, :3], at)[0, :, 0], numbers[0, 0, :3, :3].flatten()))
    counts = torch.bincount(found.long().flatten(), minlength=64) / len(found.flatten())
    return Check("the places that are read", wrong + float((counts - 1 / 64).abs().max()), 0.01)


def first_map() -> Check:
    """By default places are those of the first map there is, of any network."""
    wrong = 0.0
    for name in ("test_resnet", "vit_micro"):
        method = deep_infomax.DeepInfoMax({"image": Input(("a",), 32)}, name, units=8)
        wrong += float(method.stages != [-min(5, len(method.encoder.net.feature_info))])
    return Check("maps other than the first by default", wrong, 0.0)


CASES = [
    jsd_form, infonce_form, scores_are_products, known_points, prior, noise_is_uniform, local_objective,
    global_objective, across_views, drawn_places, first_map,
]  # fmt: skip

_embedded = deep_infomax.DeepInfoMax.embedded
_others = deep_infomax.own_and_others


def _no_places(self, x, at):
    h, y, local, whole = _embedded(self, x, at)
    return h, y, [places.mean(1, keepdim=True) for places in local], whole


def _within_the_image(scores, own):
    return _others(scores[torch.arange(len(own)), own][:, None].expand(-1, 2, -1), torch.zeros_like(own))


KNOCKOUTS = {
    "places, not the map as one": lambda patch: patch(deep_infomax.DeepInfoMax, "embedded", _no_places),
    "other images as negatives": lambda patch: patch(deep_infomax, "own_and_others", _within_the_image),
    "an image's own places as positives": lambda patch: patch(
        deep_infomax, "own_and_others", lambda scores, own: _others(scores, own.roll(1))
    ),
    "positives and negatives that count the same": lambda patch: patch(
        deep_infomax, "ESTIMATORS",
        {**deep_infomax.ESTIMATORS, "jsd": lambda scores, own: slow_mean_over_all(scores, own)},
    ),
    "the other view": lambda patch: patch(deep_infomax, "reversed", tuple, raising=False),
    "the prior": lambda patch: patch(
        deep_infomax.DeepInfoMax, "prior_losses", lambda self, y, noise: (0 * y.sum(), 0 * y.sum())
    ),
    "each side of the prior moving its own": lambda patch: patch(
        deep_infomax, "functional_call", lambda network, frozen, inputs: network(*inputs)
    ),
}  # fmt: skip


def slow_mean_over_all(scores: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    positive, others = _others(scores, own)
    total = torch.nn.functional.softplus(-positive).sum() + torch.nn.functional.softplus(others).sum()
    return 2 * total / scores.numel()
