"""A teacher that is a moving average of its student (the momentum encoder of MoCo, BYOL, DINO and their kin)."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


class Teacher(nn.Module):
    """A copy of some networks, which no gradient reaches and which follows them slowly.

    Called like the networks in a row. Buffers (the running statistics of batch normalisation) are the student's. A
    checkpoint carries it, since it is a submodule; it begins as an exact copy.

    Args:
        networks: applied one after the other.
        batch_statistics: whether its batch normalisations use the batch, as the student's do, or the running
            statistics, through which no sample can recognise which others share its batch.
    """

    def __init__(self, *networks: nn.Module, batch_statistics: bool = True):
        super().__init__()
        self._batch_statistics = batch_statistics
        self.networks = nn.ModuleList(copy.deepcopy(network) for network in networks).requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:
        return super().train(mode and self._batch_statistics)

    @torch.no_grad()
    def forward(self, x):
        for network in self.networks:
            x = network(x)
        return x

    @torch.no_grad()
    def follow(self, momentum: float, *networks: nn.Module) -> None:
        """weights <- momentum * weights + (1 - momentum) * those of the networks, which are those it was made of."""
        for mine, theirs in zip(self.networks, networks, strict=True):
            for teacher, student in zip(mine.parameters(), theirs.parameters(), strict=True):
                teacher.lerp_(student.detach(), 1 - momentum)
            for teacher, student in zip(mine.buffers(), theirs.buffers(), strict=True):
                teacher.copy_(student)


def rising_momentum(base: float, fraction: float, end: float = 1.0) -> float:
    """Momentum on a half cosine from `base` at fraction 0 to `end` at fraction 1 (BYOL, section 3.2)."""
    return end - (end - base) * (math.cos(math.pi * fraction) + 1) / 2
