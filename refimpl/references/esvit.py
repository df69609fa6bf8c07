"""EsViT's matching, region loss and state by loops, from section 3.2 of arXiv 2106.09785; the rest by DINO's."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import esvit
from refimpl.parts.maps import features_and_map
from refimpl.references import Check, compare
from refimpl.references.dino import slow_loss as slow_distillation
from refimpl.references.dino import softmax


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def slow_match(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.array([[max(range(len(t)), key=lambda j: cosine(z, t[j])) for z in o] for o, t in zip(ours, theirs)])


def slow_regions(
    student: np.ndarray, teacher: np.ndarray, match: np.ndarray, centre: np.ndarray, tau_s: float, tau_t: float
) -> float:
    total = 0.0
    for b in range(len(student)):
        for i in range(student.shape[1]):
            p_t, p_s = softmax(teacher[b, match[b, i]] - centre, tau_t), softmax(student[b, i], tau_s)
            total -= sum(p * math.log(q) for p, q in zip(p_t, p_s)) / student.shape[1]
    return total / len(student)


def formula() -> Check:
    rng = np.random.default_rng(1)
    teacher, match = 0.3 * rng.uniform(-1, 1, size=(3, 6, 5)), rng.integers(0, 6, size=(3, 4))
    centre = 0.1 * rng.uniform(-1, 1, size=5)
    fixed = torch.tensor(teacher), torch.tensor(match), torch.tensor(centre)
    return compare(
        "the region loss and its gradient equal loops over regions",
        lambda student: esvit.region_loss(student, *fixed, 0.1, 0.05),
        lambda student: slow_regions(student, teacher, match, centre, 0.1, 0.05),
        {"student": 0.3 * rng.uniform(-1, 1, size=(3, 4, 5))},
    )


def teacher_gets_no_gradient() -> Check:
    student, teacher = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    esvit.region_loss(student, teacher, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(4), 0.1, 0.05).backward()
    error = 0.0 if teacher.grad is None else float(teacher.grad.abs().sum())
    return Check("no gradient reaches the teacher's regions", error, 0.0)


def uniform_outputs() -> Check:
    z = torch.zeros(2, 3, 16, dtype=torch.float64)
    loss = esvit.region_loss(z, z, torch.zeros(2, 3, dtype=torch.int64), z[0, 0], 0.1, 0.04)
    return Check("uniform outputs give ln K", abs(float(loss) - math.log(16)), 1e-9)


def matching() -> Check:
    """Against loops, with lengths that would mislead a plain product; and a shuffled map finds itself."""
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 9, 3)) * rng.uniform(0.1, 5, size=(4, 9, 1))
    wrong = float((esvit.best_match(*map(torch.tensor, (ours, theirs))).numpy() != slow_match(ours, theirs)).sum())
    x, order = torch.tensor(theirs), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    wrong += float((order[esvit.best_match(x, 2 * x[:, order])] != torch.arange(9)).sum())
    return Check("regions paired otherwise than by loops", wrong, 0.0)


def _by_hand(as_printed: bool, steps: int) -> Check:
    """Losses from the networks' own outputs, pair by pair, and both centres, the temperature and the teacher."""
    torch.manual_seed(0)
    sizes = {"outputs": 8, "hidden": 8, "bottleneck": 4, "crops": 1, "stage": -2, "as_printed": as_printed}
    method = esvit.EsViT({"image": Input(("a", "b"), 32)}, "test_resnet", momentum=0.9, **sizes).eval()
    centre, error = np.zeros((2, 8)), 0.0
    weights = [head.last.detach().clone() for head in (method.head, method.region_head)]

    def looked_at(encoder, head, region_head, x) -> tuple[np.ndarray, ...]:
        h, regions = features_and_map(encoder, x, -2)
        return tuple(z.double().numpy() for z in (head(h), regions, region_head(regions)))

    for step in range(steps):
        image = torch.randint(0, 255, (3, 2, 32, 32), generator=torch.Generator().manual_seed(step))
        batch = method.prepare({"image": image}, Draws(0, step, torch.arange(3)))
        tau = float(method.warm)
        with torch.no_grad():
            views = [*batch["large"].chunk(2), batch["small"]]
            student = [looked_at(method.encoder, method.head, method.region_head, x) for x in views]
            teacher = [looked_at(*method.teacher.networks, x) for x in views[:2]]
            ours = float(method(batch).loss)
        outputs = (np.stack([seen[0] for seen in part]) for part in (student, teacher))
        whole, parts = slow_distillation(*outputs, centre[0], 0.1, tau), []
        for i, (_, their_regions, their_answers) in enumerate(teacher):
            for j, (_, regions, answers) in enumerate(student):
                if i != j:
                    match = slow_match(regions, their_regions)
                    parts.append(slow_regions(answers, their_answers, match, centre[1], 0.1, tau))
        expected = (1.0 if as_printed else 0.5) * (whole + sum(parts) / len(parts))
        error = max(error, abs(ours - expected) / expected)
        means = [np.concatenate([seen[k].reshape(-1, 8) for seen in teacher]).mean(0) for k in (0, 2)]
        centre = 0.9 * centre + 0.1 * np.array(means)
        momentum = 1 - (1 - 0.9) * (math.cos(math.pi * (step + 1) / 30) + 1) / 2
        with torch.no_grad():
            for head, weight in zip((method.head, method.region_head), weights, strict=True):
                head.last.add_(0.1 * torch.randn(head.last.shape, generator=torch.Generator().manual_seed(step)))
                weight.mul_(momentum).add_((1 - momentum) * head.last)
            for parameter in method.region_head.layers.parameters():
                parameter.mul_(1.2)  # as if it had learned
        method.after_step(Progress(step + 1, 30, 0, 1))
        error = max(error, float(abs(method.centre.double().numpy() - centre).max()))
        for head, weight in zip(method.teacher.networks[1:], weights, strict=True):
            error = max(error, float((head.last - weight).abs().max()))
        error = max(error, abs(float(method.warm) - (0.04 + 0.03 * min(1, (step + 1) / 30 / 0.1))))
    return Check(f"losses and state are those by hand ({'sum' if as_printed else 'halves'})", error, 1e-5)


