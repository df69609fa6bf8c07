"""A student that gives the same distribution over outputs as its teacher, view against view (DINO, iBOT, DINOv2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.parts.precision import full_precision

LARGE = 2  # views that the teacher sees


@full_precision
def distillation_loss(student: Tensor, teacher: Tensor, centre: Tensor, tau_s: float, tau_t: float | Tensor) -> Tensor:
    """Eq. 3 of DINO (arXiv 2104.14294), the mean over images and pairs of different views.

    Args:
        student: (V, B, K) outputs for every view. teacher: (L, B, K) for the first L of them. centre: (K,).
    Returns:
        scalar. No gradient goes into teacher and centre.
    """
    log_p = F.log_softmax(student / tau_s, dim=2)
    p = F.softmax((teacher.detach() - centre) / tau_t, dim=2)
    losses = [-(p[i] * log_p[j]).sum(1).mean() for i in range(len(p)) for j in range(len(log_p)) if i != j]
    return torch.stack(losses).mean()


class Head(nn.Module):
    """Three layers with GELU, a bottleneck of unit length, and a last layer whose rows have unit length."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last = nn.Parameter(F.normalize(torch.randn(outputs, bottleneck), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.layers(x), dim=-1), F.normalize(self.last, dim=1))
