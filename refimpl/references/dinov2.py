"""DINOv2's three terms and its step by loops, from section 4 of arXiv 2304.07193."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import dinov2
from refimpl.references import Check, compare
from refimpl.references.dino import softmax


def cross(target: np.ndarray, output: np.ndarray) -> float:
    return -sum(t * math.log(p) for t, p in zip(target, softmax(output, 0.1)))


def slow_views(student: np.ndarray, targets: np.ndarray) -> float:
    found = []
    for i in range(len(targets)):
        for j in range(len(student)):
            if i != j:
                found += [cross(t, s) for t, s in zip(targets[i], student[j])]
    return sum(found) / len(found)


def slow_hidden(student: np.ndarray, targets: np.ndarray, hidden: np.ndarray) -> float:
    total = 0.0
    for b in range(len(student)):
        errors = [cross(targets[b, n], student[b, n]) for n in range(student.shape[1]) if hidden[b, n]]
        total += sum(errors) / len(errors) / len(student) if errors else 0.0
    return total


def slow_koleo(features: np.ndarray) -> float:
    x = [row / math.sqrt(sum(v * v for v in row)) for row in features]
    nearest = [min(math.dist(a, b) for j, b in enumerate(x) if j != i) for i, a in enumerate(x)]
    return -sum(math.log(d) for d in nearest) / len(x)


def balanced(outputs: np.ndarray, temperature: float) -> np.ndarray:
    q = np.array([[math.exp(v / temperature) for v in row] for row in outputs])
    for _ in range(3):
        q = q / q.sum(0, keepdims=True)
        q = q / q.sum(1, keepdims=True)
    return q


def views() -> Check:
    rng = np.random.default_rng(1)
    targets = rng.dirichlet(np.ones(5), (2, 3))
    return compare(
        "the loss of views and its gradient equal loops over pairs",
        lambda student: dinov2.view_loss(student, torch.tensor(targets), 0.1),
        lambda student: slow_views(student, targets),
        {"student": rng.uniform(-0.3, 0.3, size=(4, 3, 5))},
    )


def hidden_patches() -> Check:
    rng = np.random.default_rng(2)
    targets, hidden = rng.dirichlet(np.ones(5), (3, 4)), np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    return compare(
        "the loss of patches and its gradient equal loops over hidden ones",
        lambda student: dinov2.hidden_loss(student, torch.tensor(targets), torch.tensor(hidden), 0.1),
        lambda student: slow_hidden(student, targets, hidden),
        {"student": rng.uniform(-0.3, 0.3, size=(3, 4, 5))},
    )


def koleo() -> Check:
    return compare(
        "KoLeo and its gradient equal loops over pairs of images",
        dinov2.koleo,
        slow_koleo,
        {"features": np.random.default_rng(3).normal(size=(6, 4)) * 2},
    )


def koleo_of_a_simplex() -> Check:
    """Orthogonal features lie sqrt(2) apart, whatever their length."""
    ours = float(dinov2.koleo(3 * torch.eye(7, dtype=torch.float64)))
    return Check("KoLeo of orthogonal features is -ln(2) / 2", abs(ours + math.log(2) / 2), 1e-6)


def two_steps_by_hand() -> Check:
    torch.manual_seed(0)
    sizes = {"outputs": 8, "hidden": 8, "bottleneck": 4, "crops": 1, "momentum": 0.9}
    method = dinov2.DINOv2({"image": Input(("a", "b"), 32)}, "vit_micro", **sizes).eval()
    torch.nn.init.normal_(method.mask_token)
    encoder, head, patch_head = method.teacher.networks
    weight, error = method.patch_head.last.detach().clone().double(), 0.0
    for step in range(2):
        image = torch.randint(0, 255, (4, 2, 32, 32), generator=torch.Generator().manual_seed(step))
        batch = method.prepare({"image": image}, Draws(0, step, torch.arange(4)))
        tau = 0.04 + 0.03 * min(1, step / 30 / 0.1)
        with torch.no_grad():
            ours = float(method(batch).loss)
            net = method.encoder.net
            content = net.patch_embed(batch["large"]).reshape(8, 64, -1)
            content[batch["hidden"]] = method.mask_token
            tokens = torch.cat([net.cls_token.expand(8, -1, -1), content], 1) + net.pos_embed
            tokens = net.norm(net.blocks(tokens))
            crops = net.forward_features(batch["small"])[:, 0]
            student = method.head(torch.cat([tokens[:, 0], crops])).view(3, 4, 8).double().numpy()
            patches = method.patch_head(tokens[:, 1:]).double().numpy()
            seen = encoder.net.forward_features(batch["large"])
            whole = balanced(head(seen[:, 0]).double().numpy(), tau).reshape(2, 4, 8)
            parts = balanced(patch_head(seen[:, 1:]).flatten(0, 1).double().numpy(), tau).reshape(8, 64, 8)
            classes = tokens[:, 0].double().numpy()
            expected = slow_views(student, whole) + slow_hidden(patches, parts, batch["hidden"].numpy())
            expected += 0.1 * (slow_koleo(classes[:4]) + slow_koleo(classes[4:]))
            method.patch_head.last.add_(0.01 * torch.randn_like(method.patch_head.last))
        error = max(error, abs(ours - expected) / expected)
        momentum = 1 - (1 - 0.9) * (math.cos(math.pi * (step + 1) / 30) + 1) / 2
        weight = momentum * weight + (1 - momentum) * method.patch_head.last.detach().double()
        method.after_step(Progress(step + 1, 30, 0, 1))
        error = max(error, float((patch_head.last.double() - weight).abs().max()))
    return Check("losses, temperature and teacher of two steps equal those by hand", error, 1e-4)


CASES = [views, hidden_patches, koleo, koleo_of_a_simplex, two_steps_by_hand]

KNOCKOUTS = {
    "balanced targets": lambda patch: patch(dinov2, "sinkhorn", lambda outputs, tau: torch.softmax(outputs / tau, 1)),
    "different views": lambda patch: patch(
        dinov2, "view_loss", lambda s, t, tau: -(t * torch.log_softmax(s[: len(t)] / tau, 2)).sum(2).mean()
    ),
    "the loss on hidden patches only": lambda patch: patch(
        dinov2, "hidden_loss", lambda s, t, h, tau, original=dinov2.hidden_loss: original(s, t, torch.ones_like(h), tau)
    ),
    "hidden patches": lambda patch: patch(
        dinov2, "embed_tokens", lambda vit, x, hidden=None, token=None, original=dinov2.embed_tokens: original(vit, x)
    ),
    "the nearest neighbour in KoLeo": lambda patch: patch(
        dinov2, "koleo", lambda features: -torch.pdist(torch.nn.functional.normalize(features, dim=1)).log().mean()
    ),
    "unit vectors in KoLeo": lambda patch: patch(dinov2.F, "normalize", lambda x, dim: x),
    "a head for patches": lambda patch: patch(
        dinov2.DINOv2, "targets",
        lambda self, x: (
            dinov2.sinkhorn(self.teacher.networks[1](self.teacher.networks[0].map(x)[:, 0]), self.warm),
            torch.softmax(self.teacher.networks[1](self.teacher.networks[0].map(x)[:, 1:]) / self.warm, 2),
        ),
    ),
    "a teacher that follows": lambda patch: patch(dinov2.Teacher, "follow", lambda self, *a: None),
}  # fmt: skip
