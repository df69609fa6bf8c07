"""Two ways to learn a softmax over all samples by telling the true one from some drawn ones (InstDisc, CMC)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.parts.precision import full_precision


@full_precision
def nce_loss(positive: Tensor, noise: Tensor, log_mean: Tensor, temperature: float) -> Tensor:
    """-log h(i, v) - sum over the noise of log(1 - h(i', v)); h = P / (P + m / n) with P = exp(s / temperature) / Z.

    Args:
        positive: (B,) similarity s of each feature and its own entry of the memory.
        noise: (B, m) similarities with m entries drawn uniformly from all n.
        log_mean: log of Z / n, a constant; n enters by it alone, since h = n P / (n P + m).
    Returns:
        scalar, the mean over features. In the log domain no similarity is too large (Gutmann and Hyvarinen 2010).
    """
    true, drawn = (s / temperature - log_mean - math.log(noise.shape[1]) for s in (positive, noise))  # log(n P / m)
    return -(F.logsigmoid(true) + F.logsigmoid(-drawn).sum(1)).mean()


@full_precision
def sampled_softmax(positive: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Cross entropy of the true entry among itself and the drawn ones; scalar, the mean over features.

    positive: (B,) and noise: (B, m), similarities as above. No constant is needed; equal ones cost ln(m + 1).
    """
    logits = torch.cat([positive[:, None], noise], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


@torch.no_grad()
def log_mean_exp(similarities: Tensor, temperature: float) -> Tensor:
    """log of Z / n from similarities of any shape between features and entries; scalar, in float64."""
    s = similarities.double().flatten() / temperature
    return torch.logsumexp(s, 0) - math.log(s.numel())
