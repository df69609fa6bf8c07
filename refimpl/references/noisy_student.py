"""Noisy Student's loss, balance and generations by loops, from Algorithm 1 and section 3.1 of arXiv 1911.04252."""

from __future__ import annotations

import math

import numpy as np
import torch
from timm.layers import DropPath

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools, Progress
from refimpl.methods.semi_supervised import noisy_student
from refimpl.parts.labelled import Few
from refimpl.references import Check, compare


def softmax(row) -> list[float]:
    e = [math.exp(v) for v in row]
    return [v / sum(e) for v in e]


def slow_cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for row, t in zip(logits, target):
        total -= sum(a * math.log(p) for a, p in zip(t, softmax(row)))
    return total / len(logits)


def formula() -> Check:
    rng = np.random.default_rng(1)
    target = rng.dirichlet(np.ones(4), 5)
    return compare(
        "the cross entropy with soft labels and its gradient equal a loop",
        lambda logits: noisy_student.cross_entropy(logits, torch.tensor(target)),
        lambda logits: slow_cross_entropy(logits, target),
        {"logits": rng.normal(size=(5, 4))},
    )


def slow_balanced(probability: np.ndarray, confidence: float) -> list[int]:
    members: dict[int, list[int]] = {}
    for i, row in enumerate(probability):
        if max(row) >= confidence:
            members.setdefault(int(np.argmax(row)), []).append(i)
    share, chosen = math.ceil(len(probability) / len(members)), []
    for rows in members.values():
        rows = sorted(rows, key=lambda i: -max(probability[i]))
        chosen += [rows[k % len(rows)] for k in range(share)]
    return sorted(chosen)


def _unbalanced() -> np.ndarray:
    """Forty predictions of three classes, some of them unsure and few of them of the third."""
    rng = np.random.default_rng(2)
    return np.array([softmax(row) for row in 1.5 * rng.normal(size=(40, 3)) + [0.5, 0.0, -1.5]])


def balance() -> Check:
    ours = noisy_student.balanced(torch.from_numpy(_unbalanced()), 0.5).sort().values.numpy()
    theirs = slow_balanced(_unbalanced(), 0.5)
    wrong = float("inf") if len(ours) != len(theirs) else float(np.abs(ours - theirs).max())
    return Check("sure images, equally many of each class, the surest first", wrong, 0.0)


def nobody_is_sure() -> Check:
    """Where the teacher is sure of nothing, all is kept."""
    rows = noisy_student.balanced(torch.full((6, 4), 0.25), 0.5)
    return Check("all images stay where none is sure", float(len(set(rows.tolist())) != 6), 0.0)


def _data() -> Data:
    """Images whose pixels are their own number (in the first band) and noise; classes by the number."""
    number, rng = np.arange(60), np.random.default_rng(3)
    image = rng.normal(size=(60, 2, 32, 32)).astype(np.float32)
    image[:, 0] = number[:, None, None]
    fields = {"image": image, "label": number % 3}
    return Data("numbers", fields, {"image": Input(("a", "b"), 32)}, {"train": np.arange(10, 60)[::-1].copy()})


def _method(**changes) -> noisy_student.NoisyStudent:
    torch.manual_seed(0)
    settings = {"classes": 3, "labels": 4, "generation": 2, "ratio": 3, "confidence": 0.4, **changes}
    method = noisy_student.NoisyStudent(_data().inputs, "test_resnet", **settings).eval()
    with torch.no_grad():
        method.classifier.weight.mul_(30)  # so that classes differ
    return method


def _next_generation(method, data, epoch: int = 2) -> list:
    """Runs `before_epoch`; returns the parameters whose moments were dropped."""

    def features() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([method.embed(data.take("image", torch.tensor([i]))) for i in data.splits["train"]])

    forgotten: list = []
    tools = EpochTools(features, forgotten.extend, torch.Generator().manual_seed(epoch))
    method.before_epoch(epoch, data, tools)
    return forgotten


def _generations(soft: bool) -> Check:
    """Nothing happens at epochs 0 and 1; at 2 the clean images are labelled and all weights begin anew."""
    data, method = _data(), _method(soft=soft)
    _next_generation(method, data, 0)
    _next_generation(method, data, 1)
    wrong = float(len(method.chosen) + len(method.answers))
    with torch.no_grad():
        images = data.take("image", torch.arange(60))
        logits = method.classifier(torch.cat([method.encoder(x[None]) for x in images])).double().numpy()
    expected = np.array([softmax(row) for row in logits])
    before = [p.detach().clone() for p in method.parameters()]
    forgotten = _next_generation(method, data)
    chosen = slow_balanced(expected[10:], 0.4)
    wrong += abs(len(method.chosen) - len(chosen)) + sum(method.chosen.sort().values.tolist()) - sum(chosen)
    wrong -= 10 * len(chosen)  # numbers of samples, not of training samples
    target = expected if soft else np.eye(3)[expected.argmax(1)]
    error = float(np.abs(method.answers[10:].numpy() - target[10:]).max()) + float(method.answers[:10].abs().max())
    stale = sum(torch.equal(p, q) and p.std() > 0 for p, q in zip(method.parameters(), before) if p.numel() > 1)
    wrong += float(stale) + abs(len(forgotten) - len(before))
    kind = "soft" if soft else "hard"
    return Check(f"a generation begins with fresh weights and the teacher's {kind} labels", abs(wrong) + error, 1e-5)


def soft_labels() -> Check:
    return _generations(True)


def hard_labels() -> Check:
    return _generations(False)


