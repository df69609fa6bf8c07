"""Random views of a whole batch at once, on its device, for any number of bands.

Crop, flip and blur are linear and separable, so one view of one image is two small matrix products

    view = V_y X V_x^T

where row o of V (size x H) holds the weights with which source pixels enter output pixel o: a triangle filter of the
crop's scale (so that shrinking does not alias), reversed for a flip, multiplied by a Gaussian matrix for a blur. That
replaces per-image Python by two batched products, exactly what both CPUs and GPUs do best. Colour is affine per band,
so it commutes with the resampling and is applied to the small result.

Colour is described by bands, not by RGB: brightness is a common gain (illumination), contrast a stretch about the
image's own band means, saturation a pull towards the mean of all standardised bands, grey the end of that pull. There
is no hue: a rotation of RGB space has no counterpart in 13 bands. Values are not clipped. All parameters are drawn
up front from `Draws`, so a batch split over processes sees the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refimpl.backbones import Encoder
from refimpl.engine.draws import Draws


@dataclass(frozen=True)
class View:
    """The distribution of one random view. Probabilities in [0, 1]; ranges are (low, high), drawn uniformly.

    Defaults are SimCLR's (Chen et al. 2020, appendix A) at colour strength 0.5, but for crops of at least 20 % of the
    image instead of 8 %, and for what an image from above allows: flips in both directions and quarter turns.

    size: output pixels, 0 for the input's. scale: crop area as a fraction of the image. ratio: crop width / height.
    transpose: with the flips, makes all eight symmetries of the square.
    brightness, contrast, saturation: half-widths of the factors' ranges about 1, applied with probability `colour`.
    blur: probability; sigma: range of the Gaussian's deviation in output pixels of a 224-pixel image.
    """

    size: int = 0
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    transpose: bool = True
    colour: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    grey: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    @classmethod
    def geometric(cls, **changes) -> View:
        """Crops, flips and quarter turns only: no colour, no blur."""
        return cls(**{"colour": 0.0, "grey": 0.0, "blur": 0.0, **changes})


IDENTITY = View.geometric(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False)


def sampling_matrix(start: Tensor, length: Tensor, flip: Tensor, source: int, size: int) -> Tensor:
    """(B, size, source) weights that resample [start, start + length) of `source` pixels to `size` pixels.

    start, length: (B,) in pixels. flip: (B,) bool. The filter is a triangle whose half-width is the larger of one
    source pixel and one output pixel: bilinear when enlarging, area-like when shrinking. Rows sum to 1.
    """
    device = start.device
    out = torch.arange(size, device=device, dtype=torch.float32)
    out = torch.where(flip[:, None], size - 1 - out, out)
    step = (length / size)[:, None]
    centre = start[:, None] + (out + 0.5) * step - 0.5
    source_pixel = torch.arange(source, device=device, dtype=torch.float32)
    distance = (source_pixel - centre.clamp(0, source - 1)[:, :, None]).abs()
    weights = (1 - distance / step.clamp(min=1.0)[:, :, None]).clamp_(min=0)
    return weights / weights.sum(2, keepdim=True)


def blur_matrix(sigma: Tensor, size: int) -> Tensor:
    """(B, size, size) Gaussian smoothing with deviation sigma (B,) in pixels; the identity where sigma is 0."""
    pixel = torch.arange(size, device=sigma.device, dtype=torch.float32)
    squared = (pixel[None, :] - pixel[:, None]).square()
    weights = torch.exp(-0.5 * squared / sigma.clamp(min=1e-3).square()[:, None, None])
    return weights / weights.sum(2, keepdim=True)


def to_rows(stored: Tensor) -> Tensor:
    """(B, C, H, W) integers -> (B, H, C, W) float32: the layout in which both products need no further copy."""
    return stored.permute(0, 2, 1, 3).to(torch.float32).contiguous()


def resample(rows: Tensor, v_y: Tensor, v_x: Tensor) -> Tensor:
    """V_y X V_x^T for rows (B, H, C, W), v_y (B, h, H), v_x (B, w, W) -> (B, C, h, w)."""
    b, height, bands, width = rows.shape
    tall = torch.bmm(v_y, rows.reshape(b, height, bands * width)).reshape(b, -1, width)
    small = torch.bmm(tall, v_x.transpose(1, 2))
    return small.reshape(b, v_y.shape[1], bands, v_x.shape[1]).permute(0, 2, 1, 3)


def random_views(stored: Tensor, views: Sequence[View], encoder: Encoder, draws: Draws) -> list[Tensor]:
    """Independent random views of each image, normalised as the encoder wants them.

    Args:
        stored: (B, C, H, W) stored numbers, any integer or float type.
        views: one `View` per view wanted.
        encoder: whose mean and deviation per band normalise the result.
    Returns:
        one (B, C, size, size) float32 tensor per view, in channels_last layout.
    """
    rows = to_rows(stored)
    return [_one_view(rows, view, encoder, draws) for view in views]


def _one_view(rows: Tensor, view: View, encoder: Encoder, draws: Draws) -> Tensor:
    _, height, _, width = rows.shape
    size = view.size or min(height, width)

    # Area and log-ratio are uniform; a crop that would not fit is cut to the image, and its ratio gives way.
    area = draws.uniform(low=view.scale[0], high=view.scale[1]) * height * width
    low, high = torch.tensor(view.ratio).log().tolist()
    ratio = torch.exp(draws.uniform(low=low, high=high))
    crop_w = torch.sqrt(area * ratio).clamp(max=width)
    crop_h = torch.sqrt(area / ratio).clamp(max=height)
    left = draws.uniform() * (width - crop_w)
    top = draws.uniform() * (height - crop_h)
    mirror = draws.coin(0.5, 2) & view.flip
    v_x = sampling_matrix(left, crop_w, mirror[:, 0], width, size)
    v_y = sampling_matrix(top, crop_h, mirror[:, 1], height, size)

    if view.blur > 0:
        # The paper's sigma is for 224 pixels; the same blur of the scene is proportionally smaller here.
        sigma = draws.uniform(low=view.sigma[0], high=view.sigma[1]) * size / 224
        sigma = torch.where(draws.coin(view.blur), sigma, torch.zeros_like(sigma))
        smooth = blur_matrix(sigma, size)
        v_x, v_y = torch.bmm(smooth, v_x), torch.bmm(smooth, v_y)

    x = resample(rows, v_y, v_x)
    if view.transpose:
        # Flips and a transposition generate all eight symmetries of the square.
        x = torch.where(draws.coin(0.5)[:, None, None, None], x.transpose(2, 3), x)
    x = (x - encoder.mean.view(1, -1, 1, 1)) / encoder.std.view(1, -1, 1, 1)
    if view.colour > 0 or view.grey > 0:
        x = _colour(x, view, encoder, draws)
    return x.contiguous(memory_format=torch.channels_last)


def _colour(x: Tensor, view: View, encoder: Encoder, draws: Draws) -> Tensor:
    """Brightness, contrast and saturation of normalised x (B, C, h, w), one set of factors per image."""

    def factor(half_width: float) -> Tensor:
        drawn = draws.uniform(low=max(0.0, 1 - half_width), high=1 + half_width)
        return torch.where(jittered, drawn, torch.ones_like(drawn))[:, None, None, None]

    jittered = draws.coin(view.colour)
    brightness, contrast, saturation = factor(view.brightness), factor(view.contrast), factor(view.saturation)
    saturation = torch.where(draws.coin(view.grey)[:, None, None, None], torch.zeros_like(saturation), saturation)

    # A gain on the stored numbers, written for normalised ones: (b r - m) / s = b z + (b - 1) m / s.
    offset = (brightness - 1) * (encoder.mean / encoder.std).view(1, -1, 1, 1)
    middle = x.mean((2, 3), keepdim=True) * brightness + offset
    x = x * (brightness * contrast) + (offset * contrast + middle * (1 - contrast))
    return torch.lerp(x.mean(1, keepdim=True).expand_as(x), x, saturation)
