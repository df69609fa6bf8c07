"""Fixed position codes for transformers."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_2d(grid: int, width: int) -> Tensor:
    """(grid * grid, width) sines and cosines of row and column, as in MoCo v3 and MAE.

    Half of the width codes the column, half the row; frequencies fall from 1 to 1/10000 (Vaswani et al. 2017, section
    3.5). Raises ValueError where width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"a 2-d sine-cosine code needs a width that is a multiple of 4, not {width}")
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = [position.flatten().double()[:, None] * omega for position in (column, row)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], dim=1).float()
