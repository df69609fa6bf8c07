"""MSN's two terms, masks and teacher by loops, from Eq. 1 of arXiv 2204.07141."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import msn
from refimpl.references import Check, compare


def unit(v: np.ndarray) -> np.ndarray:
    return v / math.sqrt(sum(x * x for x in v))


def assigned(z: np.ndarray, prototypes: np.ndarray, tau: float) -> np.ndarray:
    exps = [math.exp(sum(a * b for a, b in zip(unit(z), unit(q))) / tau) for q in prototypes]
    return np.array(exps) / sum(exps)


def slow_targets(targets: np.ndarray, prototypes: np.ndarray, tau: float, sharpen: float, balanced: bool) -> np.ndarray:
    """As the authors' code has it: p to the power of 1 / sharpen, then Sinkhorn on these."""
    q = np.array([assigned(z, prototypes, tau) ** (1 / sharpen) for z in targets])
    q = q / q.sum(1, keepdims=True)
    for _ in range(3 if balanced else 0):
        q = q / q.sum(0, keepdims=True)
        q = q / q.sum(1, keepdims=True)
    return q


def slow_loss(anchors: np.ndarray, targets: np.ndarray, prototypes: np.ndarray, weight: float) -> float:
    images, count = len(targets), len(prototypes)
    total, mean = 0.0, [0.0] * count
    for j, z in enumerate(anchors):
        p = assigned(z, prototypes, 0.1)
        total -= sum(t * math.log(v) for t, v in zip(targets[j % images], p)) / len(anchors)
        mean = [m + v / len(anchors) for m, v in zip(mean, p)]
    return total + weight * (math.log(count) + sum(m * math.log(m) for m in mean))


def formula() -> Check:
    rng = np.random.default_rng(1)
    targets = rng.dirichlet(np.ones(5), 3)

    def fast(anchors, prototypes):
        agree, unused = msn.msn_terms(anchors, torch.tensor(targets), prototypes, 0.1)
        return agree + 0.7 * unused

    return compare(
        "the loss and its gradient equal loops over anchors and prototypes",
        fast,
        lambda anchors, prototypes: slow_loss(anchors, targets, prototypes, 0.7),
        {"anchors": rng.normal(size=(6, 4)), "prototypes": rng.normal(size=(5, 4))},
    )


def _targets(balanced: bool) -> Check:
    rng = np.random.default_rng(2)
    z, prototypes = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    ours = msn.sharp_targets(torch.tensor(z), torch.tensor(prototypes), 0.025, balanced).numpy()
    off = abs(ours - slow_targets(z, prototypes, 0.1, 0.25, balanced)).max()
    return Check(f"targets equal powers of assignments ({'balanced' if balanced else 'plain'})", off, 1e-6)


def plain_targets() -> Check:
    return _targets(False)


def balanced_targets() -> Check:
    return _targets(True)


def known_points() -> Check:
    """Nothing told apart: ln K. All prototypes used and each target met: as good as 0. All in one: ln K again."""
    q = torch.eye(8, dtype=torch.float64)
    uniform = sum(msn.msn_terms(torch.ones_like(q), torch.full_like(q, 1 / 8), q, 0.1))
    perfect = sum(msn.msn_terms(q, q, q, 0.02))
    one = sum(msn.msn_terms(q[:1].repeat(8, 1), q[:1].repeat(8, 1), q, 0.02))
    off = abs(float(uniform) - math.log(8)) + abs(float(perfect)) + abs(float(one) - math.log(8))
    return Check("the loss of no, of perfect and of collapsed assignments", off, 1e-6)


def small(**hyper) -> msn.MSN:
    torch.manual_seed(0)
    sizes = {"prototypes": 6, "hidden": 8, "dim": 4, "crops": 2, "drop": 0.5, **hyper}
    return msn.MSN({"image": Input(("a", "b"), 32)}, "vit_micro", **sizes).eval()


def dropped_patches() -> Check:
    """What was dropped cannot be seen, half of the patches were, and no two images dropped the same."""
    method = small()
    batch = method.prepare({"image": torch.randint(0, 255, (4, 2, 32, 32))}, Draws(0, 0, torch.arange(4)))
    x, kept = batch["large"], batch["large_kept"]
    seen = torch.zeros(4, 64).scatter_(1, kept, 1.0).view(4, 1, 8, 8)
    pixels = seen.repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(pixels > 0, x, torch.randn_like(x))
    with torch.no_grad():
        off = float((method.encode(x, kept) - method.encode(other, kept)).abs().max())
    odd = seen.sum((1, 2, 3)).tolist() != [32.0] * 4 or len({tuple(sorted(row.tolist())) for row in kept}) < 4
    return Check("half of the patches are seen, each image's own", off + float(odd), 1e-5)


def two_steps_by_hand() -> Check:
    method = small(momentum=0.9)
    encoder, head = method.teacher.networks
    weight, error = head[0].weight.clone().double(), 0.0
    for step in range(2):
        image = torch.randint(0, 255, (4, 2, 32, 32), generator=torch.Generator().manual_seed(step))
        batch = method.prepare({"image": image}, Draws(0, step, torch.arange(4)))
        with torch.no_grad():
            ours = float(method(batch).loss)
            views = [(batch["large"], batch["large_kept"]), (batch["small"], batch["small_kept"])]
            anchors = torch.cat([method.head(method.encode(*view)) for view in views]).double().numpy()
            targets = head(encoder(batch["target"])).double().numpy()
            prototypes = method.prototypes.double().numpy()
            codes = slow_targets(targets, prototypes, 0.1, 0.25, True)
            error = max(error, abs(ours / slow_loss(anchors, codes, prototypes, 1.0) - 1))
            method.head[0].weight.add_(0.01 * (step + 1))
        momentum = 0.9 + 0.1 * (step + 1) / 10
        weight = momentum * weight + (1 - momentum) * method.head[0].weight.detach().double()
        method.after_step(Progress(step + 1, 10, 0, 1))
        error = max(error, float((head[0].weight.double() - weight).abs().max()))
    return Check("losses and teacher of two steps equal those by hand", error, 1e-4)


CASES = [formula, plain_targets, balanced_targets, known_points, dropped_patches, two_steps_by_hand]

KNOCKOUTS = {
    "the entropy of the mean": lambda patch: patch(
        msn, "msn_terms", lambda *a, original=msn.msn_terms: (original(*a)[0], torch.zeros((), dtype=a[0].dtype))
    ),
    "sharper targets": lambda patch: patch(
        msn, "sharp_targets", lambda z, q, tau, balanced=True, original=msn.sharp_targets: original(z, q, 0.1, balanced)
    ),
    "balanced targets": lambda patch: patch(msn, "sinkhorn", lambda scores, temperature: scores.exp()),
    "dropped patches": lambda patch: patch(msn, "pick", lambda tokens, kept: tokens),
    "vectors of unit length": lambda patch: patch(
        msn, "log_assignments", lambda z, q, tau: torch.log_softmax(z @ q.T / tau, 1)
    ),
    "a teacher that follows": lambda patch: patch(msn.Teacher, "follow", lambda self, *a: None),
}  # fmt: skip
