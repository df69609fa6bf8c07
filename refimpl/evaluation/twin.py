"""The untrained twin: the same architecture with new random weights, against which training must pay."""

from __future__ import annotations

from collections.abc import Callable

import torch

from refimpl.engine.draws import mix_seeds
from refimpl.engine.method import Method

_STREAM = 0x7E57  # keeps the twin's seed apart from the run's own


def untrained(fresh: Callable[[], Method], seed: int, device: torch.device) -> Method:
    """`fresh()` under a seed of its own, moved to `device`; the program's own random numbers are left untouched.

    Args:
        fresh: makes a new, untrained method of the architecture that is judged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seeds(seed, _STREAM))
        return fresh().to(device)
