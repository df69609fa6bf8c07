"""What keeps a run from being lost: one writer per folder, a stop on request, and errors that name their cause."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from refimpl.engine import distributed
from refimpl.engine.errors import OutputError, Stopped, TrainingError
from refimpl.engine.feed import MicroBatch

try:
    import fcntl
except ImportError:  # not on Windows, where two runs in one folder go unnoticed
    fcntl = None

# What gloo, NCCL and torch's store say when the other end of a connection is gone.
_LOST = re.compile(r"Connection (reset|closed|refused)|Broken pipe|remote process exited|NCCL communicator was aborted")
SIGNALS = (signal.SIGTERM, signal.SIGINT)  # of a scheduler that wants the machine back; of a person (Ctrl-C)


class FolderLock:
    """One run per folder. The system gives the lock back when the process ends, however it ends.

    Raises:
        TrainingError: another process holds it.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path):
        path = folder / ".lock"
        try:
            self._file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  held until close()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise TrainingError(
                f"{folder}: another run is writing there (process {owner}); wait for it or choose another --out"
            ) from None
        try:
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror}); make room or choose another --out"
            ) from None
        for torn in folder.glob(".*.part"):  # of a process that was killed while it wrote
            torn.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class StopRequest:
    """Notes a signal and lets the step at hand end; a second one ends the process as it would have without us.

    Under torchrun there is no second one: it hands on to its workers what a scheduler or a terminal has sent to all of
    them already, and ends those that linger by itself (after 30 seconds, or its --shutdown-timeout).
    Signals can only be caught in the main thread; elsewhere nothing is caught.
    """

    def __init__(self, active: bool = True):
        self._active = active and threading.current_thread() is threading.main_thread()
        self._signal = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if self._active:
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # One that came with the last step has stopped nothing yet. (Several processes still have to part together.)
        if self._signal and kind is None and distributed.world_size() == 1:
            signal.raise_signal(self._signal)

    def _note(self, number: int, _frame) -> None:
        self._signal = number
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.signal(number, self._before[number])

    def agreed(self) -> int:
        """The signal that any process got, 0 if none; the same answer on every process, which all must ask."""
        if distributed.world_size() == 1:
            return self._signal
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        number = torch.tensor([self._signal], device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)


@contextlib.contextmanager
def leaves_on_sigterm() -> Iterator[None]:
    """Raises `Stopped` at a SIGTERM (where training, which has its own `StopRequest`, does not catch it)."""

    def leave(number: int, _frame) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def names_lost_processes() -> Iterator[None]:
    """Says in one line that a process of the run was lost, where a collective operation would say how it found out.

    Raises:
        TrainingError: another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError) or not _LOST.search(str(error)):
            raise
        raise TrainingError(
            "another process of this run was lost (its own message says why); start all of them again with --resume"
        ) from None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The second is oneDNN's, when a convolution finds no room for its work space.
    texts = ("allocate memory", "could not create a primitive")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def _give_back(device: torch.device) -> None:
    """Returns what is held but not used, so that others than this device's allocator can have it, too."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        with contextlib.suppress(OSError, AttributeError):  # glibc's own; elsewhere there is nothing to do
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory_error(
    step: int, micro: MicroBatch, device: torch.device, batch: int, couples: bool, try_out: Callable[[MicroBatch], None]
) -> TrainingError:
    """The error for a batch that does not fit; it names the largest half, quarter ... that does, having tried it.

    To be called while the error that said so is handled.
    batch: samples of all processes together. couples: whether small batches may not be accumulated instead.
    """
    # The functions that failed still hold what they had computed.
    traceback.clear_frames(sys.exc_info()[2])
    local = len(micro.samples)
    fits = local // 2
    # With several processes a trial would wait for the others, which do not know of it.
    while fits and distributed.world_size() == 1:
        _give_back(device)
        try:
            try_out(micro.first(fits))
            break
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            fits //= 2
    if not fits:
        return TrainingError(f"step {step}: no batch of any size fits into the memory of {device}; use smaller images")
    smaller = batch * fits // local
    also = "" if couples else f", or --set batch={smaller} --set accumulate={batch // smaller} for the same gradient"
    tried = "fits" if distributed.world_size() == 1 else "may fit"
    return TrainingError(
        f"step {step}: a batch of {batch} does not fit into the memory of {device}; {smaller} {tried}: "
        f"use --set batch={smaller}{also}"
    )


def bad_samples(micro_batches: list[MicroBatch]) -> str:
    """Names the first sample of a step whose stored numbers are not finite; "" if there is none."""
    for micro in micro_batches:
        for name, values in micro.batch.items():
            if not values.is_floating_point() or len(values) != len(micro.samples):
                continue
            bad = (~torch.isfinite(values)).flatten(1).any(1) if values.dim() > 1 else ~torch.isfinite(values)
            if bad.any():
                sample = int(micro.samples[int(bad.nonzero()[0])])
                return f"sample {sample} of the data holds NaN or infinity in its {name}"
    return ""
