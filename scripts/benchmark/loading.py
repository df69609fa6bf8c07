"""Reading batches the way most libraries do: a data set asked for one sample at a time by torch's DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from scripts.benchmark.work import Images


class Samples(Dataset):
    """make: sample number -> whatever a sample is."""

    def __init__(self, count: int, make: Callable[[int], object]):
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int):
        return self.make(number)


def loader(images: Images, batch: int, make: Callable[[int], object] | None = None, workers: int = 0) -> DataLoader:
    """Shuffled batches; without `make` a sample is the stored image."""
    samples = Samples(len(images), make or images.channels_first.__getitem__)
    return DataLoader(
        samples,
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0 and torch.cuda.is_available(),
    )


def endless(batches: DataLoader) -> Iterator:
    while True:
        yield from batches
