"""Orders of puzzle tiles that are easy to tell apart (jigsaw, damaged puzzles)."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from torch import Tensor


@lru_cache
def distant_orders(count: int, tiles: int, seed: int = 0) -> Tensor:
    """Algorithm 1 of arXiv 1603.09246: (count, tiles) orders, each with the largest sum of Hamming distances to all
    before it.

    The first one, and which of several equally distant ones is taken, is random. tiles: at most 9.
    """
    every = torch.from_numpy(np.array(list(permutations(range(tiles))), dtype=np.int8))
    every = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))]
    distance = torch.zeros(len(every), dtype=torch.int64)  # of each order to all that were chosen
    chosen = []
    for _ in range(min(count, len(every))):
        chosen.append(int(distance.argmax()))
        distance += (every != every[chosen[-1]]).sum(1)
        distance[chosen[-1]] = torch.iinfo(torch.int64).min // 2  # never again
    return every[chosen].long()
