"""Optimisers and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from timm.optim import Lars
from torch import nn

from refimpl.engine.method import Recipe

OPTIMISERS = ("adamw", "adam", "sgd", "lars")


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Learning rate of optimiser step `step` (0 .. steps-1).

    The peak is recipe.lr scaled by the batch (lr holds for 256); a linear warm-up over recipe.warmup of all steps
    reaches it, and a half cosine ends at 0 one step after the last, so that no step is wasted on a zero rate.
    """
    peak = recipe.lr * recipe.batch * recipe.accumulate / 256
    warm = round(recipe.warmup * steps)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def weight_decay(step: int, steps: int, recipe: Recipe) -> float:
    """Weight decay of optimiser step `step` (0 .. steps-1): constant, or a half cosine to recipe.weight_decay_end."""
    if recipe.weight_decay_end < 0:
        return recipe.weight_decay
    share = 0.5 * (1 + math.cos(math.pi * step / max(1, steps - 1)))
    return recipe.weight_decay_end + (recipe.weight_decay - recipe.weight_decay_end) * share


def build_optimiser(named: Iterable[tuple[str, nn.Parameter]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; biases, norms and other vectors are not decayed (He et al. 2019, arXiv 1812.01187).

    Raises:
        ValueError: an unknown optimiser, with the known ones.
    """
    named = list(named)
    groups = [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": recipe.weight_decay, "decays": True},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0, "decays": False},
    ]
    groups = [g for g in groups if g["params"]]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)
    if recipe.optimiser == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, betas=recipe.betas, fused=True)
    if recipe.optimiser == "sgd":
        # Not fused: that kernel cannot begin the momentum of only some parameters (see EpochTools.forget).
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.betas[0])
    if recipe.optimiser == "lars":
        # You et al. 2017, arXiv 1708.03888; vectors, which are not decayed, keep the plain rate.
        return Lars(groups, lr=recipe.lr, momentum=recipe.betas[0])
    raise ValueError(f"unknown optimiser {recipe.optimiser!r}; known are {', '.join(OPTIMISERS)}")
