"""Image series: views of all dates of a place, put in order, and one feature for all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.backbones import Encoder
from refimpl.data.views import RANDOM, View, make_views
from refimpl.engine.draws import Draws

COLOUR = ("blurred", "sigma", "jittered", "brightness", "contrast", "saturation", "grey")


def one_view_of_all(
    frames: Tensor, view: View, encoder: Encoder, draws: Draws, apart: tuple[str, ...] = COLOUR
) -> Tensor:
    """(B, T, C, H, W) stored -> (B, T, C, size, size) normalised: cut, flipped and turned together.

    apart: which of the numbers `RANDOM` of a view are drawn for each frame alone; by default colour and blur.
    """
    count = frames.shape[1]
    together = draws.uniform(1, len(RANDOM)).repeat_interleave(count, 0)
    alone = draws.each(count).uniform(1, len(RANDOM))
    which = torch.tensor([name in apart for name in RANDOM], device=alone.device)
    random = torch.where(which, alone, together).to(encoder.mean.dtype)
    (x,) = make_views(frames.flatten(0, 1), (view,), encoder.mean, encoder.std, random)
    return x.unflatten(0, frames.shape[:2])


def in_time(series: Tensor, dates: Tensor) -> Tensor:
    """(B, T, ...) series with dates (B, T) -> the same frames, the earliest first."""
    return series[torch.arange(len(series), device=series.device)[:, None], dates.argsort(1)]


def mean_over_dates(encoder: Encoder, stored: Tensor) -> Tensor:
    """(B, T, C, H, W) stored series -> (B, width), the mean of the features of its dates."""
    features = encoder(encoder.normalise(stored.flatten(0, 1)))
    return features.unflatten(0, stored.shape[:2]).mean(1)
