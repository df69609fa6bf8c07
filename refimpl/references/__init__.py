"""Independent references: each method's equations once more, slowly and by other means, to compare with.

`refimpl/references/<method>.py` has

    CASES: list of functions without arguments that return a `Check`;
    KNOCKOUTS: {what is taken out: function(patch)}: each breaks the method's key idea through
        `patch(owner, attribute, replacement)`; with it applied at least one case must fail, or the cases prove nothing.

A reference is written from the paper's equation with loops over NumPy float64 arrays, never from the method's code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

DEVICE = torch.device("cpu")  # where `compare` runs the fast side; `verify --device cuda` sets it


@dataclass(frozen=True)
class Check:
    """Largest relative error found and what is tolerated."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return bool(np.isfinite(self.error)) and self.error <= self.tolerance


def compare(
    name: str,
    fast: Callable[..., torch.Tensor],
    slow: Callable[..., float],
    inputs: dict[str, np.ndarray],
    *,
    tolerance: float = 1e-6,
    coordinates: int = 12,
    nudge: float = 1e-5,
) -> Check:
    """Value and gradient of a scalar function against a slow one, in float64.

    The gradient of `slow` is taken by central differences at `coordinates` random entries of every float input;
    `fast`'s by autograd. Errors are relative to the largest magnitude compared (at least 1e-3).
    """
    rng = np.random.default_rng(0)
    kinds = {"f": torch.float64}
    tensors = {k: torch.tensor(v, dtype=kinds.get(v.dtype.kind), device=DEVICE) for k, v in inputs.items()}
    floats = [k for k, v in inputs.items() if v.dtype.kind == "f"]
    for k in floats:
        tensors[k].requires_grad_(True)
    value = fast(**tensors)
    grads = torch.autograd.grad(value, [tensors[k] for k in floats], allow_unused=True)
    expected = float(slow(**inputs))
    errors = [abs(float(value.detach()) - expected) / max(1e-3, abs(expected))]
    for k, grad in zip(floats, grads):
        ours, theirs = [], []
        for flat in rng.choice(inputs[k].size, size=min(coordinates, inputs[k].size), replace=False):
            where = np.unravel_index(flat, inputs[k].shape)
            sides = []
            for sign in (1, -1):
                moved = {**inputs, k: inputs[k].copy()}
                moved[k][where] += sign * nudge
                sides.append(float(slow(**moved)))
            theirs.append((sides[0] - sides[1]) / (2 * nudge))
            ours.append(0.0 if grad is None else float(grad[where]))
        scale = max(1e-3, *(abs(t) for t in theirs))
        errors.append(max(abs(a - b) for a, b in zip(ours, theirs)) / scale)
    return Check(name, max(errors), tolerance)


def checks(name: str) -> list[Check]:
    """Runs every case of a method's reference. Raises ModuleNotFoundError where a method has none."""
    module = importlib.import_module(f"refimpl.references.{name}")
    return [case() for case in module.CASES]
