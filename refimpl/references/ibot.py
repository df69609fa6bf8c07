"""iBOT's patch loss, masks and state by loops, from Eq. 2 and 3 of arXiv 2111.07832; the rest by DINO's reference."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import ibot
from refimpl.parts import rectangles
from refimpl.references import Check, compare
from refimpl.references.dino import slow_loss as slow_distillation
from refimpl.references.dino import softmax


def slow_patches(
    student: np.ndarray, teacher: np.ndarray, hidden: np.ndarray, centre: np.ndarray, tau_s: float, tau_t: float,
    as_printed: bool,
) -> float:  # fmt: skip
    total = 0.0
    for b in range(len(student)):
        image = 0.0
        for i in range(student.shape[1]):
            if hidden[b, i]:
                p_t, p_s = softmax(teacher[b, i] - centre, tau_t), softmax(student[b, i], tau_s)
                image -= sum(p * math.log(q) for p, q in zip(p_t, p_s))
        count = int(sum(hidden[b]))
        total += image if as_printed else image / count if count else 0.0
    return total / len(student)


def _formula(as_printed: bool) -> Check:
    rng = np.random.default_rng(1)
    teacher, centre = rng.uniform(-1, 1, size=(3, 4, 5)) * 0.3, rng.uniform(-1, 1, size=5) * 0.1
    hidden = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    fixed = torch.tensor(teacher), torch.tensor(hidden), torch.tensor(centre)
    return compare(
        f"the patch loss and its gradient equal loops over hidden patches ({'sum' if as_printed else 'mean'})",
        lambda student: ibot.patch_loss(student, *fixed, 0.1, 0.05, as_printed),
        lambda student: slow_patches(student, teacher, hidden, centre, 0.1, 0.05, as_printed),
        {"student": rng.uniform(-1, 1, size=(3, 4, 5)) * 0.3},
    )


def mean_over_patches() -> Check:
    return _formula(False)


def sum_over_patches() -> Check:
    return _formula(True)


def small(**hyper) -> ibot.IBOT:
    torch.manual_seed(0)
    sizes = {"outputs": 8, "hidden": 8, "bottleneck": 4, "crops": 1, **hyper}
    method = ibot.IBOT({"image": Input(("a", "b"), 32)}, "vit_micro", **sizes).eval()
    torch.nn.init.normal_(method.mask_token)
    return method


def masks() -> Check:
    """Half of the views have none; of the others never more than half is hidden, nor much less than is wanted."""
    hidden = ibot.random_masks(Draws(0, 0, torch.arange(2000)), 8, 0.5, 0.1, 0.5).double().mean(1)
    some = hidden[hidden > 0]
    far = abs(float(len(some)) / 2000 - 0.5) + max(0.0, float(some.max()) - 0.5) + abs(float(some.mean()) - 0.28)
    return Check("share of masked views, and of hidden patches in them", far, 0.05)


def masks_are_blocks() -> Check:
    """A hidden patch has hidden neighbours far more often than if patches were hidden one by one."""
    hidden = ibot.random_masks(Draws(0, 1, torch.arange(500)), 8, 1.0, 0.1, 0.5).view(-1, 8, 8).double()
    together = float((hidden[:, 1:] * hidden[:, :-1]).sum() / hidden[:, 1:].sum())
    return Check("share of hidden patches whose neighbour is seen", max(0.0, 1 - together - 0.4), 0.0)


def two_steps_by_hand() -> Check:
    """The loss from the networks' own tokens, and both centres, the temperature and the teacher after each step."""
    method = small(momentum=0.9).double()
    encoder, head = method.teacher.networks
    centre, error = np.zeros((2, 8)), 0.0
    weight = head.last.detach().clone()
    for step in range(2):
        image = torch.randint(0, 255, (4, 2, 32, 32), generator=torch.Generator().manual_seed(step))
        batch = method.float().prepare({"image": image}, Draws(0, step, torch.arange(4)))
        method.double()
        batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
        with torch.no_grad():
            tau = float(method.warm)
            ours = float(method(batch).loss)
            net = method.encoder.net
            content = net.patch_embed(batch["large"]).reshape(8, 64, -1)
            for b in range(8):
                for i in range(64):
                    if batch["hidden"][b, i]:
                        content[b, i] = method.mask_token
            tokens = torch.cat([net.cls_token.expand(8, -1, -1), content], 1) + net.pos_embed
            tokens = net.norm(net.blocks(tokens))
            crops = net.forward_features(batch["small"])[:, 0]
            student = torch.cat([method.head(tokens[:, 0]), method.head(crops)]).view(3, 4, 8).numpy()
            patches = method.head(tokens[:, 1:]).numpy()
            whole = head(encoder.net.forward_features(batch["large"])).numpy()
        teacher = whole[:, 0].reshape(2, 4, 8)
        expected = slow_distillation(student, teacher, centre[0], 0.1, tau)
        expected += slow_patches(patches, whole[:, 1:], batch["hidden"].numpy(), centre[1], 0.1, tau, False)
        error = max(error, abs(ours - expected) / expected)
        means = np.array([whole[:, 0].mean(0), whole[:, 1:].reshape(-1, 8).mean(0)])
        centre = 0.9 * centre + 0.1 * means
        with torch.no_grad():
            method.head.last.add_(0.01 * torch.randn_like(method.head.last))
        momentum = 1 - (1 - 0.9) * (math.cos(math.pi * (step + 1) / 30) + 1) / 2
        weight = momentum * weight + (1 - momentum) * method.head.last.detach()
        method.after_step(Progress(step + 1, 30, 0, 1))
        error = max(error, float(abs(method.centre.numpy() - centre).max()))
        error = max(error, float((head.last - weight).abs().max()))
        error = max(error, abs(float(method.warm) - (0.04 + 0.03 * min(1, (step + 1) / 30 / 0.1))))
    return Check("losses, centres, temperature and teacher are those worked out by hand", error, 1e-5)


CASES = [mean_over_patches, sum_over_patches, masks, masks_are_blocks, two_steps_by_hand]


def _everywhere(s, t, hidden, c, a, b, as_printed=False, original=ibot.patch_loss):
    return original(s, t, torch.ones_like(hidden), c, a, b, as_printed)


def _seen(vit, x, hidden=None, mask_token=None, original=ibot.embed_tokens):
    return original(vit, x)


KNOCKOUTS = {
    "the patch loss on hidden patches only": lambda patch: patch(ibot, "patch_loss", _everywhere),
    "hidden patches": lambda patch: patch(ibot, "embed_tokens", _seen),
    "the centre of patches": lambda patch: patch(
        ibot, "patch_loss", lambda s, t, h, c, *a, original=ibot.patch_loss, **k: original(s, t, h, 0 * c, *a, **k)
    ),
    "sharpening of patches": lambda patch: patch(
        ibot, "patch_loss", lambda s, t, h, c, a, b, *r, original=ibot.patch_loss, **k: original(s, t, h, c, a, a)
    ),
    "the loss of class tokens": lambda patch: patch(ibot, "distillation_loss", lambda s, *a: 0 * s.sum()),
    "the centres' update": lambda patch: patch(ibot, "mean_over_processes", lambda value: torch.zeros_like(value)),
    "masks of blocks": lambda patch: patch(
        rectangles, "block_masks", lambda draws, grid, n, smallest: draws.uniform(grid**2) < (n / grid**2)[:, None]
    ),
}  # fmt: skip
