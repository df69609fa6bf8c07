"""Pieces of images without their own brightness and contrast (jigsaw, relative position, multi-task learning)."""

from __future__ import annotations

import torch
from torch import Tensor


def standardise(pieces: Tensor) -> Tensor:
    """(..., C, h, w): each piece and band by its own mean and deviation; a band without contrast becomes 0."""
    variance, mean = torch.var_mean(pieces, dim=(-2, -1), keepdim=True, correction=0)
    return (pieces - mean) / (variance + 1e-4).sqrt()
