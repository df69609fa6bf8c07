"""DINO's loss, centre and schedules by loops, from Eq. 1 to 4 of arXiv 2104.14294."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import dino
from refimpl.references import Check, compare


def softmax(row: np.ndarray, temperature: float) -> list[float]:
    exps = [math.exp(v / temperature) for v in row]
    return [e / sum(exps) for e in exps]


def slow_loss(student: np.ndarray, teacher: np.ndarray, centre: np.ndarray, tau_s: float, tau_t: float) -> float:
    total, pairs = 0.0, 0
    for i in range(len(teacher)):
        for j in range(len(student)):
            if i == j:
                continue
            pairs += 1
            for t, s in zip(teacher[i], student[j]):
                p_t, p_s = softmax(t - centre, tau_t), softmax(s, tau_s)
                total -= sum(a * math.log(b) for a, b in zip(p_t, p_s)) / teacher.shape[1]
    return total / pairs


def formula() -> Check:
    rng = np.random.default_rng(1)
    teacher, centre = rng.uniform(-1, 1, size=(2, 3, 5)) * 0.3, rng.uniform(-1, 1, size=5) * 0.1
    fixed = torch.tensor(teacher), torch.tensor(centre)
    return compare(
        "the loss and its gradient equal loops over pairs of views",
        lambda student: dino.distillation_loss(student, *fixed, 0.1, 0.05),
        lambda student: slow_loss(student, teacher, centre, 0.1, 0.05),
        {"student": rng.uniform(-1, 1, size=(4, 3, 5)) * 0.3},
    )


def uniform_outputs() -> Check:
    z = torch.zeros(3, 4, 16, dtype=torch.float64)
    return Check(
        "uniform outputs give ln K",
        abs(float(dino.distillation_loss(z, z[:2], z[0, 0], 0.1, 0.04)) - math.log(16)),
        1e-9,
    )


def state_after_steps() -> Check:
    """Centre (Eq. 4), teacher temperature and a teacher weight after three steps, by hand."""
    torch.manual_seed(0)
    method = dino.DINO({"image": Input(("a", "b"), 16)}, "resnet10t", outputs=8, hidden=8, bottleneck=4, crops=0).eval()
    centre = np.zeros(8)
    weight = method.head.last.detach().clone().double()
    error = 0.0
    for step in range(3):
        image = torch.randint(0, 255, (4, 2, 16, 16), generator=torch.Generator().manual_seed(step))
        batch = method.prepare({"image": image}, Draws(0, step, torch.arange(4)))
        method(batch)
        outputs = method.teacher(batch["large"]).double().numpy()
        centre = 0.9 * centre + 0.1 * np.array([sum(column) / len(outputs) for column in outputs.T])
        with torch.no_grad():
            method.head.last.add_(0.01 * (step + 1))
        tau = 1 - (1 - 0.996) * (math.cos(math.pi * (step + 1) / 30) + 1) / 2
        weight = tau * weight + (1 - tau) * method.head.last.detach().double()
        method.after_step(Progress(step + 1, 30, 0, 1))
        error = max(error, float(abs(method.centre.double().numpy() - centre).max()))
    error = max(error, float((method.teacher.networks[1].last.double() - weight).abs().max()))
    error = max(error, abs(float(method.warm) - (0.04 + 0.03 * min(1, 3 / 30 / 0.1))))
    return Check("centre, teacher and its temperature are those worked out by hand", error, 1e-6)


CASES = [formula, uniform_outputs, state_after_steps]

KNOCKOUTS = {
    "the centre in the loss": lambda patch: patch(
        dino, "distillation_loss", lambda s, t, c, a, b, original=dino.distillation_loss: original(s, t, 0 * c, a, b)
    ),
    "sharpening": lambda patch: patch(
        dino, "distillation_loss", lambda s, t, c, a, b, original=dino.distillation_loss: original(s, t, c, a, a)
    ),
    "different views": lambda patch: patch(
        dino, "distillation_loss", lambda s, t, c, a, b: -(torch.softmax((t - c) / b, 2)
        * torch.log_softmax(s[: len(t)] / a, 2)).sum(2).mean()
    ),
    "the centre's update": lambda patch: patch(
        dino, "mean_over_processes", lambda value: torch.zeros_like(value)
    ),
}  # fmt: skip
