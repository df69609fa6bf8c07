"""Losses are computed in full precision even where the network ran in half."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """bf16 and fp16 become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator of a loss: its tensors become at least float32, and autocast (which would undo that) is off inside."""

    def raised(value):
        return full(value) if isinstance(value, Tensor) else value

    @functools.wraps(loss)
    def wrapped(*arguments, **named):
        tensors = [value for value in (*arguments, *named.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(*map(raised, arguments), **{name: raised(value) for name, value in named.items()})

    return wrapped
