"""Balanced assignments of samples to prototypes (Sinkhorn and Knopp), in the log domain and over all processes."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from refimpl.engine.distributed import world_size
from refimpl.parts.precision import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, temperature: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes Q (B, K): rows sum to 1, every prototype gets about the same share of the global batch.

    scores: (B, K) similarities of this process's samples; all processes must ask together. Q is proportional to
    exp(scores / temperature), rows and columns normalised in turn (Cuturi 2013, arXiv 1306.0895; SwAV, section 3.1).
    In the log domain no score is too large.
    """
    log_q = scores / temperature
    count = len(log_q) * world_size()
    for _ in range(iterations):
        log_q = log_q - _log_sum_over_samples(log_q) + math.log(count / log_q.shape[1])  # columns: B / K
        log_q = log_q - torch.logsumexp(log_q, dim=1, keepdim=True)  # rows: 1
    return log_q.exp()


def _log_sum_over_samples(log_q: Tensor) -> Tensor:
    """log of the sum over the samples of all processes, (1, K)."""
    largest = log_q.amax(0, keepdim=True)
    if world_size() > 1:
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    total = (log_q - largest).exp().sum(0, keepdim=True)
    if world_size() > 1:
        dist.all_reduce(total)
    return largest + total.log()
