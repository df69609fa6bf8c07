"""FixMatch's losses by loops, its labelled images and its Cutout, from Eq. 3 and 4 of arXiv 2001.07685."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.methods.semi_supervised import fixmatch
from refimpl.references import Check, compare


def _softmax(row):
    e = [math.exp(v) for v in row]
    return [v / sum(e) for v in e]


def slow_consistency(weak: np.ndarray, strong: np.ndarray, threshold: float) -> float:
    total = 0.0
    for q, p in zip(weak, strong):
        q, p = _softmax(q), _softmax(p)
        if max(q) >= threshold:
            total -= math.log(p[q.index(max(q))])
    return total / len(weak)


def _weak() -> np.ndarray:
    """Logits of six images, three of them above 0.7."""
    return np.array([[3.0, 0, 0], [0, 0.1, 0], [0, 4.0, 1.0], [0.5, 0, 0.6], [-3.0, -3.0, 0], [1.0, 1.0, 0.9]])


def unlabelled_loss() -> Check:
    weak, strong = _weak(), np.random.default_rng(1).normal(size=(6, 3))
    return compare(
        "the loss on unlabelled images and its gradient equal a loop",
        lambda strong: fixmatch.consistency(torch.from_numpy(weak), strong, 0.7)[0],
        lambda strong: slow_consistency(weak, strong, 0.7),
        {"strong": strong},
    )


def no_gradient_into_the_label() -> Check:
    weak = torch.from_numpy(_weak()).requires_grad_(True)
    strong = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3))).requires_grad_(True)
    loss, _ = fixmatch.consistency(weak, strong, 0.7)
    (grad,) = torch.autograd.grad(loss, [weak], allow_unused=True)
    return Check("no gradient goes through the pseudo-label", 0.0 if grad is None else float(grad.abs().max()), 0.0)


def share_of_sure_images() -> Check:
    weak = torch.from_numpy(_weak())
    return Check("three of six images are sure", abs(float(fixmatch.consistency(weak, weak, 0.7)[1]) - 0.5), 1e-9)


def _data() -> Data:
    """Images whose pixels are their own number; classes by the number's last digit, some unknown."""
    number = np.arange(60)
    label = np.where(number % 10 == 9, -1, number % 3)
    image = np.broadcast_to(number[:, None, None, None], (60, 1, 32, 32)).astype(np.float32)
    fields = {"image": image, "label": label}
    return Data("numbers", fields, {"image": Input(("a",), 32)}, {"train": np.arange(10, 60)})


def _method(**changes) -> fixmatch.FixMatch:
    torch.manual_seed(0)
    settings = {"classes": 3, "labels": 4, "ratio": 3, **changes}
    return fixmatch.FixMatch(_data().inputs, "resnet10t", **settings)


def labelled_images() -> Check:
    """Four of each class, of the training split, with their own label; drawn images are among them."""
    data, method = _data(), _method()
    kept = method.labelled(data).numpy()
    classes = data.fields["label"][kept]
    wrong = np.abs(np.bincount(classes, minlength=3) - 4).sum() + (kept < 10).sum() + (classes < 0).sum()
    index = torch.arange(10, 60)
    batch = method.draw(data, index, Draws(0, 0, index))
    number = batch["image"][:, 0, 0, 0].long().numpy()
    wrong += (~np.isin(number, kept)).sum() + (data.fields["label"][number] != batch["label"].numpy()).sum()
    wrong += len(set(kept) - set(number))
    mine = batch["unlabelled"][:, 0, 0, 0].long().view(-1, 3)[:, 0]
    wrong += int((mine != index).sum())
    return Check("labelled images are four of each class, unlabelled ones the batch and others", float(wrong), 0.0)


def objective() -> Check:
    """The loss of a step from the logits of its images, one by one, with two labels and six unlabelled images."""
    method = _method(weight=0.5, threshold=0.4).double().eval()
    generator = torch.Generator().manual_seed(3)
    x, weak, strong = (torch.randn(n, 1, 32, 32, generator=generator, dtype=torch.float64) for n in (2, 6, 6))
    y = torch.tensor([2, 0])
    with torch.no_grad():
        method.classifier.weight.mul_(20)  # so that some images are sure and some are not
        loss = float(method({"x": x, "y": y, "weak": weak, "strong": strong}).loss)
        logits = [[method.classifier(method.encoder(i[None]))[0].numpy() for i in part] for part in (x, weak, strong)]
    supervised = -sum(math.log(_softmax(row)[k]) for row, k in zip(logits[0], y.tolist())) / 2
    expected = supervised + 0.5 * slow_consistency(logits[1], logits[2], 0.4)
    return Check(
        "a step's loss is that of its labels and half of that of its guesses", abs(loss - expected) / expected, 1e-9
    )


def cutout() -> Check:
    """A square of half the side is hidden round its centre, what lies beyond the border is cut; the rest stays."""
    x = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 2, 16, 16)))
    centre = torch.tensor([[0.5, 0.5], [0.0, 0.99], [0.3, 0.7]], dtype=torch.float64)
    ours = fixmatch.cut_out(x, centre, 0.5)
    expected = x.numpy().copy()
    for b in range(3):
        top, left = (int(16 * v) - 4 for v in centre[b].tolist())
        expected[b, :, max(0, top) : max(0, top + 8), max(0, left) : left + 8] = 0
    return Check("Cutout hides one square of each image", float(np.abs(ours.numpy() - expected).max()), 0.0)


def weak_and_strong_are_one_image() -> Check:
    """Row i of both views comes from the same unlabelled image: their brightness orders the same."""
    data, method = _data(), _method()
    method.strong, method.cutout = method.weak, 0.0
    index = torch.arange(10, 26)
    draws = Draws(0, 0, index)
    drawn = method.draw(data, index, draws)
    batch = method.prepare(drawn, draws)
    number = drawn["unlabelled"][:, 0, 0, 0]
    error = max(float((batch[view].mean((1, 2, 3)) - number).abs().max()) for view in ("weak", "strong"))
    return Check("the weak and the strong view are of one image", error, 1e-3)


CASES = [
    unlabelled_loss,
    no_gradient_into_the_label,
    share_of_sure_images,
    labelled_images,
    objective,
    cutout,
    weak_and_strong_are_one_image,
]

_original = fixmatch.consistency


def _of_the_sure_only(weak, strong, threshold=0.95):
    loss, sure = _original(weak, strong, threshold)
    return loss / sure.clamp(min=1e-9), sure


def _with_gradient(weak, strong, threshold=0.95):
    q = weak.softmax(1)
    sure = (q.max(1).values >= threshold).double()
    return -(sure * (q * strong.log_softmax(1)).sum(1)).mean(), sure.mean()


KNOCKOUTS = {
    "the threshold": lambda patch: patch(
        fixmatch, "consistency", lambda weak, strong, threshold=0.95: _original(weak, strong, 0.0)
    ),
    "division by all unlabelled images": lambda patch: patch(fixmatch, "consistency", _of_the_sure_only),
    "hard labels without gradient": lambda patch: patch(fixmatch, "consistency", _with_gradient),
    "the strong view learns from the weak one": lambda patch: patch(
        fixmatch,
        "consistency",
        lambda weak, strong, threshold=0.95: _original(weak, weak.detach() + 0 * strong, threshold),
    ),
    "few labels": lambda patch: patch(
        fixmatch, "choose_labelled", lambda label, train, *_: torch.from_numpy(train[label[train] >= 0])
    ),
    "Cutout": lambda patch: patch(fixmatch, "cut_out", lambda x, centre, share: x),
}
