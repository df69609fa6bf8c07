"""Normalised temperature-scaled cross entropy over the views of a batch (SimCLR, multi-task learning)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.parts.precision import full_precision


@full_precision
def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Eq. 1 of SimCLR (arXiv 2002.05709), over the whole batch.

    Args:
        z1, z2: (N, D) projections of the first and second views; rows need not be normalised.
        temperature: tau.
    Returns:
        scalar, the mean over all 2N anchors.
    """
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    similarity = z @ z.T / temperature
    # k != i: a view is not its own negative. Cross entropy subtracts the maximum, so small temperatures are safe.
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)
