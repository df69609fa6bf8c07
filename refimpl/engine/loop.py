"""The training loop: one for every method, readable top to bottom.

Its one promise: the weights after step k are a function of (method, data, recipe, seed, k) and of nothing else - not of
when the run was interrupted, nor (up to rounding, and networks with dropout aside) of how many processes share the
batch. So the order of samples comes from (seed, epoch), random numbers from (seed, step, row), the learning rate from
the step, and everything else that matters is a tensor in the checkpoint.

There is no DataLoader: the data are arrays, a batch is a row of sample numbers, `Method.draw` gathers it (in a thread,
two steps ahead, where the data do not live on the training device) and `Method.prepare` makes its views on the device.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from refimpl.data.dataset import Data, DataError
from refimpl.engine import checkpoint, distributed
from refimpl.engine.draws import Draws, mix_seeds
from refimpl.engine.hardware import keep_freed_memory, peak_memory_mb, wants_bf16
from refimpl.engine.log import Log, TrainingError
from refimpl.engine.method import Batch, EpochTools, Method, Progress, Recipe
from refimpl.engine.optim import build_optimiser, learning_rate
from refimpl.engine.progress import Bar, say

RESIDENT_SHARE = 0.5  # data are kept on the GPU when they take at most this share of its free memory
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
    folder: Path | None = None,
    save_every: int | None = None,
    max_steps: int | None = None,
    quiet: bool = False,
) -> Trained:
    """Trains `method` in place on `data.splits["train"]`.

    Args:
        recipe: epochs, batch (of all processes together), optimiser, rates.
        precision: "fp32", "bf16", or "auto" (bf16 where the hardware multiplies it natively).
        folder: where metrics and checkpoints go; the newest sound checkpoint in it is resumed. None keeps nothing.
        save_every: steps between checkpoints (default: an epoch, at most 200).
        max_steps: stop after this many steps (the schedule is then that of the shorter run).
    Raises:
        TrainingError: a loss that is not finite, a method that cannot accumulate.
        DataError: fewer training samples than one batch.
    """
    device = _with_index(torch.device(device))
    keep_freed_memory()
    order_of = torch.as_tensor(data.splits["train"], dtype=torch.int64)
    big_batch = recipe.batch * recipe.accumulate
    _check(method, recipe, len(order_of), data.name)
    per_epoch = len(order_of) // big_batch
    steps = recipe.epochs * per_epoch
    if max_steps is not None:
        steps = min(steps, max_steps)
    epochs = -(-steps // per_epoch)

    method.to(device).train()
    for parameter in method.parameters():
        if parameter.dim() == 4:  # kernels of 2-d convolutions run fastest with channels innermost
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    if distributed.world_size() > 1:
        distributed.globalise_batch_norm(method)
    optimisers = {turn: build_optimiser(method.parameters_of(turn), recipe) for turn in method.turns}

    first, seconds_before = 0, 0.0
    checkpoints = folder / "checkpoints" if folder else None
    if checkpoints and (found := checkpoint.newest_checkpoint(checkpoints, say)):
        facts, tensors = found
        checkpoint.restore(tensors, method, optimisers)
        first, seconds_before = facts["step"], facts["seconds"]
    save_every = save_every or min(per_epoch, 200)
    data = _resident(data.only(*method.needs), device)
    model = method
    if distributed.world_size() > 1:
        # The turns of an adversary use different parameters, and a transformer may leave some of its own unused.
        model = DistributedDataParallel(method, broadcast_buffers=False, find_unused_parameters=True)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16(precision, device))

    log = Log(folder, first, quiet or not distributed.is_main())
    trained = Trained(steps, 0.0, 0.0, 0.0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.monotonic()
    with Bar(f"training {type(method).__name__}", steps, start=first, quiet=quiet or not distributed.is_main()) as bar:
        for epoch in range(first // per_epoch, epochs):
            start = max(first, epoch * per_epoch)
            if start == epoch * per_epoch:
                method.before_epoch(epoch, data, _epoch_tools(method, data, optimisers, seed, epoch, device, autocast))
            order = method.order(epoch, order_of, _generator(seed, epoch, 0))
            span = range(start, min(steps, (epoch + 1) * per_epoch))
            for step, micro_batches in _feed(method, data, order, span, recipe, seed, per_epoch, device):
                torch.manual_seed(mix_seeds(seed, step, distributed.rank()))  # dropout, the only other randomness
                rate = learning_rate(step, steps, recipe)
                saves = (step + 1) % save_every == 0 or step == steps - 1
                looks = step % WATCH_EVERY == 0 or saves  # never save what was not looked at: it may be NaN
                metrics, embedding = _step(model, method, optimisers, micro_batches, rate, recipe, autocast)
                method.after_step(Progress(step + 1, steps, epoch, epochs))
                if looks or device.type == "cpu":
                    line = log.write(step, rate, metrics, embedding if looks else None, recipe, began, first)
                    trained.warnings += line.pop("warnings", [])
                    bar.advance(f"loss {line['loss']:.4g}, {line['images_per_second']:.0f} images/s")
                else:
                    bar.advance()
                if checkpoints and distributed.is_main() and saves:
                    facts = {"seconds": seconds_before + time.monotonic() - began}
                    checkpoint.save_checkpoint(checkpoints, step + 1, checkpoint.tensors_of(method, optimisers), facts)
    trained.seconds = seconds_before + time.monotonic() - began
    trained.images_per_second = steps * big_batch / max(trained.seconds, 1e-9)
    trained.peak_memory_mb = peak_memory_mb(device)
    trained.curve = log.curve()
    log.close()
    return trained


def _step(model, method, optimisers, micro_batches, rate, recipe, autocast) -> tuple[dict[str, float], Tensor | None]:
    """One optimiser step for every turn. Returns mean metrics and the last embedding."""
    totals: dict[str, Tensor] = {}
    embedding = None
    prepared = []
    for batch, draws in micro_batches:
        with torch.no_grad():
            prepared.append(method.prepare(batch, draws))
    for turn in method.turns:
        method.zero_grad(set_to_none=True)
        for i, batch in enumerate(prepared):
            delays = i < len(prepared) - 1 and isinstance(model, DistributedDataParallel)
            with model.no_sync() if delays else contextlib.nullcontext():
                with autocast:
                    out = model(batch, turn)
                (out.loss / len(prepared)).backward()
            suffix = "" if turn == method.turns[0] else f"_{turn}"
            for key, value in {"loss": out.loss, **out.metrics}.items():
                totals[key + suffix] = totals.get(key + suffix, 0.0) + value.detach().float() / len(prepared)
            embedding = out.embedding if out.embedding is not None else embedding
        optimiser = optimisers[turn]
        for group in optimiser.param_groups:
            group["lr"] = rate * method.rate_of(turn)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_([p for _, p in method.parameters_of(turn)], recipe.clip)
        optimiser.step()
    return totals, embedding


def _feed(
    method, data: Data, order: Tensor, span: range, recipe: Recipe, seed: int, per_epoch: int, device: torch.device
) -> Iterator[tuple[int, list[tuple[Batch, Draws]]]]:
    """Drawn batches of the steps in `span`, this process's part of each, one step ahead when data and device differ."""
    world, rank = distributed.world_size(), distributed.rank()
    local = recipe.batch // world
    lives = _device_of(data)
    resident = lives == device

    def fetch(step: int) -> list[tuple[Batch, Draws]]:
        parts = []
        for micro in range(recipe.accumulate):
            begin = micro * recipe.batch + rank * local
            rows = torch.arange(begin, begin + local)
            position = (step % per_epoch) * recipe.batch * recipe.accumulate + rows
            draws = Draws(seed, step, rows.to(lives))
            batch = method.draw(data, order[position].to(lives), draws)
            if not resident:
                batch = {name: value if value.is_cuda else value.pin_memory() for name, value in batch.items()}
            parts.append((batch, draws))
        return parts

    if resident:
        for step in span:
            yield step, fetch(step)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = {step: pool.submit(fetch, step) for step in islice(span, 2)}
        for step in span:
            parts = ahead.pop(step).result()
            if step + 2 < span.stop:
                ahead[step + 2] = pool.submit(fetch, step + 2)
            yield (
                step,
                [
                    ({n: v.to(device, non_blocking=True) for n, v in batch.items()}, draws.to(device))
                    for batch, draws in parts
                ],
            )


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


