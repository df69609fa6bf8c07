"""k-means: centroids and the nearest of them (DeepCluster, PCL)."""

from __future__ import annotations

import torch
from torch import Tensor


def k_means(x: Tensor, k: int, generator: torch.Generator, iterations: int = 20) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from k random points.

    Args:
        x: (N, D). k: number of clusters, at most N.
        generator: CPU generator; the same state gives the same clusters.
    Returns:
        centroids (k, D) and assignments (N,) int64. A cluster that runs empty takes a slightly moved copy of a random
        non-empty one's centroid (section 3.2), so that half of that one's members may go over to it.
    """
    centroids = x[torch.randperm(len(x), generator=generator)[:k].to(x.device)].clone()
    for _ in range(iterations):
        nearest = _assign(x, centroids)
        sizes = torch.bincount(nearest, minlength=k)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, x)
        centroids = sums / sizes.clamp(min=1)[:, None]
        empty, filled = (sizes == 0).nonzero()[:, 0], (sizes > 0).nonzero()[:, 0]
        if len(empty):
            donors = filled[torch.randint(len(filled), (len(empty),), generator=generator).to(x.device)]
            nudge = 1e-3 * torch.randn(len(empty), x.shape[1], generator=generator).to(x)
            centroids[empty] = centroids[donors] + nudge
    return centroids, _assign(x, centroids)


def _assign(x: Tensor, centroids: Tensor, chunk: int = 16384) -> Tensor:
    # argmin |x - c|^2 = argmax x.c - |c|^2 / 2
    offset = centroids.square().sum(1) / 2
    return torch.cat([(part @ centroids.T - offset).argmax(1) for part in x.split(chunk)])
