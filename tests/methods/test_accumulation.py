"""Item 8: two small batches make the step of one big batch, or are refused."""

from __future__ import annotations

import pytest
import smoke
import torch
from two_processes.jobs import in_float64

from refimpl import registry
from refimpl.engine import loop
from refimpl.engine.errors import TrainingError

CLOSE = 1e-8  # as for two processes: float64 sums in another order


def trained(name: str, batch: int, accumulate: int) -> dict[str, torch.Tensor]:
    """State after two steps. Batch normalisation uses fixed statistics: those of a small batch are another function."""
    data = smoke.smoke_data(name)
    method = smoke.freeze_norms(smoke.still(smoke.build(name, data)))
    recipe = smoke.recipe(
        name, optimiser="sgd", lr=0.05, betas=(0.0, 0.0), warmup=0.0, batch=batch, accumulate=accumulate
    )
    with in_float64(method):
        loop.train(method, data, recipe, precision="fp32", max_steps=2, quiet=True)
    return {key: value.double() for key, value in method.state_dict().items()}


def test_small_batches_add_up_or_are_refused(name):
    half = smoke.BATCH // 2
    if registry.find(name).couples_samples:
        with pytest.raises(TrainingError, match=r"accumulat.*set accumulate=1"):
            trained(name, half, 2)
        return
    big, small = trained(name, smoke.BATCH, 1), trained(name, half, 2)
    start = smoke.build(name).state_dict()
    moved = [k for k in big if start[k].shape == big[k].shape and not torch.equal(start[k].double(), big[k])]
    assert moved, "training moved nothing"
    for key, value in big.items():
        if value.numel():
            error = float((small[key] - value).abs().max() / value.abs().max().clamp(min=1e-2))
            assert error < CLOSE, f"{key}: {error:.1e}"
