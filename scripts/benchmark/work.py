"""The work that everybody is given: images, and views made by named operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Everything that a view can consist of here. "turn" is a transposition with probability one half, which with the flips
# makes all eight symmetries of the square; "grey" replaces every band by their mean; hue has no counterpart beyond RGB.
OPERATIONS = ("crop", "flip", "turn", "brightness", "contrast", "saturation", "grey", "blur", "normalise")
RGB = OPERATIONS
MANY_BANDS = tuple(o for o in OPERATIONS if o != "saturation")
NO_COLOUR = ("crop", "flip", "turn", "blur", "normalise")
GEOMETRY = ("crop", "flip", "normalise")

# Parameters that all share: SimCLR's, at colour strength 0.5 and for crops of at least 20 %.
SCALE, GLOBAL_SCALE, LOCAL_SCALE = (0.2, 1.0), (0.4, 1.0), (0.05, 0.4)
RATIO = (3 / 4, 4 / 3)
JITTER, JITTERED, GREYED, BLURRED = 0.4, 0.8, 0.2, 0.5


@dataclass(frozen=True)
class Crop:
    """One view to be made of every image: output pixels, and crop area as a fraction of the image."""

    size: int
    scale: tuple[float, float]

    @property
    def sigma(self) -> tuple[float, float]:
        """Range of the blur's deviation in pixels of this view: 0.1 to 2 at 224 pixels, the same blur of the scene."""
        return 0.1 * self.size / 224, 2.0 * self.size / 224

    @property
    def kernel(self) -> int:
        """Odd width of a blur kernel that reaches three deviations to each side."""
        return 2 * math.ceil(3 * self.sigma[1]) + 1


def crops(kind: str, size: int) -> list[Crop]:
    """ "1", "2" or "2+6" views for images of `size` pixels."""
    if kind == "2+6":
        return [Crop(size, GLOBAL_SCALE)] * 2 + [Crop(size // 2, LOCAL_SCALE)] * 6
    return [Crop(size, SCALE)] * int(kind)


@dataclass(frozen=True)
class Pipeline:
    """Somebody's way to make views.

    make: sample numbers (B,) -> one (B, C, h, w) float tensor per view, on the device.
    operations: which of OPERATIONS are on. note: in what it still differs. equal: whether that is the same work.
    """

    make: Callable[[Tensor], list[Tensor]]
    operations: tuple[str, ...]
    note: str = ""
    equal: bool = True


@dataclass(frozen=True)
class Images:
    """Images in memory, in the two layouts that libraries start from.

    channels_first: (N, C, H, W) uint8 tensor. channels_last: (N, H, W, C) uint8 array, what PIL reads.
    mean, std: per band, on the scale of 0 to 255.
    """

    channels_first: Tensor
    channels_last: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def bands(self) -> int:
        return self.channels_first.shape[1]

    @property
    def size(self) -> int:
        return self.channels_first.shape[2]

    def __len__(self) -> int:
        return len(self.channels_first)

    @property
    def unit_mean(self) -> list[float]:
        """The means on the scale of 0 to 1."""
        return [m / 255 for m in self.mean]

    @property
    def unit_std(self) -> list[float]:
        return [s / 255 for s in self.std]


def make_images(count: int, bands: int, size: int, seed: int = 0) -> Images:
    """Smooth random fields in uint8, the same for everybody; what they show does not change how long work takes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, bands, max(2, size // 8), max(2, size // 8), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    stored = (fine * 255).to(torch.uint8).contiguous()
    values = stored.to(torch.float64)
    return Images(
        stored,
        np.ascontiguousarray(stored.permute(0, 2, 3, 1).numpy()),
        tuple(values.mean((0, 2, 3)).tolist()),
        tuple(values.std((0, 2, 3)).tolist()),
    )
