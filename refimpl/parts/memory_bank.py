"""A memory bank: one unit vector for every sample of the training set (InstDisc, PIRL, local aggregation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MemoryBank(nn.Module):
    """`samples` rows of `width` numbers, a moving average of each sample's feature; at random before it was seen.

    rows: (samples, width), all of unit length. A buffer, so that a checkpoint carries it; the random rows are part of
    the seeded initialisation. momentum: what of the old row stays when a new one comes.
    """

    def __init__(self, samples: int, width: int, momentum: float = 0.5):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rows", F.normalize(torch.randn(samples, width), dim=1))

    @torch.no_grad()
    def put(self, index: Tensor, rows: Tensor) -> None:
        """row <- momentum * row + (1 - momentum) * new row, both and the result of unit length.

        index: (B,) sample numbers, each at most once. rows: (B, width).
        """
        new = F.normalize(rows.detach().to(self.rows.dtype), dim=1)
        self.rows[index] = F.normalize(torch.lerp(new, self.rows[index], self.momentum), dim=1)
