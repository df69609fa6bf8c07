"""Seconds that a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Clock:
    """Measures work on one device.

    On a CPU these are seconds of a core, summed over the process's threads: what others do on the machine does not
    count. On a GPU, seconds from one synchronisation to the next, so that work still queued counts where it belongs.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.unit = "s" if device.type == "cuda" else "core-s"

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def timed(self, work: Callable[[], object], times: int = 1) -> Callable[[], float]:
        """A job for `pairs.in_turn`: does `work` several times, returns the seconds of one."""

        def job() -> float:
            began = self.now()
            for _ in range(times):
                work()
            return (self.now() - began) / times

        return job
