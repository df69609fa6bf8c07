"""Is the representation still alive? Two numbers per batch, and a warning when either says no.

A joint-embedding method can lower its loss while all images move to one point (collapse) or onto a line (dimensional
collapse). The standard deviation of normalised features shows the first, the effective rank the second.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

STD_FLOOR = 0.05
RANK_FLOOR = 1.5


def embedding_std(embedding: Tensor) -> float:
    """Mean deviation per dimension of L2-normalised (B, D) features, times sqrt(D): 1 when isotropic, 0 at collapse.

    The diagnostic of Chen and He 2021 (SimSiam, arXiv 2011.10566, section 4.1).
    """
    z = F.normalize(embedding.detach().float(), dim=1)
    return float(z.std(dim=0, unbiased=False).mean() * z.shape[1] ** 0.5)


def effective_rank(embedding: Tensor) -> float:
    """exp of the entropy of the normalised singular values of centred (B, D) features (Roy and Vetterli 2007)."""
    z = embedding.detach().float()
    values = torch.linalg.svdvals(z - z.mean(0))
    total = values.sum()
    if not torch.isfinite(total) or total <= 0:
        return 1.0
    p = values / total
    return float(torch.exp(-(p * torch.log(p.clamp(min=1e-12))).sum()))


def collapse_warning(std: float, rank: float) -> str | None:
    """One line if the features have collapsed, else None."""
    if std < STD_FLOOR:
        return f"the features have collapsed: deviation {std:.3f} (below {STD_FLOOR}); lower the rate"
    if rank < RANK_FLOOR:
        return f"the features lie on a line: effective rank {rank:.2f} (below {RANK_FLOOR})"
    return None
