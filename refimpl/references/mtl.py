"""The weights of tasks and the loss of each by loops, from Eq. 10 of arXiv 1705.07115 and the four tasks' papers."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools
from refimpl.methods.predictive import mtl
from refimpl.parts import colours as part
from refimpl.parts.windows import cut, grid_corners
from refimpl.references import Check, compare

ROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]  # row by row


def slow_weighed(losses: np.ndarray, s: np.ndarray) -> float:
    total = 0.0
    for loss, log_variance in zip(losses, s):
        sigma = math.sqrt(math.exp(log_variance))
        total += loss / sigma**2 + math.log(sigma)
    return total


def cross_entropy(scores: np.ndarray, label: int) -> float:
    return math.log(sum(math.exp(v) for v in scores)) - scores[label]


def weights() -> Check:
    rng = np.random.default_rng(1)
    return compare(
        "losses are weighed by their variances, value and gradient",
        mtl.weighed,
        slow_weighed,
        {"losses": rng.uniform(0.5, 4, size=4), "s": rng.normal(size=4)},
    )


def weights_come_to_rest() -> Check:
    """Where losses stay, the weights end at 1 / (2 L)."""
    losses = torch.tensor([0.2, 1.4, 4.0], dtype=torch.float64)
    s = torch.log(2 * losses).requires_grad_(True)
    mtl.weighed(losses, s).backward()
    return Check("at rest a weight is 1 / (2 L)", float(s.grad.abs().max()), 1e-9)


def _method(**settings) -> mtl.MTL:
    torch.manual_seed(0)
    inputs = {"image": Input(("a", "b", "c"), 32)}
    return mtl.MTL(inputs, "test_resnet", hidden=16, colours=6, width=8, dim=5, **settings)


def _prepared(method: mtl.MTL) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """The five views of a batch of noise, and what was made of them."""
    image = torch.randperm(5 * 3 * 32 * 32).reshape(5, 3, 32, 32).float()
    seen = []
    views = mtl.random_views

    def recorded(*arguments):
        seen.extend(views(*arguments))
        return seen

    mtl.random_views = recorded
    try:
        batch = method.prepare({"image": image}, Draws(0, 1, torch.arange(5)))
    finally:
        mtl.random_views = views
    return seen, batch


def inputs_of_the_tasks() -> Check:
    """Turned as labelled; patches of 12 pixels, 6 apart, moved by at most 1; other views as they are."""
    (upright, field, coloured, x1, x2), batch = _prepared(_method())
    wrong = 0.0
    for b in range(5):
        quarter = [upright[b]]
        for _ in range(3):  # a quarter turn anticlockwise: columns become rows, the last one first
            quarter.append(quarter[-1].transpose(1, 2).flip(1))
        wrong += float((batch["turned"][b] - quarter[int(batch["turn"][b])]).abs().max())
        for n in range(4):
            row, column = 18 * (n // 2), 18 * (n % 2)
            found = []
            for r in range(3):
                for c in range(3):
                    window = field[b, :, row + r : row + r + 12, column + c : column + c + 12]
                    mean, deviation = window.mean((1, 2), keepdim=True), window.std((1, 2), keepdim=True, correction=0)
                    found.append(float((batch["patches"][b, n] - (window - mean) / deviation).abs().max()))
            wrong += min(found) if min(found) > 1e-4 else 0.0
    wrong += float((batch["coloured"] - coloured).abs().max())
    wrong += float((batch["views"] - torch.stack([x1, x2])).abs().max())
    return Check("what each task sees is made as its label says", wrong, 0.0)


def upright_views() -> Check:
    """A ramp to the right and one downwards, in two bands: the view that is to be turned may not be turned before."""
    method, ramp = _method(), torch.arange(32.0).expand(32, 32)
    image = torch.stack([ramp, ramp.T, ramp]).expand(40, 3, 32, 32)
    batch = method.prepare({"image": image}, Draws(0, 0, torch.arange(40)))
    x = torch.stack([torch.rot90(x, -int(y), (1, 2)) for x, y in zip(batch["turned"], batch["turn"])])
    right, down = x[:, 0, 16, -1] > x[:, 0, 16, 0], x[:, 1, -1, 16] > x[:, 1, 0, 16]
    return Check("views stand upright before they are turned", float((~(right & down)).float().mean()), 0.0)


def harmonised() -> Check:
    batch = _prepared(_method(harmonise=True))[1]
    error = max(float(batch[k].std(-3).max()) for k in ("turned", "views", "patches"))
    return Check("with harmonise no task sees colours", error, 1e-3)


def _map(method: mtl.MTL, x: torch.Tensor) -> torch.Tensor:
    """Features of places (B, S, D)."""
    return method.encoder.map(x).flatten(2).transpose(1, 2)


def rotation() -> Check:
    method = _method().double().eval()
    x, y = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 3, 1, 2])
    with torch.no_grad():
        scores = method.rotation(method.encoder(x)).numpy()
        ours = float(method.rotation_loss(method.encoder(x), y))
    expected = sum(cross_entropy(row, label) for row, label in zip(scores, y.tolist())) / 4
    return Check("the loss of rotation", abs(ours - expected), 1e-9)


def position() -> Check:
    """All ordered pairs of neighbouring patches, one by one."""
    method = _method().double().eval()
    patches, costs = 9 * torch.randn(3, 4, 3, 12, 12, dtype=torch.float64), []
    with torch.no_grad():
        for image in patches:
            h = method.encoder(image)
            for a in range(4):
                for y, (down, right) in enumerate(ROUND):
                    row, column = a // 2 + down, a % 2 + right
                    if row in (0, 1) and column in (0, 1):
                        scores = method.position(torch.cat([h[a], h[2 * row + column]])[None])[0].numpy()
                        costs.append(cross_entropy(scores, y))
        ours = float(method.position_loss(patches))
    return Check("the loss of position", abs(ours - sum(costs) / len(costs)) + abs(len(costs) - 36), 1e-9)


def colour() -> Check:
    """Each place's colour against its five nearest of six bins."""
    method = _method().double().eval()
    method.bins.centres.normal_(generator=torch.Generator().manual_seed(3))
    method.bins.w.uniform_(0.5, 2, generator=torch.Generator().manual_seed(4))
    x, made, total = torch.randn(2, 3, 32, 32, dtype=torch.float64), [], 0.0
    method.painter.register_forward_hook(lambda module, arguments, output: made.append(output))
    with torch.no_grad():
        ours = float(method.colour_loss(_map(method, x), x))
    centres, w = method.bins.centres.numpy(), method.bins.w.tolist()
    for b, r, c in np.ndindex(2, 8, 8):
        block = x[b, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].numpy()
        distance = np.sqrt((((block - block.mean(0)).mean((1, 2)) - centres) ** 2).sum(1))
        nearest = np.argsort(distance)[:5]
        share = np.exp(-(distance[nearest] ** 2) / 2)
        scores = made[0][b, :, r, c].numpy()
        total += w[nearest[0]] * sum(p * cross_entropy(scores, q) for p, q in zip(share / share.sum(), nearest))
    return Check("the loss of colour", float(abs(ours - total / 128)), 1e-9)


