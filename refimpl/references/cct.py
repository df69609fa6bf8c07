"""Cross-consistency training's losses and disturbances by loops, from section 3 of arXiv 2003.09005."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.semi_supervised import cct
from refimpl.parts.labelled import Few
from refimpl.references import Check, compare


def softmax(row) -> list[float]:
    e = [math.exp(v) for v in row]
    return [v / sum(e) for v in e]


def slow_disagreement(main: np.ndarray, auxiliary: np.ndarray) -> float:
    """Over images, places and classes of (B, K, h, w) logits."""
    errors = []
    for a, b in zip(main, auxiliary):
        for row in range(main.shape[2]):
            for column in range(main.shape[3]):
                p, q = softmax(a[:, row, column]), softmax(b[:, row, column])
                errors += [(x - y) ** 2 for x, y in zip(p, q)]
    return sum(errors) / len(errors)


def formula() -> Check:
    rng = np.random.default_rng(1)
    main = rng.normal(size=(2, 3, 2, 2))
    return compare(
        "the disagreement of decoders and its gradient equal a loop",
        lambda auxiliary: cct.disagreement(torch.tensor(main), auxiliary),
        lambda auxiliary: slow_disagreement(main, auxiliary),
        {"auxiliary": rng.normal(size=(2, 3, 2, 2))},
    )


def main_gets_no_gradient() -> Check:
    main, auxiliary = (torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    cct.disagreement(main.requires_grad_(), auxiliary.requires_grad_()).backward()
    error = 0.0 if main.grad is None else float(main.grad.abs().sum())
    return Check("no gradient goes into the main decoder", error + float(auxiliary.grad is None), 0.0)


def known_points() -> Check:
    """Decoders that agree cost 0; two that are sure of different ones of four classes cost 2 / 4."""
    sure = torch.zeros(1, 4, 1, 1, dtype=torch.float64)
    one, other = sure.clone(), sure.clone()
    one[0, 0], other[0, 1] = 60.0, 60.0
    error = abs(float(cct.disagreement(one, one))) + abs(float(cct.disagreement(one, other)) - 0.5)
    return Check("known points: 0 and 2 / K", error, 1e-9)


def schedule() -> Check:
    """The weight at some of 1,000 steps, which rises over the first 100."""
    by_hand = {0: math.exp(-5), 50: math.exp(-1.25), 99: math.exp(-5 * 0.01**2), 100: 1.0, 1000: 1.0}
    error = max(abs(cct.rise(step / 1000) - value) for step, value in by_hand.items())
    return Check("the weight of the agreement rises", error, 1e-9)


def _method(**changes) -> cct.CCT:
    torch.manual_seed(0)
    settings = {"classes": 3, "background": 1, "labels": 5, "maps": 3, "width": 6, "dropout": 0.0, **changes}
    method = cct.CCT({"image": Input(("a",), 32)}, "test_resnet", **settings).eval()
    with torch.no_grad():
        for decoder in (method.decoder, *method.auxiliary.values()):
            decoder.weight.mul_(5)  # so that some places are background and some are not
    return method


def _batch(seed: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(5, 1, 32, 32, generator=generator),
        "cover": torch.randint(0, 3, (2, 32, 32), generator=generator),
        "noise": torch.rand(3, 6, 4, 4, generator=generator) - 0.5,
        "threshold": 0.7 + 0.2 * torch.rand(3, generator=generator),
    }


def slow_disturbed(name: str, z: np.ndarray, main: np.ndarray, noise: np.ndarray, threshold: float) -> np.ndarray:
    """One image's features (D, h, w), spoiled place by place."""
    spoiled = z.copy()
    activity = [[sum(z[:, i, j]) / len(z) for j in range(z.shape[2])] for i in range(z.shape[1])]
    highest = max(max(row) for row in activity)
    for i in range(z.shape[1]):
        for j in range(z.shape[2]):
            background = int(np.argmax(main[:, i, j])) == 1
            if name == "noise":
                spoiled[:, i, j] = [v + v * n for v, n in zip(z[:, i, j], noise[:, i, j])]
            hidden = {
                "dropped": activity[i][j] >= threshold * highest,
                "context": background,
                "objects": not background,
            }
            if hidden.get(name, False):
                spoiled[:, i, j] = 0.0
    return spoiled


def disturbances() -> Check:
    batch, generator = _batch(), torch.Generator().manual_seed(7)
    z, main = (torch.randn(3, size, 4, 4, generator=generator) for size in (6, 3))
    found = _method().disturbed(z, main, batch)
    error, changed = 0.0, float(set(found) != set(cct.DISTURBANCES))
    for name in cct.DISTURBANCES:
        for b in range(3):
            expected = slow_disturbed(name, *(v[b].numpy() for v in (z, main, batch["noise"], batch["threshold"])))
            error = max(error, float(np.abs(found[name][b].numpy() - expected).max()))
        changed += float(name != "dropout" and torch.equal(found[name], z))
    return Check("features are disturbed as they are place by place", error + changed, 1e-6)


def own_decoders() -> Check:
    """One for each disturbance and the main one, none of them another."""
    method = _method()
    weights = [method.decoder.weight, *(method.auxiliary[name].weight for name in cct.DISTURBANCES)]
    same = sum(torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])
    return Check("every disturbance has a decoder of its own", float(same), 0.0)


