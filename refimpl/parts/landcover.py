"""Land cover of every pixel as what is to be learned (CSD, CCT)."""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.data.dataset import Data


def commonest_cover(data: Data) -> tuple[int, int]:
    """How many classes of land cover the training split has (the largest code + 1), and which one is the commonest."""
    parts = torch.as_tensor(data.splits["train"]).split(1024)
    counts = sum(torch.bincount(data.take("landcover", part).flatten().long(), minlength=256) for part in parts)
    return 1 + int(counts.nonzero().max()), int(counts.argmax())


def turned(x: Tensor, way: Tensor) -> Tensor:
    """Each of (B, ..., H, H) by one of the eight symmetries of the square, way (B,) in 0 .. 7."""
    way = way.view(-1, *[1] * (x.dim() - 1))
    x = torch.where(way % 2 == 1, x.transpose(-1, -2), x)
    x = torch.where(way // 2 % 2 == 1, x.flip(-1), x)
    return torch.where(way // 4 == 1, x.flip(-2), x)
