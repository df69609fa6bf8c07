"""What may go wrong in a run, as errors whose message is one line with the remedy."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A run that cannot go on."""


class OutputError(TrainingError):
    """A file of a run that cannot be written (disk full, read-only folder)."""


class Stopped(Exception):
    """A run that was asked to stop by a signal and did so in good order.

    signal: its number. step: steps done, all of them in a checkpoint; None outside of training.
    """

    def __init__(self, signal: int, step: int | None = None, folder=None):
        done = f" after step {step}" if step is not None else ""
        where = f" --out {folder}" if folder else ""
        super().__init__(f"stopped{done}; continue with --resume{where}")
        self.signal, self.step = signal, step
