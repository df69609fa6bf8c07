"""The training loop: one for every method, readable top to bottom.

Its one promise: the weights after step k are a function of (method, data, recipe, seed, k) and of nothing else - not of
when the run was interrupted, nor (up to rounding, and networks with dropout aside) of how many processes share the
batch. So the order of samples comes from (seed, epoch), random numbers from (seed, step, row), the learning rate from
the step, and everything else that matters is a tensor in the checkpoint.

A step itself is in `refimpl.engine.step`, how its batches come about in `refimpl.engine.feed`, and what may go wrong in
`refimpl.engine.nerve`.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from refimpl.data.dataset import Data, DataError
from refimpl.engine import checkpoint, distributed, nerve
from refimpl.engine.draws import epoch_generator, mix_seeds
from refimpl.engine.errors import OutputError, Stopped, TrainingError
from refimpl.engine.features import epoch_tools
from refimpl.engine.feed import epoch_order, feed, resident
from refimpl.engine.hardware import keep_freed_memory, peak_memory_mb, with_index
from refimpl.engine.log import Log, summary
from refimpl.engine.method import Method, Progress, Recipe
from refimpl.engine.optim import learning_rate
from refimpl.engine.progress import Bar, say
from refimpl.engine.step import Stepper

WATCH_EVERY = 25  # steps between two looks at the features


@dataclass
class Trained:
    """What a run leaves behind besides its folder. curve: (step, loss) pairs, at most a few hundred."""

    steps: int
    seconds: float
    images_per_second: float
    peak_memory_mb: float
    curve: list[tuple[int, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def train(
    method: Method,
    data: Data,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "auto",
    compiles: str = "auto",
    shard: bool = False,
    folder: Path | None = None,
    save_every: int | None = None,
    max_steps: int | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Trained:
    """Trains `method` in place on `data.splits["train"]`.

    Args:
        recipe: epochs, batch (of all processes together), optimiser, rates.
        precision: "fp32", "bf16", or "auto" (bf16 where the hardware multiplies it natively).
        compiles: "on", "off" or "auto" (torch.compile on a GPU).
        shard: each of several processes keeps a part of the weights, gradients and moments (FSDP2 instead of DDP).
        folder: where metrics and checkpoints go; the newest sound checkpoint in it is resumed. None keeps nothing.
        save_every: steps between checkpoints (default: an epoch, at most 200).
        max_steps: stop after this many steps (the schedule is then that of the shorter run).
        tensorboard: write TensorBoard events beside the metrics.
    Raises:
        TrainingError: a loss that is not finite, a batch that does not fit, a method that cannot be accumulated or
            sharded.
        DataError: fewer training samples than one batch.
        Stopped: SIGTERM or Ctrl-C, after the step at hand and with a checkpoint (only where there is a folder).
    """
    device = with_index(device)
    keep_freed_memory()
    order_of = torch.as_tensor(data.splits["train"], dtype=torch.int64)
    big_batch = recipe.batch * recipe.accumulate
    _check(method, recipe, len(order_of), data.name)
    per_epoch = len(order_of) // big_batch
    steps = recipe.epochs * per_epoch
    if max_steps is not None:
        steps = min(steps, max_steps)
    epochs = -(-steps // per_epoch)

    title = f"training {type(method).__name__}"
    stepper = Stepper(method, recipe, device, precision, compiles, shard)
    saver = _Saver(folder, stepper)
    first = saver.resume()
    save_every = save_every or min(per_epoch, 200)
    data = resident(data.only(*method.needs), device)

    quiet = quiet or not distributed.is_main()
    trained = Trained(steps, 0.0, 0.0, 0.0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(contextlib.closing(Log(folder, first, big_batch, quiet, tensorboard)))
        stop = stack.enter_context(nerve.StopRequest(active=folder is not None))
        bar = stack.enter_context(Bar(title, steps, start=first, quiet=quiet))
        for epoch in range(first // per_epoch, epochs):
            start = max(first, epoch * per_epoch)
            if start == epoch * per_epoch:
                tools = epoch_tools(method, data, stepper.optimisers, seed, epoch, device, stepper.autocast)
                with stepper.between_epochs():
                    method.before_epoch(epoch, data, tools)
            order = epoch_order(method, data, order_of, epoch, epoch_generator(seed, epoch, 0))
            span = range(start, min(steps, (epoch + 1) * per_epoch))
            for step, micro_batches in feed(method, data, order, span, recipe, seed, per_epoch, device):
                torch.manual_seed(mix_seeds(seed, step, distributed.rank()))  # dropout, the only other randomness
                progress = Progress(step + 1, steps, epoch, epochs)
                asks = device.type == "cpu" or step % WATCH_EVERY == 0  # on a GPU every question waits for it
                signal = stop.agreed() if asks else 0
                saves = (step + 1) % save_every == 0 or step == steps - 1 or signal
                looks = step % WATCH_EVERY == 0 or saves  # never save what was not looked at: it may be NaN
                try:
                    metrics, embedding = stepper.take(micro_batches, progress)
                except (RuntimeError, MemoryError) as error:
                    if not nerve.out_of_memory(error):
                        raise
                    method.zero_grad(set_to_none=True)
                    big = (step, micro_batches[0], device, recipe.batch, method.couples_samples, stepper.try_out)
                    raise nerve.memory_error(*big) from None
                if looks or device.type == "cpu":
                    rate = learning_rate(step, steps, recipe)
                    try:
                        line = log.write(step, rate, metrics, embedding if looks else None)
                    except TrainingError as error:
                        raise _not_finite(error, nerve.bad_samples(micro_batches), saver.step) from None
                    trained.warnings += line.pop("warnings")
                    bar.advance(summary(line))
                else:
                    bar.advance()
                if saves:
                    saver.save(step + 1, last=step == steps - 1)
                if signal and step < steps - 1:
                    raise Stopped(signal, step + 1, folder)
        trained.seconds = saver.seconds()
        trained.curve = log.curve()
    stepper.finish()
    trained.images_per_second = steps * big_batch / max(trained.seconds, 1e-9)
    trained.peak_memory_mb = peak_memory_mb(device)
    return trained


class _Saver:
    """Checkpoints of a run, and its time over all its parts."""

    def __init__(self, folder: Path | None, stepper: Stepper):
        self._folder = folder / "checkpoints" if folder else None
        self._method, self._optimisers = stepper.method, stepper.optimisers
        self._lends = stepper.sharding is not None  # every process has a part of what the main one writes
        self._before, self._began = 0.0, time.monotonic()
        self.step = 0  # of the newest sound checkpoint

    def resume(self) -> int:
        """Restores the newest sound checkpoint, if there is one; returns the step to begin with.

        Raises:
            TrainingError: the processes found different ones.
        """
        if self._folder and (found := checkpoint.newest_checkpoint(self._folder, say)):
            facts, tensors = found
            checkpoint.restore(tensors, self._method, self._optimisers)
            self.step, self._before = facts["step"], facts["seconds"]
        device = next(self._method.parameters()).device
        if self._folder and len(distributed.gather(torch.tensor([self.step], device=device)).unique()) > 1:
            raise TrainingError(
                f"{self._folder}: not every process found the checkpoint of the same step; "
                "put the run folder (--out) where all machines see it"
            )
        self._began = time.monotonic()
        return self.step

    def seconds(self) -> float:
        """Time spent in training so far, that before a resume included."""
        return self._before + time.monotonic() - self._began

    def save(self, step: int, last: bool) -> None:
        """A checkpoint that cannot be written is said and costs the run nothing, unless it is the last one."""
        main = distributed.is_main()
        if self._folder is None or not (main or self._lends):
            return
        tensors = checkpoint.tensors_of(self._method, self._optimisers, keep=main)
        if not main:
            return
        try:
            checkpoint.save_checkpoint(self._folder, step, tensors, {"seconds": self.seconds()})
            self.step = step
        except OutputError as error:
            if last:
                raise
            say(f"{error}; the run goes on, its last checkpoint is of step {self.step}", style="yellow")


def _not_finite(error: TrainingError, culprit: str, saved: int) -> TrainingError:
    remedy = f"{culprit}; mend or leave it out" if culprit else "lower --set lr or use --precision fp32"
    kept = f"; the checkpoint of step {saved} is sound" if saved else ""
    return TrainingError(f"{error}: {remedy}{kept}")


def _check(method: Method, recipe: Recipe, samples: int, name: str) -> None:
    if recipe.accumulate < 1 or recipe.batch < 1 or recipe.epochs < 1:
        raise TrainingError("epochs, batch and accumulate must be at least 1; change them with --set")
    if recipe.accumulate > 1 and method.couples_samples:
        raise TrainingError(
            f"{type(method).__name__} compares the samples of a batch with one another, so accumulating "
            f"{recipe.accumulate} small batches would train another loss; set accumulate=1 and choose a smaller batch"
        )
    if recipe.batch % distributed.world_size():
        raise TrainingError(
            f"a batch of {recipe.batch} cannot be shared by {distributed.world_size()} processes evenly"
        )
    if samples < recipe.batch * recipe.accumulate:
        raise DataError(
            f"{name}: {samples} training samples are fewer than one batch of {recipe.batch * recipe.accumulate}; "
            f"use --set batch={max(2, samples // recipe.accumulate)} or more data"
        )
