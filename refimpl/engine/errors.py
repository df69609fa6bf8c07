"""What may go wrong in a run, as errors whose message is one line with the remedy."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A run that cannot go on."""


class OutputError(TrainingError):
    """A file of a run that cannot be written (disk full, read-only folder)."""


class Stopped(Exception):
    """A run that was asked to stop by a signal and did so after a whole step, with a checkpoint.

    signal: its number. step: steps done.
    """

    def __init__(self, signal: int, step: int, folder):
        super().__init__(f"stopped after step {step}; continue with --resume --out {folder}")
        self.signal, self.step = signal, step