def as_coded() -> Check:
    return _by_hand(False, 2)


def as_printed() -> Check:
    return _by_hand(True, 1)


CASES = [formula, teacher_gets_no_gradient, uniform_outputs, matching, as_coded, as_printed]

_region_loss = esvit.region_loss

KNOCKOUTS = {
    "the most similar region": lambda patch: patch(
        esvit, "best_match", lambda ours, theirs: (torch.arange(ours.shape[1]) % theirs.shape[1]).expand(ours.shape[:2])
    ),
    "similarity by angle": lambda patch: patch(
        esvit, "best_match", lambda ours, theirs: (ours @ theirs.transpose(1, 2)).argmax(2)
    ),
    "the matched region": lambda patch: patch(
        esvit, "region_loss", lambda s, t, m, c, a, b: _region_loss(s, t, 0 * m, c, a, b)
    ),
    "the centre of regions": lambda patch: patch(
        esvit, "region_loss", lambda s, t, m, c, a, b: _region_loss(s, t, m, 0 * c, a, b)
    ),
    "sharpening of regions": lambda patch: patch(
        esvit, "region_loss", lambda s, t, m, c, a, b: _region_loss(s, t, m, c, a, a)
    ),
    "the loss of views": lambda patch: patch(esvit, "distillation_loss", lambda s, *a: 0 * s.sum()),
    "the loss of regions": lambda patch: patch(esvit, "region_loss", lambda s, *a: 0 * s.sum()),
    "the centres' update": lambda patch: patch(esvit, "mean_over_processes", lambda value: torch.zeros_like(value)),
}
