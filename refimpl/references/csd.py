"""CSD's consistency, its boxes of land cover and its step by loops, from section 3 of the paper (NeurIPS 2019)."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.semi_supervised import csd
from refimpl.parts.labelled import Few
from refimpl.references import Check, compare


def softmax(row) -> list[float]:
    e = [math.exp(v) for v in row]
    return [v / sum(e) for v in e]


def kl(p, q) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q))


def slow_cell(ours: np.ndarray, mirrored: np.ndarray, kinds: int) -> float:
    """Jensen-Shannon divergence and a quarter of the box's errors, of one cell."""
    p, q = softmax(ours[:kinds]), softmax(mirrored[:kinds])
    m = [(a + b) / 2 for a, b in zip(p, q)]
    (x, y, w, h), (x2, y2, w2, h2) = ours[kinds:], mirrored[kinds:]
    boxes = (x + x2) ** 2 + (y - y2) ** 2 + (w - w2) ** 2 + (h - h2) ** 2
    return kl(p, m) / 2 + kl(q, m) / 2 + boxes / 4


def _predictions() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"ours": rng.normal(size=(2, 3, 7)), "mirrored": rng.normal(size=(2, 3, 7))}


def as_printed() -> Check:
    return compare(
        "the consistency and its gradient equal a loop",
        lambda ours, mirrored: sum(csd.disagreement(ours, mirrored)).mean(),
        lambda ours, mirrored: np.mean([slow_cell(*pair, 3) for o, m in zip(ours, mirrored) for pair in zip(o, m)]),
        _predictions(),
    )


def as_coded() -> Check:
    """Each divergence with its target fixed, as the authors' code has it."""
    targets = {name: [softmax(c[:3]) for c in v.reshape(6, 7)] for name, v in _predictions().items()}

    def slow(ours: np.ndarray, mirrored: np.ndarray) -> float:
        total = 0.0
        for i, (a, b) in enumerate(zip(ours.reshape(6, 7), mirrored.reshape(6, 7))):
            total += kl(targets["mirrored"][i], softmax(a[:3])) / 2 + kl(targets["ours"][i], softmax(b[:3])) / 2
        return total / 6

    return compare(
        "the code's divergence and its gradient equal a loop",
        lambda ours, mirrored: csd.disagreement(ours, mirrored, as_coded=True)[0].mean(),
        slow,
        _predictions(),
    )


def known_points() -> Check:
    """Classes that exclude one another are ln 2 apart; a mirrored prediction agrees with itself."""
    sure = torch.tensor([[[40.0, 0, 0, 0.3, 0.2, 0.1, 0.4]], [[0, 40.0, 0, -0.3, 0.2, 0.1, 0.4]]]).double()
    far, boxes = csd.disagreement(sure[:1], sure[1:])
    same, _ = csd.disagreement(sure[:1], sure[:1])
    error = abs(float(far) - math.log(2)) + abs(float(boxes)) + abs(float(same))
    return Check("opposite classes are ln 2 apart, a mirrored box agrees", error, 1e-9)


def slow_cells(cover: np.ndarray, grid: int) -> list[tuple[int, list[float]]]:
    """Class and box of each cell of a square map whose side is a multiple of 2 * grid, pixel by pixel."""
    side, found = len(cover) // grid, []
    for row in range(grid):
        for column in range(grid):
            inner = cover[row * side : (row + 1) * side, column * side : (column + 1) * side].flatten().tolist()
            kind = min(set(inner), key=lambda k: (-inner.count(k), k))
            middle = (row + 0.5) * side, (column + 0.5) * side
            places = [
                (i, j)
                for i in range(len(cover))
                for j in range(len(cover))
                if cover[i, j] == kind and abs(i + 0.5 - middle[0]) < side and abs(j + 0.5 - middle[1]) < side
            ]
            (top, left), (bottom, right) = (tuple(f(p[a] for p in places) for a in (0, 1)) for f in (min, max))
            x, y = (left + right + 1) / 2 - middle[1], (top + bottom + 1) / 2 - middle[0]
            size = (right + 1 - left) / (2 * side), (bottom + 1 - top) / (2 * side)
            found.append((kind, [x / (2 * side), y / (2 * side), math.log(size[0]), math.log(size[1])]))
    return found


