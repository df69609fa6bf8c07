"""Random rectangles of patches, of a whole batch at once: what block-wise masks are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refimpl.engine.draws import Draws


def rectangle(area: Tensor, ratio: Tensor, top: Tensor, left: Tensor, grid: int) -> Tensor:
    """(..., grid * grid) bool, true in one rectangle of each row.

    All arguments have one shape (...). area: in patches. ratio: height / width; both sides are rounded. top, left: in
    [0, 1), where among the places that there are.
    """
    along = torch.arange(grid, device=area.device)
    inside = []
    for side, where in (((area * ratio).sqrt(), top), ((area / ratio).sqrt(), left)):
        side = side.round().clamp(1, grid)
        first = (where * (grid - side + 1)).floor()
        inside.append((along >= first[..., None]) & (along < (first + side)[..., None]))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def rectangles(draws: Draws, grid: int, count: int, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """(B, count, grid * grid) bool: `count` rectangles of each sample, that may overlap.

    area: range of the share of the patches, uniform. ratio: range of height / width, its logarithm uniform.
    """
    size = draws.uniform(count, low=area[0], high=area[1]) * grid * grid
    shape = draws.uniform(count, low=math.log(ratio[0]), high=math.log(ratio[1])).exp()
    return rectangle(size, shape, draws.uniform(count), draws.uniform(count), grid)


def most_patches(grid: int, area: float, ratio: tuple[float, float]) -> int:
    """How many patches a rectangle of at most that share of all may have, whatever its ratio."""
    shape = torch.linspace(math.log(ratio[0]), math.log(ratio[1]), 1001, dtype=torch.float64).exp()
    size, zero = torch.full_like(shape, area * grid * grid), torch.zeros_like(shape)
    return int(rectangle(size, shape, zero, zero, grid).sum(1).max())


def block_masks(draws: Draws, grid: int, wanted: Tensor, smallest: int, rounds: int = 10) -> Tensor:
    """(B, grid * grid) bool: about `wanted` (B,) patches of each sample, and never more, hidden in blocks.

    As BEiT does (Bao et al. 2022, arXiv 2106.08254, algorithm 1): a rectangle of between `smallest` and all that are
    still wanted, height / width 0.3 to 1 / 0.3, is added if it hides anything new and not too much; tried `rounds`
    times, for the whole batch at once.
    """
    size, shape, top, left = draws.uniform(rounds, 4).unbind(2)  # (B, rounds) each
    shape = ((2 * shape - 1) * math.log(1 / 0.3)).exp()
    hidden = torch.zeros(len(draws), grid * grid, dtype=torch.bool, device=size.device)
    for i in range(rounds):
        open_ = wanted - hidden.sum(1)
        area = smallest + size[:, i] * (open_ - smallest)
        block = rectangle(area.clamp(min=1), shape[:, i], top[:, i], left[:, i], grid)
        new = (block & ~hidden).sum(1)
        hidden = hidden | (block & ((new > 0) & (new <= open_))[:, None])
    return hidden


def random_masks(draws: Draws, grid: int, masked: float, least: float, most: float) -> Tensor:
    """(B, N) bool: of a share `masked` of the views, between `least` and `most` of the patches are hidden in blocks."""
    share = draws.uniform(low=least, high=most) * draws.coin(masked)
    return block_masks(draws, grid, (share * grid**2).floor(), max(1, (grid // 3) ** 2))
