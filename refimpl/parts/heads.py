"""Small networks that sit on an encoder."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(*widths: int, norm: bool = True, last_norm: bool = False) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them, (B, widths[0]) -> (B, widths[-1]).

    norm: batch normalisation before each ReLU (the layer then has no bias, which the norm would cancel).
    last_norm: batch normalisation without scale and shift after the last layer.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(before, after, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(after, affine=not last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
