"""Other image sizes for data that are already in memory (files are resized while they are decoded)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from refimpl.data.dataset import Data, DataError

_SMOOTH = ("image", "second", "before", "after", "series", "video")
_EXACT = ("change", "landcover", "depth")  # codes and distances, which must not be mixed


def with_size(data: Data, size: int | None) -> Data:
    """The same data with images of size x size pixels: smoothed images, nearest codes. Pixels and windows stay."""
    fields, inputs = dict(data.fields), dict(data.inputs)
    for name in (*_SMOOTH, *_EXACT):
        values = fields.get(name)
        if size is None or values is None or values.shape[-1] in (1, size):
            continue
        if values.shape[-1] != values.shape[-2]:
            raise DataError(f"{data.name}: {name} is not square {tuple(values.shape[-2:])}; leave --size out")
        fields[name] = _resized(np.asarray(values), size, smooth=name in _SMOOTH)
        if name in inputs:
            inputs[name] = replace(inputs[name], size=size)
    return replace(data, fields=fields, inputs=inputs)


def _resized(values: np.ndarray, size: int, *, smooth: bool) -> np.ndarray:
    """(..., H, W) -> (..., size, size) of the same type, a piece at a time."""
    out = np.empty((*values.shape[:-2], size, size), values.dtype)
    how = {"mode": "bilinear", "antialias": True} if smooth else {"mode": "nearest-exact"}
    for start in range(0, len(values), 256):
        piece = values[start : start + 256]
        planes = torch.from_numpy(piece.astype(np.float32)).reshape(-1, 1, *piece.shape[-2:])
        result = interpolate(planes, (size, size), **how).numpy().reshape(*piece.shape[:-2], size, size)
        out[start : start + 256] = result if values.dtype.kind == "f" else np.rint(result)
    return out
