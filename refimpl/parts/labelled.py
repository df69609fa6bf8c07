"""The few images that keep their labels in semi-supervised training (CSD, CCT, Noisy Student)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from refimpl.data.dataset import Data, DataError


class Few:
    """Chooses training samples once per data set; the choice depends on nothing that training changes.

    count: how many; of each class where `each` names the field with the classes (all of a class that has fewer; a
    negative class is an unknown one). choice: another number chooses others.
    """

    def __init__(self, count: int, choice: int, each: str = ""):
        self._count, self._choice, self._each = count, choice, each
        self._data, self._samples = None, None

    def of(self, data: Data) -> Tensor:
        """Their sample numbers, sorted."""
        if self._data is not data:
            self._data, self._samples = data, self._choose(data).sort().values
        return self._samples

    def _choose(self, data: Data) -> Tensor:
        train = torch.as_tensor(data.splits["train"], dtype=torch.int64)
        train = train[torch.from_numpy(np.random.default_rng(self._choice).permutation(len(train)))]
        if not self._each:
            return train[: self._count]
        label = data.take(self._each, train).cpu()
        picked = [train[label == c][: self._count] for c in label.unique() if c >= 0]
        if not picked:
            raise DataError(f"semi-supervised training needs a {self._each} of some training images, but none is known")
        return torch.cat(picked)
