"""SeLa's labels by linear assignment and its loss by loops, from Eq. 3 and section 3.1 of arXiv 1911.05371."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from refimpl.data.dataset import Data, Input
from refimpl.engine.method import EpochTools
from refimpl.methods.clustering import sela
from refimpl.references import Check, compare


def log_p(logits: np.ndarray) -> np.ndarray:
    return np.array([[v - math.log(sum(math.exp(w) for w in row)) for v in row] for row in logits])


def slow_scaling(logits: np.ndarray, sharpness: float, iterations: int) -> np.ndarray:
    """Q, images in rows, by plain scaling of P^lambda: labels to N / K, images to 1."""
    q = np.exp(log_p(logits)) ** sharpness
    images, labels = q.shape
    for _ in range(iterations):
        for k in range(labels):
            q[:, k] *= images / labels / q[:, k].sum()
        for i in range(images):
            q[i] /= q[i].sum()
    return q


def loss() -> Check:
    labels = np.array([[0, 2], [1, 1], [3, 0]])

    def slow(logits: np.ndarray) -> float:
        return -sum(log_p(logits[i])[t, labels[i, t]] for i in range(3) for t in range(2)) / 6

    return compare(
        "the loss and its gradient equal loops over images and heads",
        lambda logits: sela.label_loss(logits, torch.tensor(labels)),
        slow,
        {"logits": np.random.default_rng(1).normal(size=(3, 2, 4))},
    )


def best_equal_labels() -> Check:
    """With little entropy the labels are those of the cheapest assignment in which each label has N / K places."""
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(24, 4)) + np.array([2.0, 0.0, 0.0, -1.0])  # all like the first label
    rows, places = linear_sum_assignment(-np.repeat(log_p(logits), 6, axis=1))
    cheapest = places[np.argsort(rows)] // 6
    ours = sela.equal_labels(torch.tensor(logits), 200.0, 3000).numpy()
    return Check("share of labels that differ from the optimal transport's", float((ours != cheapest).mean()), 0.0)


def scaling() -> Check:
    logits = np.random.default_rng(3).normal(size=(40, 5)) + np.array([1.0, 0.0, 0.0, 0.0, -1.0])
    q = slow_scaling(logits, 5.0, 10)
    ours = sela.equal_labels(torch.tensor(logits), 5.0, 10).numpy()
    return Check("share of labels that differ from plain scaling's", float((ours != q.argmax(1)).mean()), 0.0)


def usual_strength() -> Check:
    """The default lambda on predictions that mostly favour one label: every label is used about as often."""
    logits = torch.randn(400, 8, generator=torch.Generator().manual_seed(4)).double() * 2
    logits[:, 0] += 4
    used = torch.bincount(sela.equal_labels(logits), minlength=8) / 400
    return Check("labels are used equally often", float((used - 1 / 8).abs().max()), 0.02)


def labels_follow_the_images() -> Check:
    """Each head labels by its own logits, and `draw` hands each image its own labels."""
    image = np.random.default_rng(5).normal(size=(30, 1, 16, 16)).astype(np.float32)
    train = np.random.default_rng(6).permutation(30)[:24]
    data = Data("noise", {"image": image}, {"image": Input(("a",), 16)}, {"train": train})
    torch.manual_seed(0)
    method = sela.SeLa(data.inputs, "test_resnet", heads=2, labels=3).double()
    features = torch.randn(24, method.encoder.width, generator=torch.Generator().manual_seed(7))
    tools = EpochTools(lambda: features, lambda parameters: None, torch.Generator())
    method.before_epoch(0, data, tools)
    weight, bias = method.classifier.weight.detach().numpy(), method.classifier.bias.detach().numpy()
    logits = (features.double().numpy() @ weight.T + bias).reshape(24, 2, 3)
    expected = np.stack([slow_scaling(logits[:, t], 25.0, 200).argmax(1) for t in range(2)], 1)
    drawn = method.draw(data, torch.as_tensor(train), None)["y"].numpy()
    return Check("share of labels that are not the image's own", float((drawn != expected).mean()), 0.0)


CASES = [loss, best_equal_labels, scaling, usual_strength, labels_follow_the_images]


def _shifted(self, epoch, data, tools, original=sela.SeLa.before_epoch):
    original(self, epoch, data, tools)
    train = torch.as_tensor(data.splits["train"])
    self.assigned[train] = self.assigned[train].roll(1, 0)


KNOCKOUTS = {
    "labels used equally often": lambda patch: patch(
        sela, "equal_labels", lambda logits, s=25.0, n=200: logits.argmax(1)
    ),
    "the power lambda": lambda patch: patch(
        sela, "sinkhorn", lambda scores, t, n, original=sela.sinkhorn: original(scores, 1.0, n)
    ),
    "probabilities, not logits": lambda patch: patch(
        sela, "label_loss", lambda logits, labels: -logits.gather(2, labels[:, :, None]).mean()
    ),
    "each image's own labels": lambda patch: patch(sela.SeLa, "before_epoch", _shifted),
}
