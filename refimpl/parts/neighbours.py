"""Which cells of a grid lie beside one another, and where (relative position, multi-task learning)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

# Where a neighbour may lie, rows down and columns to the right, row by row.
POSITIONS = [(row, column) for row, column in product((-1, 0, 1), repeat=2) if (row, column) != (0, 0)]


def neighbours(grid: int) -> Tensor:
    """(3, P) int64 of all ordered pairs in a square grid: first cell, second cell, position of the second, 0 to 7."""
    cells = list(product(range(grid), repeat=2))
    found = []
    for (row, column), (y, (down, right)) in product(cells, enumerate(POSITIONS)):
        other = (row + down, column + right)
        if other in cells:
            found.append((cells.index((row, column)), cells.index(other), y))
    return torch.tensor(found).T.contiguous()
