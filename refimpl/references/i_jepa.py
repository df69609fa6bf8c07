"""I-JEPA's loss, masks and target encoder by loops, from arXiv 2301.08243 (Eq. 1, section 3) and the authors' code."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.masked import i_jepa
from refimpl.references import Check, compare


def slow_loss(prediction: np.ndarray, target: np.ndarray, wanted: np.ndarray, as_printed: bool) -> float:
    images, blocks, patches, width = prediction.shape
    total = 0.0
    for b in range(images):
        for m in range(blocks):
            block, count = 0.0, 0
            for t in range(patches):
                if not wanted[b, m, t]:
                    continue
                count += 1
                y = target[b, m, t]
                if as_printed:
                    block += sum((p - v) ** 2 for p, v in zip(prediction[b, m, t], y))
                    continue
                mean = sum(y) / width
                deviation = math.sqrt(sum((v - mean) ** 2 for v in y) / width + 1e-5)
                for p, v in zip(prediction[b, m, t], (y - mean) / deviation):
                    off = abs(p - v)
                    block += (0.5 * off * off if off < 1 else off - 0.5) / width
            total += (block if as_printed else block / count) / blocks / images
    return total


def _formula(as_printed: bool) -> Check:
    rng = np.random.default_rng(1)
    target, wanted = rng.normal(size=(2, 3, 4, 5)) * 2 + 1, rng.random((2, 3, 4)) < 0.6
    wanted[:, :, 0] = True
    fixed = torch.tensor(target), torch.tensor(wanted), as_printed
    return compare(
        f"the loss and its gradient equal loops over blocks ({'Eq. 1' if as_printed else 'the code'})",
        lambda prediction: i_jepa.jepa_loss(prediction, *fixed),
        lambda prediction: slow_loss(prediction, target, wanted, as_printed),
        {"prediction": rng.normal(size=(2, 3, 4, 5)) * 2},
    )


def as_in_the_code() -> Check:
    return _formula(False)


def as_printed() -> Check:
    return _formula(True)


def answering_zero() -> Check:
    """The mean of the smooth L1 of a standard normal number: P(|x| < 1) / 2 - phi(1) + 2 phi(1) - P(|x| > 1) / 2."""
    target = torch.randn(4, 4, 8, 4096, generator=torch.Generator().manual_seed(0)).double()
    inside, phi = math.erf(math.sqrt(0.5)), math.exp(-0.5) / math.sqrt(2 * math.pi)
    exact = inside / 2 - phi + 2 * phi - (1 - inside) / 2
    ours = float(i_jepa.jepa_loss(torch.zeros_like(target), target, torch.ones(4, 4, 8, dtype=torch.bool)))
    return Check("answering zero always has the loss of chance", abs(ours / exact - 1), 0.01)


def small(**hyper) -> i_jepa.IJEPA:
    torch.manual_seed(0)
    hyper = {"predictor_width": 16, "predictor_depth": 1, **hyper}
    return i_jepa.IJEPA({"image": Input(("a", "b"), 32)}, "vit_micro", **hyper).eval()


def masks() -> Check:
    """Targets are full rectangles of the stated sizes and shapes; the context is its square block without them."""
    method = small()
    made = method.masks(Draws(0, 0, torch.arange(60)))
    wrong = total = 0
    areas = []
    for b in range(60):
        hidden = set()
        for m in range(4):
            cells = [int(p) for p, w in zip(made["target"][b, m], made["wanted"][b, m]) if w]
            rows, columns = {p // 8 for p in cells}, {p % 8 for p in cells}
            height, width = (max(s) - min(s) + 1 for s in (rows, columns))
            # Sides are rounded to whole patches: the exact ones are less than half a patch away.
            fits = (height - 0.5) / (width + 0.5) <= 1.5 and (height + 0.5) / (width - 0.5) >= 0.75
            small_enough = (height - 0.5) * (width - 0.5) <= 0.2 * 64 and (height + 0.5) * (width + 0.5) >= 0.15 * 64
            wrong += not (len(set(cells)) == len(cells) == height * width and fits and small_enough)
            areas.append(len(cells) / 64)
            hidden |= set(cells)
        context = [int(p) for p, s in zip(made["context"][b], made["seen"][b]) if s]
        wrong += bool(hidden & set(context)) or len(set(context)) != len(context) or len(context) > 32
        total += 5
    unlike = not 0.15 < sum(areas) / len(areas) < 0.2 or len({tuple(r.tolist()) for r in made["context"]}) < 60
    return Check("share of blocks that are not what they should be", wrong / total + unlike, 0.0)


def context_is_random_half() -> Check:
    """Of a long context every patch is as likely to be used: none stands back because of its place."""
    made = small(targets=1).masks(Draws(0, 1, torch.arange(2000)))
    used = torch.bincount(made["context"][made["seen"]], minlength=64).view(8, 8).double()
    return Check(
        "upper and lower half of the patches are used alike", float(abs(used[:4].mean() / used[4:].mean() - 1)), 0.05
    )


def without_padding() -> Check:
    """The whole loss once more, image by image and block by block, with exactly the tokens that are meant."""
    method = small().double()
    batch = method.prepare({"image": torch.randint(0, 255, (6, 2, 32, 32))}, Draws(0, 0, torch.arange(6)))
    batch["x"] = batch["x"].double()
    student, teacher, predictor = method.encoder.net, method.teacher.networks[0].net, method.predictor
    with torch.no_grad():
        for parameter in method.parameters():  # so that tokens heed one another, and the teacher is another network
            parameter.add_(0.1 * torch.randn_like(parameter))
        ours = float(method(batch).loss)
        total = 0.0
        for b in range(6):
            x = batch["x"][b : b + 1]
            places = batch["context"][b][batch["seen"][b]]
            tokens = torch.cat([student.cls_token, student.patch_embed(x).reshape(1, 64, -1)], 1) + student.pos_embed
            tokens = torch.cat([tokens[:, :1], tokens[:, 1 + places]], 1)
            z = student.norm(student.blocks(tokens))[:, 1:]
            everything = teacher.forward_features(x)[0, 1:]
            for m in range(4):
                asked = batch["target"][b, m][batch["wanted"][b, m]]
                known = predictor.enter(z[0]) + predictor.positions[places]
                inner = torch.cat([known, predictor.mask_token + predictor.positions[asked]])[None]
                for block in predictor.blocks:
                    inner = block(inner)
                answer = predictor.leave(predictor.norm(inner))[0, len(places) :]
                pair = [v.numpy()[None, None] for v in (answer, everything[asked])]
                total += slow_loss(*pair, np.ones((1, 1, len(asked)), bool), False) / 24
    return Check("the loss equals that of single images and blocks without padding", abs(ours - total) / total, 1e-6)


def context_sees_no_target() -> Check:
    method = small()
    made = method.masks(Draws(0, 0, torch.arange(4)))
    x = torch.randn(4, 2, 32, 32)
    shown = torch.zeros(4, 64)
    for b in range(4):
        shown[b, made["context"][b][made["seen"][b]]] = 1
    pixels = shown.view(4, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(pixels > 0, x, torch.randn_like(x))
    with torch.no_grad():
        off = method.encode_context(x, made["context"], made["seen"])
        off = (off - method.encode_context(other, made["context"], made["seen"]))[made["seen"]]
    return Check("what is not in the context cannot be seen", float(off.abs().max()), 1e-5)


def target_encoder() -> Check:
    """A weight of the target encoder after four steps of ten, its momentum on a straight line from 0.9 to 1."""
    method = small(momentum=0.9)
    weight = method.encoder.net.cls_token.detach().clone().double()
    for step in range(4):
        with torch.no_grad():
            method.encoder.net.cls_token.add_(0.1 * (step + 1))
        momentum = 0.9 + 0.1 * (step + 1) / 10
        weight = momentum * weight + (1 - momentum) * method.encoder.net.cls_token.detach().double()
        method.after_step(Progress(step + 1, 10, 0, 1))
    off = method.teacher.networks[0].net.cls_token.double() - weight
    return Check("the target encoder follows as worked out by hand", float(off.abs().max()), 1e-6)


CASES = [
    as_in_the_code, as_printed, answering_zero, masks, context_is_random_half, without_padding, context_sees_no_target,
    target_encoder,
]  # fmt: skip


def _without_standardising(prediction, target, wanted, as_printed=False):
    error = torch.nn.functional.smooth_l1_loss(prediction, target, reduction="none").mean(3)
    return ((error * wanted).sum(2) / wanted.sum(2)).mean()


def _overlapping(self, draws, original=i_jepa.IJEPA.masks):
    made = original(self, draws)
    made["context"][:, 1], made["seen"][:, 1] = made["target"][:, 0, 0], True
    return made


def _all_visible(vit, tokens, visible=None, original=i_jepa.transform):
    return original(vit, tokens)


def _homeless(self, z, context, seen, target, wanted, original=i_jepa.Predictor.forward):
    return original(self, z, context, seen, torch.zeros_like(target), wanted)


KNOCKOUTS = {
    "standardised targets": lambda patch: patch(i_jepa, "jepa_loss", _without_standardising),
    "a context without the targets": lambda patch: patch(i_jepa.IJEPA, "masks", _overlapping),
    "empty places that nobody sees": lambda patch: patch(i_jepa, "transform", _all_visible),
    "places in what is asked": lambda patch: patch(i_jepa.Predictor, "forward", _homeless),
    "a target encoder that sees everything": lambda patch: patch(
        i_jepa.IJEPA, "target_features",
        lambda self, x, target, original=i_jepa.IJEPA.target_features: original(self, torch.zeros_like(x), target),
    ),
    "a target encoder that follows": lambda patch: patch(i_jepa.Teacher, "follow", lambda self, *a: None),
}  # fmt: skip