def contrast() -> Check:
    method = _method().double().eval()
    h = torch.randn(8, method.encoder.width, dtype=torch.float64)
    with torch.no_grad():
        z = [row / math.sqrt(sum(row * row)) for row in method.projector(h).numpy()]
        ours, total = float(method.contrast_loss(h)), 0.0
    for i in range(8):
        others = [k for k in range(8) if k != i]
        total += cross_entropy([float(z[i] @ z[k]) / 0.5 for k in others], others.index((i + 4) % 8)) / 8
    return Check("the loss of contrast", abs(ours - total), 1e-9)


def whole() -> Check:
    """All four losses of a batch, weighed; equal weights where they are not learned."""
    error = 0.0
    for learned in (True, False):
        method = _method(learned=learned).eval()
        if learned:
            method.log_variance.data = torch.tensor([0.3, -1.0, 0.7, 0.1])
        _, batch = _prepared(method)
        with torch.no_grad():
            out = method(batch)
            coloured = batch["coloured"]
            lightness = coloured.mean(1, keepdim=True).repeat(1, 3, 1, 1)
            losses = [
                method.rotation_loss(method.encoder(batch["turned"]), batch["turn"]),
                method.position_loss(batch["patches"]),
                method.colour_loss(_map(method, lightness), coloured),
                method.contrast_loss(method.encoder(batch["views"].flatten(0, 1))),
            ]
        expected = slow_weighed([float(loss) for loss in losses], method.log_variance.tolist())
        error = max(error, abs(float(out.loss) - expected))
        error += float(method.log_variance.requires_grad != learned)
    return Check("the loss is the weighed sum of the four tasks'", error, 1e-4)


def bins_of_the_data() -> Check:
    """Bins are made of colours without their lightness, and rare ones count more."""
    method = _method()
    image = np.random.default_rng(5).normal(size=(20, 3, 8, 8)) + 100
    data = Data("noise", {"image": image}, method.inputs, {"train": np.arange(20)})
    method.before_epoch(0, data, EpochTools(lambda: None, lambda parameters: None, torch.Generator().manual_seed(0)))
    centres = method.bins.centres
    error = float(centres.sum(1).abs().max()) + float(centres.unique(dim=0).shape[0] != 6)
    return Check("bins are those of the data's colours", error + float(method.bins.w.std() == 0), 1e-3)


CASES = [
    weights,
    weights_come_to_rest,
    inputs_of_the_tasks,
    upright_views,
    harmonised,
    rotation,
    position,
    colour,
    contrast,
    whole,
    bins_of_the_data,
]


def _without(task: str):
    def forward(self, batch, turn="all", original=mtl.MTL.forward):
        name = f"{task}_loss"
        setattr(self, name, lambda *inputs: 0 * getattr(mtl.MTL, name)(self, *inputs))
        try:
            return original(self, batch, turn)
        finally:
            delattr(self, name)

    return lambda patch: patch(mtl.MTL, "forward", forward)


KNOCKOUTS = {
    "learned weights": lambda patch: patch(mtl, "weighed", lambda losses, s: losses.sum() + 0 * s.sum()),
    "the price of a large variance": lambda patch: patch(
        mtl, "weighed", lambda losses, s: (torch.exp(-s) * losses).sum()
    ),
    "half of the price, log sigma and not its square's": lambda patch: patch(
        mtl, "weighed", lambda losses, s: (torch.exp(-s) * losses + s).sum()
    ),
    **{f"the task {task}": _without(task) for task in mtl.TASKS},
    "grey images for the colour task": lambda patch: patch(mtl, "grey", lambda x: x.roll(1, 1)),
    "gaps between the patches": lambda patch: patch(
        mtl, "cut", lambda x, corner, size: cut(x, grid_corners(2, size) + corner % 2, size)
    ),
    "the right position": lambda patch: patch(
        mtl, "neighbours", lambda grid, original=mtl.neighbours: original(grid)[[1, 0, 2]]
    ),
    "rare colours that count more": lambda patch: patch(
        part, "rarity", lambda p, centres, sigma, mix: torch.ones_like(p)
    ),
}  # fmt: skip
