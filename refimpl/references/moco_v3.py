"""MoCo v3's contrast and its step by loops, from Eq. 1 and Algorithm 1 of arXiv 2104.02057."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import moco_v3
from refimpl.parts.teacher import Teacher
from refimpl.references import Check, compare


def slow_contrast(queries: np.ndarray, keys: np.ndarray, temperature: float, first: int = 0) -> float:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    total = 0.0
    for i, q in enumerate(queries):
        positive = math.exp(cosine(q, keys[first + i]) / temperature)
        total -= math.log(positive / sum(math.exp(cosine(q, k) / temperature) for k in keys))
    return 2 * temperature * total / len(queries)


def _formula(temperature: float, first: int) -> Check:
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(6, 5))
    return compare(
        f"the loss and its gradient equal a loop at temperature {temperature}",
        lambda queries: moco_v3.contrast(queries, torch.tensor(keys), temperature, first),
        lambda queries: slow_contrast(queries, keys, temperature, first),
        {"queries": rng.normal(size=(4, 5))},
    )


def cool() -> Check:
    return _formula(0.2, 0)


def keys_of_other_processes() -> Check:
    """The first two keys are another process's."""
    return _formula(1.0, 2)


def known_points() -> Check:
    """Keys equal to their queries and orthogonal to the others give 0; all alike, 2 tau ln N."""
    one, same = torch.eye(5, dtype=torch.float64), torch.ones(5, 3, dtype=torch.float64)
    far = float(moco_v3.contrast(one, 7 * one, 0.02))
    near = float(moco_v3.contrast(same, same, 0.2))
    return Check("known points: 0 and 2 tau ln N", abs(far) + abs(near - 0.4 * math.log(5)), 1e-9)


def keys_get_no_gradient() -> Check:
    q, k = (torch.randn(4, 3, generator=torch.Generator().manual_seed(s)).requires_grad_() for s in (0, 1))
    moco_v3.contrast(q, k, 0.2).backward()
    return Check("no gradient reaches the keys", 0.0 if k.grad is None else float(k.grad.abs().sum()), 0.0)


def small(**hyper) -> moco_v3.MoCoV3:
    torch.manual_seed(0)
    sizes = {"hidden": 16, "dim": 6, **hyper}
    return moco_v3.MoCoV3({"image": Input(("a", "b"), 16)}, "vit_micro", **sizes).eval()


def _batch(method: moco_v3.MoCoV3, step: int) -> dict:
    image = torch.randint(0, 9, (3, 2, 16, 16), generator=torch.Generator().manual_seed(step))
    return method.prepare({"image": image}, Draws(0, step, torch.arange(3)))


