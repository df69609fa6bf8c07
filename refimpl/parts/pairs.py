"""Scores of every sample with every other, of which one is its own (Deep InfoMax, AVC, AudioCLIP)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.engine.distributed import rank


def own_rows(local: Tensor) -> Tensor:
    """(B,) which rows of the global batch, as `gather` makes it, are those of this process; local: (B, ...)."""
    return rank() * len(local) + torch.arange(len(local), device=local.device)


def own_and_others(scores: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """(B, ...) scores of each sample with what is its own, and (B, N, ...) all with -inf in place of those.

    scores: (B, N, ...) of each sample of this process with all of the global batch. own: (B,) which of the N it is.
    """
    mine = F.one_hot(own, scores.shape[1]).bool().view(*scores.shape[:2], *(1,) * (scores.dim() - 2))
    return scores[torch.arange(len(own), device=own.device), own], scores.masked_fill(mine, float("-inf"))
