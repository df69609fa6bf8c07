"""From a data set to the batches of a step: where the data live, which samples a step takes, and what is fetched ahead.

There is no DataLoader: the data are arrays, and a batch is a row of sample numbers. They are kept on the GPU where they
fit. Where they do not, a thread gathers the batches of the next two steps into pinned memory while the device computes,
and they travel without waiting (a gather of memory-mapped rows holds no interpreter lock worth speaking of).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from refimpl.data.dataset import Data
from refimpl.engine import distributed
from refimpl.engine.draws import Draws
from refimpl.engine.method import Batch, Method, Recipe

RESIDENT_SHARE = 0.5  # data are kept on the GPU when they take at most this share of its free memory
AHEAD = 2  # steps whose batches are fetched while the device computes


@dataclass
class MicroBatch:
    """One of the batches whose gradients make a step: this process's part of it.

    samples: (B,) numbers of the samples in the data set, in the order of the batch's rows (on the CPU).
    """

    batch: Batch
    draws: Draws
    samples: Tensor

    def to(self, device: torch.device) -> MicroBatch:
        moved = {name: value.to(device, non_blocking=True) for name, value in self.batch.items()}
        return MicroBatch(moved, self.draws.to(device), self.samples)

    def first(self, rows: int) -> MicroBatch:
        """A smaller batch of its first rows."""
        return MicroBatch({n: v[:rows] for n, v in self.batch.items()}, self.draws.first(rows), self.samples[:rows])


def feed(
    method: Method, data: Data, order: Tensor, span: range, recipe: Recipe, seed: int, per_epoch: int, device
) -> Iterator[tuple[int, list[MicroBatch]]]:
    """The drawn batches of the steps in `span`, on `device`; order: sample numbers of the whole epoch."""
    world, rank = distributed.world_size(), distributed.rank()
    local = recipe.batch // world
    home = home_of(data)

    def fetch(step: int) -> list[MicroBatch]:
        parts = []
        for micro in range(recipe.accumulate):
            begin = micro * recipe.batch + rank * local
            rows = torch.arange(begin, begin + local)
            samples = order[(step % per_epoch) * recipe.batch * recipe.accumulate + rows]
            draws = Draws(seed, step, rows.to(home))
            batch = method.draw(data, samples.to(home), draws)
            if device.type == "cuda" and home != device:
                batch = {name: value if value.is_cuda else value.pin_memory() for name, value in batch.items()}
            parts.append(MicroBatch(batch, draws, samples))
        return parts

    if home == device:
        for step in span:
            yield step, fetch(step)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = {step: pool.submit(fetch, step) for step in islice(span, AHEAD)}
        for step in span:
            parts = ahead.pop(step).result()
            if step + AHEAD < span.stop:
                ahead[step + AHEAD] = pool.submit(fetch, step + AHEAD)
            yield step, [part.to(device) for part in parts]


def epoch_order(method: Method, data: Data, train: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    """Sample numbers of one epoch in order, drawn from `train` (N,): as the method says.

    Where data lie in chunks, and the method has no order of its own, each sample comes once too: the chunks in random
    order, the samples at random among those of `data.window` chunks, so that each chunk is read once.
    """
    if data.chunks is None or type(method).order is not Method.order:
        return method.order(epoch, train, generator)
    _, chunk = torch.as_tensor(data.chunks)[train].unique(return_inverse=True)
    turn = torch.randperm(int(chunk.max()) + 1, generator=generator) // data.window
    mixed = torch.randperm(len(train), generator=generator)
    return train[mixed[turn[chunk[mixed]].argsort(stable=True)]]


def home_of(data: Data) -> torch.device:
    """Where the fields live."""
    values = next(iter(data.fields.values()))
    return values.device if isinstance(values, Tensor) else torch.device("cpu")


def resident(data: Data, device: torch.device) -> Data:
    """The fields on the GPU if they fit there comfortably, else as they are."""
    if device.type != "cuda":
        return data
    # uint16 becomes int32 there (see Data.take).
    size = sum(v.nbytes * (2 if str(v.dtype) == "uint16" else 1) for v in data.fields.values())
    return data.to(device) if size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0] else data
