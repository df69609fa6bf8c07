"""InfoNCE with a set of negatives that all queries share (MoCo, DenseCL, PCL)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.parts.precision import full_precision


@full_precision
def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Eq. 1 of MoCo (arXiv 1911.05722), the mean over queries.

    Args:
        queries, keys: (B, D), row i of both from one image. negatives: (K, D). Rows need not be normalised.
    Returns:
        scalar. No gradient goes into keys and negatives.
    """
    q, k, n = (F.normalize(x, dim=1) for x in (queries, keys.detach(), negatives.detach()))
    positive = (q * k).sum(1, keepdim=True)
    logits = torch.cat([positive, q @ n.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))
