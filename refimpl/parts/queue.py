"""The last rows seen: a first-in, first-out memory of a fixed length (the dictionary of MoCo, the queue of SwAV)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Queue(nn.Module):
    """`length` rows of `width` numbers, unit vectors drawn at random before anything was put in.

    rows: (length, width), the oldest at `place`. A buffer, so that a checkpoint carries it; the random rows are part of
    the seeded initialisation. length: a multiple of the batch is not needed.
    """

    def __init__(self, length: int, width: int):
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def put(self, rows: Tensor) -> None:
        """Replaces the oldest rows by these (N, width); of more than `length` only the last are kept."""
        length = len(self.rows)
        rows = rows.detach()[-length:].to(self.rows.dtype)
        where = (self.place + torch.arange(len(rows), device=rows.device)) % length
        self.rows[where] = rows
        self.place.copy_((self.place + len(rows)) % length)
        self.filled.copy_((self.filled + len(rows)).clamp(max=length))
