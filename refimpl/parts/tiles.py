"""Features of an image as the mean over its tiles: how a network is read that was trained on tiles alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from refimpl.backbones import Encoder
from refimpl.parts.windows import cut


def mean_over_tiles(
    encoder: Encoder,
    stored: Tensor,
    side: int,
    corner: Tensor,
    tile: int,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """(B, C, H, W) stored numbers -> (B, width): the image is brought to `side` pixels, cut, and its tiles averaged.

    corner: (N, 2) upper left pixels of the tiles. tile: their pixels. change: what training does to tiles (B, N, ...).
    """
    x = encoder.normalise(stored)
    if x.shape[-2:] != (side, side):
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    tiles = cut(x, corner, tile)
    tiles = change(tiles) if change else tiles
    return encoder(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2]).mean(1)