def boxes_of_land_cover() -> Check:
    cover = np.random.default_rng(2).integers(0, 3, size=(2, 6, 6)).repeat(2, 1).repeat(2, 2)
    error = 0.0
    for grid in (1, 3, 6):
        kind, box = csd.cells(torch.from_numpy(cover), grid)
        for b in range(2):
            for k, (expected, where) in enumerate(slow_cells(cover[b], grid)):
                error = max(error, abs(int(kind[b, k]) - expected), np.abs(box[b, k].numpy() - where).max())
    return Check("classes and boxes equal those found pixel by pixel", float(error), 1e-5)


def mirrored_land_cover_agrees() -> Check:
    """The true boxes of a map and of its mirror image, put back in place, are consistent."""
    cover = torch.randint(0, 3, (2, 6, 6), generator=torch.Generator().manual_seed(3)).repeat_interleave(2, 1)
    cover = cover.repeat_interleave(2, 2)
    (_, ours), (_, mirrored) = csd.cells(cover, 3), csd.cells(cover.flip(-1), 3)
    mirrored = mirrored.view(2, 3, 3, 4).flip(2).flatten(1, 2)
    ours, mirrored = (torch.cat([torch.zeros(2, 9, 1), box], 2) for box in (ours, mirrored))
    return Check(
        "true boxes are consistent with those of the mirror image", float(csd.disagreement(ours, mirrored)[1].max()), 0
    )


def schedule() -> Check:
    """The weight at some of the authors' 120,000 steps."""
    error = 0.0
    for step in (1, 8_000, 32_000, 60_000, 100_000, 110_000, 120_000):
        by_hand = math.exp(-5 * (1 - step / 32_000) ** 2) if step < 32_000 else 1.0
        if step > 100_000:
            by_hand = math.exp(-12.5 * (1 - (120_000 - step) / 20_000) ** 2)
        error = max(error, abs(csd.schedule(step / 120_000, 32 / 120, 20 / 120) - by_hand))
    return Check("the weight of the consistency rises and falls", error, 1e-9)


def turns() -> Check:
    """Eight different symmetries, the same for an image and its land cover."""
    picture = torch.arange(9.0).view(1, 3, 3).repeat(8, 1, 1)
    all_ways = csd.turned(picture, torch.arange(8))
    wrong = 8 - len({tuple(p.flatten().tolist()) for p in all_ways})
    wrong += float((csd.turned(picture[:, None], torch.arange(8))[:, 0] - all_ways).abs().max())
    return Check("the eight symmetries of the square", float(wrong), 0.0)


def _method(**changes) -> csd.CSD:
    torch.manual_seed(0)
    settings = {"classes": 3, "background": 1, "labels": 5, "maps": 2, **changes}
    return csd.CSD({"image": Input(("a",), 32)}, "test_resnet", **settings).eval()


