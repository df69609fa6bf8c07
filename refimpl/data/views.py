"""Random views of a whole batch at once, on its device, for any number of bands.

Crop, flip and blur are linear and separable, so one view of one image is two small matrix products

    view = V_y X V_x^T

where row o of V (size x H) holds the weights with which source pixels enter output pixel o: a triangle filter of the
crop's scale (so that shrinking does not alias), smoothed by a Gaussian along the output, reversed for a flip. Each row
has but a few weights other than zero (its *taps*); they are computed alone and scattered into V. That replaces
per-image Python by two batched products, exactly what both CPUs and GPUs do best.

Colour is affine in the bands of a pixel, so it commutes with the resampling and is done between the two products, in
the layout where that is cheapest. It is described by bands, not by RGB: brightness is a common gain (illumination),
contrast a stretch about the image's own band means, saturation a pull towards the mean of all standardised bands, grey
the end of that pull. There is no hue: a rotation of RGB space has no counterpart in 13 bands. Values are not clipped.

The order of axes is chosen so that nothing is copied on the way: from (W, C, H) the first product makes (w, C, H), the
second reads that transposed and makes (h, w, C), which is the channels_last layout that networks run fastest on.

All random numbers of all views are drawn up front in one call, so a batch split over processes sees the same views, and
what follows them has no branch that depends on data: it compiles without a break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.backbones import Encoder
from refimpl.engine.draws import Draws

# What is random in a view, each a number in [0, 1) per image.
RANDOM = (
    "area", "ratio", "left", "top", "mirror_x", "mirror_y", "transpose",
    "blurred", "sigma", "jittered", "brightness", "contrast", "saturation", "grey",
)  # fmt: skip
PART_BYTES = 2**20  # of an intermediate result at a time, on a CPU


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


def resampling_taps(start: Tensor, length: Tensor, source: Tensor, size: int, longest: int) -> tuple[Tensor, Tensor]:
    """Which of `source` pixels enter each of `size` pixels that resample [start, start + length), and how much.

    start, length, source: (B,) in pixels; no source is longer than `longest`. The filter is a triangle whose half-width
    is the larger of one source pixel and one output pixel: bilinear when enlarging, area-like when shrinking.
    Returns:
        (B, size, taps) pixel numbers, and as many weights that sum to 1 for each output pixel.
    """
    out = torch.arange(size, device=start.device, dtype=start.dtype)
    step = (length / size)[:, None]
    last = (source - 1)[:, None]
    centre = (start[:, None] + (out + 0.5) * step - 0.5).clamp(min=0).minimum(last)[:, :, None]
    half = step.clamp(min=1.0)[:, :, None]
    taps = math.ceil(2 * max(1.0, longest / size))
    pixel = (centre - half).floor() + 1 + torch.arange(taps, device=start.device, dtype=start.dtype)
    weight = (1 - (pixel - centre).abs() / half).clamp(min=0)
    weight = weight * ((pixel >= 0) & (pixel <= last[:, :, None]))  # at the border, of what is inside
    return pixel.clamp(0, longest - 1).long(), weight / weight.sum(2, keepdim=True)


def blurred_taps(pixel: Tensor, weight: Tensor, sigma: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """The taps of `resampling_taps` after a Gaussian along the output, of deviation sigma (B,) <= largest pixels.

    The Gaussian ends at four deviations of the largest, and at the border; its weights sum to 1. 0 leaves all as it is.
    """
    size = pixel.shape[1]
    radius = min(size - 1, math.ceil(4 * largest))
    offset = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    near = torch.arange(size, device=sigma.device)[:, None] + offset  # (size, offsets)
    gaussian = torch.exp(-0.5 * offset.square() / sigma.clamp(min=1e-3).square()[:, None])
    gaussian = gaussian[:, None, :] * ((near >= 0) & (near < size))
    gaussian = gaussian / gaussian.sum(2, keepdim=True)

    def neighbours(x: Tensor) -> Tensor:  # (B, size, taps) -> (B, size, taps, offsets)
        return F.pad(x, (0, 0, radius, radius)).unfold(1, 2 * radius + 1, 1)

    return neighbours(pixel).flatten(2), (gaussian[:, :, None, :] * neighbours(weight)).flatten(2)


def matrix_of_taps(pixel: Tensor, weight: Tensor, flip: Tensor, longest: int) -> Tensor:
    """(B, size, longest) matrix V with the weights of each output pixel's taps; rows reversed where flip (B,) is."""
    batch, size, _ = pixel.shape
    row = torch.arange(size, device=pixel.device)
    row = torch.where(flip[:, None], size - 1 - row, row)[:, :, None]
    v = weight.new_zeros(batch, size * longest)
    v.scatter_add_(1, (row * longest + pixel).flatten(1), weight.flatten(1))
    return v.view(batch, size, longest)