def two_steps_by_hand() -> Check:
    """Each loss from the networks' own outputs, view by view, with the key network's weights kept by hand."""
    method = small(momentum=0.7)
    encoder, projector = method.teacher.networks
    moving = [p.detach().clone() for p in method.projector.parameters()]
    predictor, error = method.predictor, 0.0
    for step in range(2):
        batch = _batch(method, step)
        with torch.no_grad():
            for parameter, value in zip(projector.parameters(), moving, strict=True):
                error = max(error, float((parameter - value).abs().max()))
            views = batch["x"][:3], batch["x"][3:]
            q = [predictor(method.projector(method.encoder(x))).double().numpy() for x in views]
            k = [projector(encoder(x)).double().numpy() for x in views]
            ours = float(method(batch).loss)
            expected = slow_contrast(q[0], k[1], 0.2) + slow_contrast(q[1], k[0], 0.2)
            error = max(error, abs(ours - expected) / expected)
            for parameter in (*method.projector.parameters(), *method.predictor.parameters()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
        momentum = 1 - 0.3 * (math.cos(math.pi * (step + 1) / 4) + 1) / 2
        moving = [momentum * m + (1 - momentum) * p.detach() for m, p in zip(moving, method.projector.parameters())]
        method.after_step(Progress(step + 1, 4, 0, 1))
    return Check("two steps equal those by hand", error, 1e-5)


def first_layer_stays() -> Check:
    """Patches and positions get no gradient, the tokens' first block does; `freeze=False` trains the patches."""
    wrong = 0.0
    for freeze in (True, False):
        method = small(freeze=freeze)
        method(_batch(method, 0)).loss.backward()
        vit = method.encoder.net
        wrong += float((vit.patch_embed.proj.weight.grad is None) != freeze)
        wrong += float(vit.pos_embed.grad is not None) + float(vit.blocks[0].attn.qkv.weight.grad is None)
    return Check("the layer that makes the patches stays random", wrong, 0.0)


def how_tokens_are_made() -> Check:
    """Patches: Xavier-uniform over all bands and pixels, the bound reached and not passed. Positions: sines and cosines
    of each patch's column, then of its row; the class token has none."""
    vit = small().encoder.net
    weight, found = vit.patch_embed.proj.weight.detach(), vit.pos_embed[0].detach().double().numpy()
    outputs, *patch = weight.shape
    bound = math.sqrt(6 / (outputs + math.prod(patch)))
    error = max(0.0, abs(float(weight.abs().max()) / bound - 1) - 0.01)
    grid, quarter = 4, found.shape[1] // 4
    error = max(error, float(np.abs(found[0]).max()))
    for row in range(grid):
        for column in range(grid):
            angles = [[p / 10000 ** (i / quarter) for i in range(quarter)] for p in (column, row)]
            code = [f(a) for part in angles for f in (math.sin, math.cos) for a in part]
            error = max(error, float(np.abs(found[1 + row * grid + column] - code).max()))
    return Check("patches are projected at random, positions are sines and cosines", error, 1e-6)


CASES = [
    cool,
    keys_of_other_processes,
    known_points,
    keys_get_no_gradient,
    two_steps_by_hand,
    first_layer_stays,
    how_tokens_are_made,
]

_contrast, _forward = moco_v3.contrast, moco_v3.MoCoV3.forward


def _unpredicted(self, batch, turn="all"):
    self.predictor, kept = nn.Identity(), self.predictor
    out = _forward(self, batch, turn)
    self.predictor = kept
    return out


def _own_view(self, batch, turn="all"):
    teacher = self.teacher.forward
    self.teacher.forward = lambda x: torch.cat(teacher(x).chunk(2)[::-1])
    try:
        return _forward(self, batch, turn)
    finally:
        del self.teacher.forward


def _with_gradient(q, k, t, first=0):
    q, k = (nn.functional.normalize(x, dim=1) for x in (q, k))
    return 2 * t * nn.functional.cross_entropy(q @ k.T / t, first + torch.arange(len(q)))


KNOCKOUTS = {
    "negatives": lambda patch: patch(
        moco_v3, "contrast", lambda q, k, t, first=0: 2 - 2 * torch.cosine_similarity(q, k[first:][: len(q)]).mean()
    ),
    "the factor 2 tau": lambda patch: patch(
        moco_v3, "contrast", lambda q, k, t, first=0: _contrast(q, k, t, first) / (2 * t)
    ),
    "the place of the own keys": lambda patch: patch(
        moco_v3, "contrast", lambda q, k, t, first=0: _contrast(q, k, t)
    ),
    "the stopped gradient": lambda patch: patch(moco_v3, "contrast", _with_gradient),
    "the predictor": lambda patch: patch(moco_v3.MoCoV3, "forward", _unpredicted),
    "the other view": lambda patch: patch(moco_v3.MoCoV3, "forward", _own_view),
    "the moving average": lambda patch: patch(Teacher, "follow", lambda self, momentum, *networks: None),
    "the frozen first layer": lambda patch: patch(moco_v3, "freeze_patches", lambda vit: None),
    "fixed positions": lambda patch: patch(moco_v3, "fix_positions", lambda vit: None),
}  # fmt: skip