def a_step_by_hand() -> Check:
    """The loss from the predictions of each image and each mirror image, cell by cell."""
    method = _method(weight=0.5).double()
    method.after_step(Progress(2, 10, 0, 1))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 1, 32, 32, generator=generator, dtype=torch.float64)
    cover = torch.randint(0, 3, (2, 8, 8), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
    with torch.no_grad():
        for head in method.heads:
            head.weight.mul_(5)  # so that some cells are background and some are not
        ours = float(method({"x": x, "cover": cover}).loss)

        def predictions(image) -> list[np.ndarray]:
            _, maps = method.encoder.net.forward_intermediates(image[None], indices=[-2, -1])
            return [head(m)[0].numpy() for head, m in zip(method.heads, maps, strict=True)]

        predicted = [(predictions(image), predictions(image.flip(2))) for image in x]
    class_loss, box_errors, consistency = [], [], []
    for b, (maps, mirrored) in enumerate(predicted):
        for m, m2 in zip(maps, mirrored):
            grid = m.shape[1]
            truth = slow_cells(cover[b].numpy(), grid) if b < 2 else None
            for row in range(grid):
                for column in range(grid):
                    cell, partner = m[:, row, column], m2[:, row, grid - 1 - column]
                    if int(np.argmax(cell[:3])) != 1:
                        consistency.append(slow_cell(cell, partner, 3))
                    if truth:
                        kind, box = truth[row * grid + column]
                        class_loss.append(-math.log(softmax(cell[:3])[kind]))
                        if kind != 1:
                            far = [abs(a - t) for a, t in zip(cell[3:], box)]
                            box_errors.append(sum(d * d / 2 if d < 1 else d - 0.5 for d in far))
    weight = 0.5 * math.exp(-5 * (1 - 0.2 / 0.267) ** 2)
    expected = np.mean(class_loss) + np.mean(box_errors) + weight * np.mean(consistency)
    few = float(len(consistency) in (0, 4 * sum(m.shape[1] ** 2 for m in predicted[0][0])))
    return Check("a step's loss is that worked out cell by cell", abs(ours - expected) / expected + few, 1e-6)


def labelled_images() -> Check:
    """Five of the training split, always the same, with their own land cover; the batch itself is the unlabelled."""
    number = np.arange(60)
    image = np.broadcast_to(number[:, None, None, None], (60, 1, 32, 32)).astype(np.float32)
    cover = np.broadcast_to((number % 3)[:, None, None], (60, 32, 32)).astype(np.uint8)
    fields = {"image": image, "landcover": cover}
    data = Data("numbers", fields, {"image": Input(("a",), 32)}, {"train": np.arange(10, 60)})
    index = torch.arange(10, 60)
    batch = _method().draw(data, index, Draws(0, 0, index))
    known = batch["image"][:, 0, 0, 0]
    wrong = float((batch["landcover"][:, 0, 0] - known % 3).abs().max()) + abs(len(known.unique()) - 5)
    wrong += float((known < 10).sum()) + float((batch["unlabelled"][:, 0, 0, 0] - index).abs().max())
    return Check("few images have land cover, and it is their own", wrong, 0.0)


CASES = [
    as_printed,
    as_coded,
    known_points,
    boxes_of_land_cover,
    mirrored_land_cover_agrees,
    schedule,
    turns,
    a_step_by_hand,
    labelled_images,
]

_disagreement, _mean_where, _detect = csd.disagreement, csd.mean_where, csd.CSD.detect


def _same_side(ours, mirrored, as_coded=False):
    mirrored = torch.cat([mirrored[:, :, :-4], mirrored[:, :, -4:] * torch.tensor([-1.0, 1, 1, 1])], 2)
    return _disagreement(ours, mirrored, as_coded)


def _same_place(self, x):
    h, ours, mirrored, grids = _detect(self, x)
    parts = mirrored.split([g * g for g in grids], 1)
    mirrored = torch.cat([p.unflatten(1, (g, g)).flip(2).flatten(1, 2) for p, g in zip(parts, grids)], 1)
    return h, ours, mirrored, grids


def _everywhere(values, chosen):
    return _mean_where(values, torch.ones_like(chosen))


KNOCKOUTS = {
    "background elimination": lambda patch: patch(csd, "mean_where", _everywhere),
    "the reversed shift": lambda patch: patch(csd, "disagreement", _same_side),
    "the mirrored cell": lambda patch: patch(csd.CSD, "detect", _same_place),
    "the divergence of classes": lambda patch: patch(
        csd, "disagreement", lambda a, b, as_coded=False: (0 * a[:, :, 0], _disagreement(a, b, as_coded)[1])
    ),
    "the consistency of boxes": lambda patch: patch(
        csd, "disagreement", lambda a, b, as_coded=False: (_disagreement(a, b, as_coded)[0], 0 * a[:, :, 0])
    ),
    "Jensen and Shannon": lambda patch: patch(
        csd, "disagreement", lambda a, b, as_coded=False: _disagreement(a, b, True)
    ),
    "the schedule": lambda patch: patch(csd, "schedule", lambda fraction, up=0.0, down=0.0: 1.0),
    "few labels": lambda patch: patch(Few, "of", lambda self, data: torch.arange(60)),
}  # fmt: skip
