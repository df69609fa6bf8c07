"""How much arithmetic a step is, and how much of it the machine can do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.benchmark.clock import Clock

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def flops_of(work: Callable[[], object]) -> float:
    """Multiplications and additions of matrix products and convolutions, counted by torch, backward included."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def peak_matmul(clock: Clock, precision: str) -> float:
    """FLOP/s (of one core on a CPU) of the fastest square matrix product found: what the machine can do at most."""
    sizes = (4096, 8192, 16384) if clock.device.type == "cuda" else (512, 1024, 2048)
    best = 0.0
    for size in sizes:
        a, b = (torch.randn(size, size, device=clock.device).to(TYPES[precision]) for _ in range(2))
        job = clock.timed(lambda a=a, b=b: a @ b, 3)
        job()
        best = max(best, *(2 * size**3 / job() for _ in range(5)))
    return best