def what_is_drawn() -> Check:
    """Four labelled images of each class with their labels; chosen images with the answers that belong to them."""
    data, method = _data(), _method()
    index = torch.arange(10, 60)
    first = method.draw(data, index, Draws(0, 0, index))
    number = first["image"][:, 0, 0, 0].long()
    wrong = float(abs(len(number.unique()) - 12) + (number % 3 != first["label"]).sum() + ("unlabelled" in first))
    _next_generation(method, data)
    order = method.order(2, torch.arange(10, 60), torch.Generator().manual_seed(0))
    wrong += float((order.sort().values - method.chosen.sort().values).abs().max()) + float(len(order) < 50)
    batch = method.draw(data, order, Draws(0, 0, torch.arange(len(order))))
    drawn = batch["unlabelled"][:, 0, 0, 0].long()
    wrong += float((method.answers[drawn] - batch["answers"]).abs().max())
    wrong += float((drawn.view(-1, 3)[:, 0] != order).sum()) + float((~torch.isin(drawn, method.chosen)).sum())
    return Check("labelled images with labels, chosen ones with their answers", wrong, 0.0)


def a_step_by_hand() -> Check:
    """The loss from the logits of each image, without noise: as many labelled as unlabelled ones count alike."""
    method = _method().double()
    generator = torch.Generator().manual_seed(4)
    x, u = (torch.randn(n, 2, 32, 32, generator=generator, dtype=torch.float64) for n in (2, 6))
    y, answers = torch.eye(3).double()[[2, 0]], torch.rand(6, 3, generator=generator).double().softmax(1)
    with torch.no_grad():
        ours = float(method({"x": x, "y": y, "u": u, "answers": answers}).loss)
        first = float(method({"x": x, "y": y}).loss)
        known, unknown = (torch.cat([method.classifier(method.encoder(i[None])) for i in part]) for part in (x, u))
    labelled = slow_cross_entropy(known.numpy(), y.numpy())
    expected = labelled + slow_cross_entropy(unknown.numpy(), answers.numpy())
    error = abs(ours - expected) / expected + abs(first - labelled) / labelled
    return Check("a step's loss is that of its labels and that of the answers", error, 1e-6)


def noise() -> Check:
    """Blocks are skipped with evenly rising probability, half of the features dropped, and no view is like another."""
    method, data = _method(depth=0.2, dropout=0.5), _data()
    rates = [m.drop_prob for m in method.encoder.modules() if isinstance(m, DropPath)]
    error = max(abs(r - 0.2 * (i + 1) / len(rates)) for i, r in enumerate(rates)) if len(rates) > 1 else 1.0
    method.train()
    x = torch.randn(8, 2, 32, 32, generator=torch.Generator().manual_seed(5))
    batch = {"x": x, "y": torch.eye(3)[torch.zeros(8, dtype=torch.int64)]}
    torch.manual_seed(0)
    one, two = (float(method(batch).loss.detach()) for _ in range(2))
    error += float(abs(one - two) < 1e-3) + abs(method.dropout.p - 0.5)
    _next_generation(method.eval(), data)
    index = method.chosen[:4]
    drawn = method.draw(data, index, Draws(0, 0, torch.arange(4)))
    views = [method.prepare(drawn, Draws(0, step, torch.arange(4))) for step in (1, 2)]
    error += sum(float((views[0][key] - views[1][key]).abs().amax((1, 2, 3)).min() < 1e-3) for key in ("x", "u"))
    return Check("images, features and blocks are disturbed", error, 1e-9)


def schedule() -> Check:
    """The rate at each of 30 steps, three generations of 10: the run's own half cosine times what the method says."""
    method, error = _method(generation=5), 0.0
    for step in range(30):
        rate = (1 + math.cos(math.pi * step / 30)) / 2 * method.rate_of("all")
        error = max(error, abs(rate - (1 + math.cos(math.pi * (step % 10) / 10)) / 2))
        method.after_step(Progress(step + 1, 30, step // 2, 15))
    resumed = _method(generation=5)
    method.after_step(Progress(7, 30, 3, 15))
    resumed.load_state_dict(method.state_dict())
    error += abs(resumed.rate_of("all") - method.rate_of("all"))
    return Check("the rate begins anew in every generation", error, 1e-9)


CASES = [formula, balance, nobody_is_sure, soft_labels, hard_labels, what_is_drawn, a_step_by_hand, noise, schedule]

_before_epoch = noisy_student.NoisyStudent.before_epoch


def _shifted(self, epoch, data, tools):
    _before_epoch(self, epoch, data, tools)
    self.answers = self.answers.roll(1, 0)


KNOCKOUTS = {
    "the teacher's answers": lambda patch: patch(
        noisy_student, "cross_entropy",
        lambda logits, target: -torch.log_softmax(logits, 1).gather(1, target.argmax(1)[:, None]).mean(),
    ),
    "each image's own answer": lambda patch: patch(noisy_student.NoisyStudent, "before_epoch", _shifted),
    "balance and confidence": lambda patch: patch(
        noisy_student, "balanced", lambda probability, confidence: torch.arange(len(probability))
    ),
    "fresh weights": lambda patch: patch(noisy_student.NoisyStudent, "begin_again", lambda self, seed: None),
    "stochastic depth": lambda patch: patch(noisy_student, "stochastic_depth", lambda network, rate: None),
    "distorted images": lambda patch: patch(
        noisy_student, "random_views", lambda stored, views, encoder, draws: [encoder.normalise(stored) for _ in views]
    ),
    "a schedule for every generation": lambda patch: patch(noisy_student, "restarted", lambda *_: 1.0),
    "few labels": lambda patch: patch(Few, "of", lambda self, data: torch.arange(10, 60)),
}  # fmt: skip
