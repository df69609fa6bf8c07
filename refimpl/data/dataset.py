"""What a data set is to a method: named fields over one sample axis, and what each field looks like.

A *field* is an array whose first axis is the sample: integers as they were decoded, never normalised copies. The
names are a closed list (`FIELDS`), so that what a method needs and what a data set gives can be compared, and a
mismatch can be named before anything runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

FIELDS = {
    "image": "one image of a place, (C, H, W)",
    "location": "where the sample lies, (2,) easting and northing in metres",
    "date": "when it was taken, () days since 1970-01-01",
    "label": "its class, () integer; pre-training never sees it unless the method is semi-supervised",
    "second": "the same place seen by a second sensor, (C2, H, W)",
    "before": "the place before, (C, H, W)",
    "after": "the place after, (C, H, W)",
    "change": "true change mask between before and after, (H, W)",
    "series": "the place at several dates, (T, C, H, W)",
    "dates": "the dates of the series, (T,) days since 1970-01-01",
    "spectrum": "one pixel's spectrum, (C,)",
    "patch": "a small hyperspectral window around a pixel, (C, h, w)",
    "video": "consecutive frames, (T, 3, H, W)",
    "depth": "true depth of each frame in metres, (T, H, W)",
    "landcover": "true land cover of every pixel, (H, W) integer",
}


class DataError(ValueError):
    """Data that cannot be used as asked; the message is one line that says what is wrong and what would be right."""


@dataclass(frozen=True)
class Input:
    """What an encoder must know of the field it reads; it travels with the weights.

    bands: names in order, such as ("B04", "B03", "B02"). size: height = width in pixels, 1 for spectra.
    mean, std: per band, in the units of the stored numbers; normalised = (stored - mean) / std.
    """

    bands: tuple[str, ...]
    size: int = 64
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    sensor: str = ""

    def __post_init__(self):
        if not self.mean:
            object.__setattr__(self, "mean", (0.0,) * len(self.bands))
        if not self.std:
            object.__setattr__(self, "std", (1.0,) * len(self.bands))
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise DataError(f"{len(self.bands)} bands but {len(self.mean)} means and {len(self.std)} deviations")


@dataclass
class Data:
    """A data set: fields over one sample axis, splits, and (for judging only) truth.

    fields: name -> array or tensor of shape (N, ...); memory-mapped arrays are fine, `take` reads only what is asked.
    inputs: for each image-like field the `Input` an encoder of it needs.
    splits: "train", "val", "test" -> sample numbers. Pre-training reads train only.
    truth: what only an evaluation may look at (endmembers, abundances, ...).
    chunks: (N,) which chunk each sample lies in, where reading a chunk's samples together is much cheaper (shards).
    window: how many chunks may be shuffled into one another.
    """

    name: str
    fields: dict[str, np.ndarray | Tensor]
    inputs: dict[str, Input]
    splits: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    synthetic: bool = False
    source: str = ""
    chunks: np.ndarray | None = None
    window: int = 1

    def __post_init__(self):
        unknown = set(self.fields) - set(FIELDS)
        if unknown:
            raise DataError(f"{self.name}: unknown field {sorted(unknown)[0]!r}; fields are {', '.join(FIELDS)}")
        lengths = {name: len(values) for name, values in self.fields.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{self.name}: fields differ in number of samples: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    @property
    def gives(self) -> frozenset[str]:
        return frozenset(self.fields)

    def take(self, name: str, index: Tensor) -> Tensor:
        """The stored numbers of some samples, (len(index), ...), on the device where the field lives."""
        values = self.fields[name]
        if isinstance(values, Tensor):
            return values[index.to(values.device)]
        picked = torch.from_numpy(np.ascontiguousarray(values[index.cpu().numpy()]))
        # uint16 tensors support almost no operations in torch; int32 holds the same numbers.
        return picked.to(torch.int32) if picked.dtype == torch.uint16 else picked

    def to(self, device: torch.device | str) -> Data:
        """A copy whose fields are tensors on `device` (for data that fits there)."""
        every = torch.arange(len(self))
        return replace(self, fields={name: self.take(name, every).to(device) for name in self.fields})

    def only(self, *names: str) -> Data:
        """The same samples with only the named fields (and their inputs)."""
        keep = {n: v for n, v in self.fields.items() if n in names}
        return replace(self, fields=keep, inputs={n: v for n, v in self.inputs.items() if n in keep})

    def digest(self) -> str:
        """Hash of everything a result depends on: fields, splits, bands, normalisation. For run records."""
        h = hashlib.sha256()
        for name in sorted(self.fields):
            values = self.fields[name]
            values = values.cpu().numpy() if isinstance(values, Tensor) else values
            h.update(f"{name}{values.shape}{values.dtype}".encode())
            if hasattr(values, "digest"):  # known without decoding everything
                h.update(values.digest.encode())
                continue
            for start in range(0, len(values), 1024):
                h.update(np.ascontiguousarray(values[start : start + 1024]))
        for name in sorted(self.splits):
            h.update(name.encode() + np.asarray(self.splits[name], dtype=np.int64).tobytes())
        h.update(repr(sorted(self.inputs.items())).encode())
        return h.hexdigest()[:16]


def band_moments(
    values: np.ndarray, index: np.ndarray, limit: int = 2000
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per band of (N, C, ...) over at most `limit` evenly spaced samples of `index`."""
    chosen = index[np.linspace(0, len(index) - 1, min(limit, len(index))).astype(int)]
    sample = values[np.sort(chosen)].astype(np.float64)
    axes = (0, *range(2, sample.ndim))
    mean, std = sample.mean(axes), sample.std(axes)
    return tuple(float(m) for m in mean), tuple(float(max(s, 1e-6)) for s in std)