def a_step_by_hand() -> Check:
    """The loss of a step from the networks' own features, image by image and decoder by decoder."""
    method, batch = _method(weight=30.0), _batch()
    method.after_step(Progress(1, 20, 0, 1))
    names = cct.DISTURBANCES
    with torch.no_grad():
        ours = float(method(batch).loss)
        labelled, agreement = [], []
        for b, x in enumerate(batch["x"]):
            _, maps = method.encoder.net.forward_intermediates(x[None], indices=[-3, -2, -1])
            maps = [F.interpolate(m, size=(4, 4), mode="bilinear") for m in maps]
            z = method.join(torch.cat(maps, 1))
            main = method.decoder(z)
            if b < 2:
                whole = F.interpolate(main, size=(32, 32), mode="bilinear")[0].double().numpy()
                for i in range(32):
                    for j in range(32):
                        labelled.append(-math.log(softmax(whole[:, i, j])[int(batch["cover"][b, i, j])]))
                continue
            parts = [v[b - 2].numpy() for v in (batch["noise"], batch["threshold"])]
            for name in names:
                spoiled = torch.from_numpy(slow_disturbed(name, z[0].numpy(), main[0].numpy(), *parts))
                answer = method.auxiliary[name](spoiled[None])
                agreement.append(slow_disagreement(main.double().numpy(), answer.double().numpy()))
    expected = np.mean(labelled) + 30.0 * math.exp(-5 * 0.5**2) * np.mean(agreement)
    return Check("a step's loss is that of its labels and of its decoders", abs(ours - expected) / expected, 1e-5)


def what_is_drawn() -> Check:
    """Few images with their own land cover, turned together; all others unlabelled; noise in its range."""
    number = np.arange(60)
    image = np.broadcast_to(number[:, None, None, None], (60, 1, 32, 32)).astype(np.float32)
    image = image + np.arange(32)[:, None] / 32  # the upper half is smaller: turns can be seen
    cover = np.broadcast_to((np.arange(32) >= 16)[:, None] * 2, (60, 32, 32)).astype(np.uint8)
    data = Data("n", {"image": image, "landcover": cover}, {"image": Input(("a",), 32)}, {"train": number[10:]})
    method, index = _method(), torch.arange(10, 60)
    method.view = cct.View.geometric(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False)
    draws = Draws(0, 0, index)
    drawn = method.draw(data, index, draws)
    known = drawn["image"][:, 0].mean((1, 2)).floor().long()
    wrong = float(abs(len(known.unique()) - 5) + (known < 10).sum())
    wrong += float((drawn["unlabelled"][:, 0, 0, 0].floor() - index).abs().max())
    batch = method.prepare(drawn, draws)
    x, half = batch["x"][:50, 0], batch["cover"] == 2
    wrong += float(((x * half).sum((1, 2)) <= (x * ~half).sum((1, 2))).sum())
    wrong += float(len({tuple(c.flatten().tolist()) for c in batch["cover"]}) != 4)  # which side is class 2
    low, high = float(batch["noise"].min()), float(batch["noise"].max())
    wrong += float(not -0.3 <= low < -0.29) + float(not 0.29 < high <= 0.3)
    wrong += float(not (batch["threshold"].min() >= 0.7 and batch["threshold"].max() <= 0.9))
    return Check("few images have land cover, and it is turned with them", wrong, 0.0)


CASES = [
    formula,
    main_gets_no_gradient,
    known_points,
    schedule,
    disturbances,
    own_decoders,
    a_step_by_hand,
    what_is_drawn,
]

_disturbed = cct.CCT.disturbed


def _undisturbed(self, z, main, batch):
    return dict.fromkeys(cct.DISTURBANCES, z)


def _swapped(self, z, main, batch):
    parts = _disturbed(self, z, main, batch)
    return {**parts, "context": parts["objects"], "objects": parts["context"]}


def _with_gradient(main, auxiliary):
    return (main.softmax(1) - auxiliary.softmax(1)).square().mean()


KNOCKOUTS = {
    "disturbances": lambda patch: patch(cct.CCT, "disturbed", _undisturbed),
    "context and objects": lambda patch: patch(cct.CCT, "disturbed", _swapped),
    "the most active features": lambda patch: patch(cct, "without_most_active", lambda z, threshold: z),
    "the stopped gradient": lambda patch: patch(cct, "disagreement", _with_gradient),
    "probabilities": lambda patch: patch(
        cct, "disagreement", lambda main, auxiliary: (main.detach() - auxiliary).square().mean()
    ),
    "the agreement of decoders": lambda patch: patch(cct, "disagreement", lambda main, auxiliary: 0 * auxiliary.sum()),
    "decoders of their own": lambda patch: patch(
        nn.ModuleDict, "__getitem__", lambda self, name: next(iter(self.values()))
    ),
    "the schedule": lambda patch: patch(cct, "rise", lambda fraction, length=0.1: 1.0),
    "few labels": lambda patch: patch(Few, "of", lambda self, data: torch.arange(60)),
    "land cover turned with its image": lambda patch: patch(
        cct, "turned", lambda x, way: x if x.dim() == 3 else torch.rot90(x, 1, (2, 3))
    ),
}