def to_columns(stored: Tensor, transposed: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, C, H, W) stored numbers as floating columns (B, S, C, S), [b, w, c, h]; S is the longer side, 0 fills up.

    With `transposed`, (2 B, S, C, S): behind the images come the same images transposed.
    """
    x = stored.to(dtype)
    _, _, height, width = x.shape
    if height != width:
        longest = max(height, width)
        x = F.pad(x, (0, longest - width, 0, longest - height))
    upright = x.permute(0, 3, 1, 2)
    return torch.cat([upright, x.permute(0, 2, 1, 3)]) if transposed else upright.contiguous()


def random_views(stored: Tensor, views: Sequence[View], encoder: Encoder, draws: Draws) -> list[Tensor]:
    """Independent random views of each image, normalised as the encoder wants them.

    Args:
        stored: (B, C, H, W) stored numbers, any integer or float type.
        views: one `View` per view wanted.
        encoder: whose mean and deviation per band normalise the result.
    Returns:
        one (B, C, size, size) tensor of the encoder's type per view, in channels_last layout.
    """
    random = draws.uniform(len(views), len(RANDOM)).to(encoder.mean.dtype)
    return _maker(stored, tuple(views), encoder.mean, encoder.std, random)


def make_views(stored: Tensor, views: Sequence[View], mean: Tensor, std: Tensor, random: Tensor) -> list[Tensor]:
    """The views that given random numbers make.

    mean, std: (C,) in stored units. random: (B, views, 14) in [0, 1), the last axis as `RANDOM`.
    """
    batch, bands, height, width = stored.shape
    plans = [_plan(view, height, width, random[:, i]) for i, view in enumerate(views)]
    made = [mean.new_empty(batch, plan.size, plan.size * bands) for plan in plans]
    # On a CPU it goes part by part, so that what one step writes is still in the cache when the next reads it.
    rows = batch if stored.is_cuda else max(1, PART_BYTES // (bands * max(height, width) ** 2 * mean.itemsize))
    for first in range(0, batch, rows):
        part = slice(first, first + rows)
        columns = to_columns(stored[part], any(view.transpose for view in views), mean.dtype)
        for plan, whole in zip(plans, made, strict=True):
            _make(columns, plan, part, mean, std, whole[part])
    return [whole.unflatten(2, (-1, bands)).permute(0, 3, 1, 2) for whole in made]


_maker = make_views


def compile_views(wanted: bool) -> None:
    """Whether views are made by compiled code from now on: a few fused kernels where there would be a hundred.

    The network of a small image computes so little that a GPU would otherwise wait for the launches of the views.
    """
    global _maker
    _maker = torch.compile(make_views, dynamic=False) if wanted else make_views


@dataclass(frozen=True)
class _Plan:
    """What one view does to each image. v_x, v_y: (B, size, S). turned: (B,) 1 where transposed. colour: factors."""

    size: int
    v_x: Tensor
    v_y: Tensor
    turned: Tensor
    colour: tuple[Tensor, ...]


def _plan(view: View, height: int, width: int, random: Tensor) -> _Plan:
    u = dict(zip(RANDOM, random.unbind(1), strict=True))
    size, longest = view.size or min(height, width), max(height, width)
    # Flips and a transposition generate all eight symmetries of the square.
    turned = (u["transpose"] < 0.5) & view.transpose
    tall, wide = torch.full_like(u["area"], height), torch.full_like(u["area"], width)
    tall, wide = torch.where(turned, wide, tall), torch.where(turned, tall, wide)

    # Area and log-ratio are uniform; a crop that would not fit is cut to the image, and its ratio gives way.
    area = _between(u["area"], *view.scale) * (height * width)
    ratio = torch.exp(_between(u["ratio"], math.log(view.ratio[0]), math.log(view.ratio[1])))
    crop_w = torch.sqrt(area * ratio).minimum(wide)
    crop_h = torch.sqrt(area / ratio).minimum(tall)
    # Both axes in one go: x in the first half of the batch, y in the second.
    start = torch.cat([u["left"] * (wide - crop_w), u["top"] * (tall - crop_h)])
    taps = resampling_taps(start, torch.cat([crop_w, crop_h]), torch.cat([wide, tall]), size, longest)
    if view.blur > 0:
        # The paper's sigma is for 224 pixels; the same blur of the scene is proportionally smaller here.
        sigma = _between(u["sigma"], *view.sigma) * (size / 224) * (u["blurred"] < view.blur)
        taps = blurred_taps(*taps, torch.cat([sigma, sigma]), view.sigma[1] * size / 224)
    flip = (torch.cat([u["mirror_x"], u["mirror_y"]]) < 0.5) & view.flip
    v_x, v_y = matrix_of_taps(*taps, flip, longest).chunk(2)
    return _Plan(size, v_x, v_y, turned.long(), _colour_factors(view, u))


def _make(columns: Tensor, plan: _Plan, part: slice, mean: Tensor, std: Tensor, out: Tensor) -> None:
    """The two products for some of the images; columns: theirs, as of `to_columns`. Writes out (b, size, size * C)."""
    v_x, v_y, turned = plan.v_x[part], plan.v_y[part], plan.turned[part]
    b, (_, longest, bands, _) = len(turned), columns.shape
    if len(columns) > b:
        columns = columns[torch.arange(b, device=columns.device) + b * turned]
    x = torch.bmm(v_x, columns.flatten(2)).view(b, plan.size, bands, longest)
    # The view's band means, before it is made: the rows of V_y have a mean row.
    means = torch.bmm(x.mean(1), v_y.mean(1)[:, :, None])[:, :, 0]
    x = _coloured(x, means, mean, std, *(factor[part] for factor in plan.colour))
    torch.bmm(v_y, x.view(b, plan.size * bands, longest).transpose(1, 2), out=out)


def _colour_factors(view: View, u: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Gain, contrast and saturation (B, 1) of each image; empty for a view without colour."""
    if not view.colour and not view.grey:
        return ()
    jittered = u["jittered"] < view.colour

    def factor(name: str, half_width: float) -> Tensor:
        drawn = _between(u[name], max(0.0, 1 - half_width), 1 + half_width)
        return torch.where(jittered, drawn, 1.0)[:, None]

    saturation = torch.where((u["grey"] < view.grey)[:, None], 0.0, factor("saturation", view.saturation))
    return factor("brightness", view.brightness), factor("contrast", view.contrast), saturation


def _coloured(x: Tensor, means: Tensor, mean: Tensor, std: Tensor, *factors: Tensor) -> Tensor:
    """Normalisation and colour of x (B, w, C, H) in stored numbers, whose view will have the band means m (B, C).

    With gain b, contrast c, saturation s and z = (b x - mean) / std:

        y = c z + (1 - c) (b m - mean) / std          (stretched about the image's own band means)
        s y + (1 - s) (mean of y over bands)

    Constants added here stay what they are in the second product, since the rows of V_y sum to 1.
    """
    if not factors:
        return x.mul_((1 / std)[:, None]).sub_((mean / std)[:, None])
    gain, contrast, saturation = factors
    scale, offset = gain * contrast / std, ((1 - contrast) * gain * means - mean) / std
    y = x.mul_(scale[:, None, :, None]).add_(offset[:, None, :, None])
    grey = y.mean(2, keepdim=True)
    return y.mul_(saturation[:, :, None, None]).add_(grey.mul_(1 - saturation[:, :, None, None]))


def _between(unit: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * unit