def _epoch_tools(method, data, optimisers, seed, epoch, device, autocast) -> EpochTools:
    def features() -> Tensor:
        return training_features(method, data, device, autocast)

    def forget(parameters) -> None:
        for parameter in parameters:
            for optimiser in optimisers.values():
                optimiser.state.pop(parameter, None)

    return EpochTools(features, forget, _generator(seed, epoch, 1))


@torch.no_grad()
def training_features(method: Method, data: Data, device, autocast, batch: int = 512) -> Tensor:
    """(N, width) float32 features of the training split on every process; each computes its share."""
    index = torch.as_tensor(data.splits["train"], dtype=torch.int64)
    world, rank = distributed.world_size(), distributed.rank()
    share = -(-len(index) // world)
    padded = torch.cat([index, index[: share * world - len(index)]])
    was_training = method.training
    method.eval()
    parts = []
    for chunk in padded[rank * share : (rank + 1) * share].split(batch):
        stored = data.take(method.needs[0], chunk.to(_device_of(data))).to(device)
        with autocast:
            parts.append(method.embed(stored).float())
    method.train(was_training)
    return distributed.gather(torch.cat(parts))[: len(index)]


def _generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed(mix_seeds(seed, -1 - epoch, purpose))


def _device_of(data: Data) -> torch.device:
    values = next(iter(data.fields.values()))
    return values.device if isinstance(values, Tensor) else torch.device("cpu")


def _resident(data: Data, device: torch.device) -> Data:
    """The fields on the GPU if they fit there comfortably, else as they are."""
    if device.type != "cuda":
        return data
    # uint16 becomes int32 there (see Data.take).
    size = sum(v.nbytes * (2 if str(v.dtype) == "uint16" else 1) for v in data.fields.values())
    return data.to(device) if size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0] else data


def _with_index(device: torch.device) -> torch.device:
    """ "cuda" as "cuda:0" (or whichever is current), so that it equals the device of a tensor that lives there."""
    return (
        torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device
    )
