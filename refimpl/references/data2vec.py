"""data2vec's targets and loss by loops, from section 3.3 of arXiv 2202.03555, and its step from single blocks."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.masked import data2vec
from refimpl.references import Check, compare


def standardised(row: np.ndarray) -> np.ndarray:
    mean = sum(row) / len(row)
    return (row - mean) / math.sqrt(sum((v - mean) ** 2 for v in row) / len(row) + 1e-5)


def slow_targets(outputs: np.ndarray, normalise: str) -> np.ndarray:
    blocks, images, patches, width = outputs.shape
    made = np.zeros((images, patches, width))
    for b in range(images):
        for n in range(patches):
            rows = [outputs[k, b, n] for k in range(blocks)]
            if normalise == "each":
                made[b, n] = sum(standardised(row) for row in rows) / blocks
            else:
                made[b, n] = standardised(sum(rows) / blocks)
    return made


def slow_loss(prediction: np.ndarray, target: np.ndarray, hidden: np.ndarray, beta: float) -> float:
    total = 0.0
    for b in range(len(target)):
        errors = []
        for n in range(target.shape[1]):
            if hidden[b, n]:
                for f, y in zip(prediction[b, n], target[b, n]):
                    off = abs(y - f)
                    errors.append(0.5 * off * off / beta if off <= beta else off - 0.5 * beta)
        total += sum(errors) / len(errors) / len(target)
    return total


def formula() -> Check:
    rng = np.random.default_rng(1)
    target, hidden = rng.normal(size=(2, 4, 5)), np.array([[1, 0, 1, 1], [0, 1, 0, 0]], bool)
    fixed = torch.tensor(target), torch.tensor(hidden)
    return compare(
        "the loss and its gradient equal loops over hidden patches, on both sides of beta",
        lambda prediction: data2vec.regression_loss(prediction, *fixed, 1.5),
        lambda prediction: slow_loss(prediction, target, hidden, 1.5),
        {"prediction": rng.normal(size=(2, 4, 5)) * 3},
    )


def _targets(normalise: str) -> Check:
    outputs = np.random.default_rng(2).normal(size=(3, 2, 4, 6)) * np.array([1.0, 4.0, 9.0])[:, None, None, None]
    ours = data2vec.mean_of_blocks(torch.tensor(outputs), normalise).numpy()
    return Check(
        f"targets equal loops over blocks (normalised: {normalise})",
        abs(ours - slow_targets(outputs, normalise)).max(),
        1e-6,
    )


def each_block_normalised() -> Check:
    return _targets("each")


def mean_normalised() -> Check:
    return _targets("mean")


def small(**hyper) -> data2vec.Data2Vec:
    torch.manual_seed(0)
    method = data2vec.Data2Vec({"image": Input(("a", "b"), 32)}, "vit_micro", top=2, momentum=0.9, **hyper).eval()
    with torch.no_grad():
        torch.nn.init.normal_(method.mask_token)
        for parameter in method.teacher.parameters():  # so that its blocks differ
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def masks() -> Check:
    batch = small().prepare({"image": torch.zeros(500, 2, 32, 32)}, Draws(0, 0, torch.arange(500)))
    share = batch["hidden"].double().mean(1)
    far = max(0.0, float(share.max()) - 0.6) + abs(float(share.mean()) - 0.57)
    return Check("about 60 % are hidden, and never more", far, 0.03)


def steps_by_hand() -> Check:
    """The loss from the outputs of single blocks, with the masked picture made by hand; then the teacher's weights."""
    method = small()
    teacher = method.teacher.networks[0].net
    weight, error = teacher.cls_token.clone().double(), 0.0
    for step in range(2):
        image = torch.randint(0, 255, (3, 2, 32, 32), generator=torch.Generator().manual_seed(step))
        batch = method.prepare({"image": image}, Draws(0, step, torch.arange(3)))
        with torch.no_grad():
            ours = float(method(batch).loss)
            _, upper = teacher.forward_intermediates(batch["x"], indices=[2, 3], norm=False, output_fmt="NLC")
            net = method.encoder.net
            content = net.patch_embed(batch["x"]).reshape(3, 64, -1)
            content[batch["hidden"]] = method.mask_token
            tokens = torch.cat([net.cls_token.expand(3, -1, -1), content], 1) + net.pos_embed
            answer = method.head(net.norm(net.blocks(tokens))[:, 1:]).double().numpy()
            upper = np.array([block.double().numpy() for block in upper])  # the last two of four
            expected = slow_loss(answer, slow_targets(upper, "each"), batch["hidden"].numpy(), 2.0)
            error = max(error, abs(ours - expected) / expected)
            net.cls_token.add_(0.1 * (step + 1))
        weight = 0.9 * weight + 0.1 * net.cls_token.detach().double()
        method.after_step(Progress(step + 1, 10, 0, 1))
        error = max(error, float((teacher.cls_token.double() - weight).abs().max()))
    return Check("losses and teacher of two steps equal those by hand", error, 1e-4)


CASES = [formula, each_block_normalised, mean_normalised, masks, steps_by_hand]


def _last_only(outputs, normalise="each", original=data2vec.mean_of_blocks):
    return original(outputs[-1:], normalise)


def _everywhere(prediction, target, hidden, beta=2.0, original=data2vec.regression_loss):
    return original(prediction, target, torch.ones_like(hidden), beta)


def _unmasked(vit, x, hidden=None, mask_token=None, original=data2vec.embed_tokens):
    return original(vit, x)


KNOCKOUTS = {
    "the mean over upper blocks": lambda patch: patch(data2vec, "mean_of_blocks", _last_only),
    "normalised blocks": lambda patch: patch(
        data2vec, "mean_of_blocks", lambda outputs, normalise="each": outputs.mean(0)
    ),
    "the loss on hidden patches only": lambda patch: patch(data2vec, "regression_loss", _everywhere),
    "hidden patches": lambda patch: patch(data2vec, "embed_tokens", _unmasked),
    "the straight part of the loss": lambda patch: patch(
        data2vec, "regression_loss",
        lambda p, t, h, b=2.0, original=data2vec.regression_loss: original(p, t, h, 1e3) * 1e3 / b,
    ),
    "a teacher that follows": lambda patch: patch(data2vec.Teacher, "follow", lambda self, *a: None),
}  # fmt: skip
