"""Square pieces of images: tiles of a puzzle, patches of a grid."""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.backbones import Encoder


def cut(x: Tensor, corner: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, N, C, size, size): N windows of each image.

    corner: (B, N, 2) or (N, 2) int64, row and column of each window's upper left pixel.
    """
    corner = corner.expand(len(x), -1, 2)
    along = torch.arange(size, device=x.device)
    row, column = (corner[:, :, axis, None] + along for axis in (0, 1))  # (B, N, size)
    image = torch.arange(len(x), device=x.device)[:, None, None, None]
    return x[image, :, row[:, :, :, None], column[:, :, None, :]].permute(0, 1, 4, 2, 3)


def grid_corners(grid: int, step: int, device: torch.device | str = "cpu") -> Tensor:
    """(grid * grid, 2) upper left pixels of a square grid's cells, row by row."""
    at = torch.arange(grid, device=device) * step
    return torch.cartesian_prod(at, at)


def fitting(encoder: Encoder, size: int) -> int:
    """The largest window of at most `size` pixels that the network can read: whole patches for a transformer."""
    patch = encoder.net.patch_embed.patch_size[0] if getattr(encoder, "is_vit", False) else 1
    return max(patch, size - size % patch)
