"""Features of images, in one call: the one through which tables and maps of features are made too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from refimpl.backbones import Encoder
from refimpl.data.dataset import Data
from refimpl.engine.method import Method
from refimpl.evaluation.features import extract
from refimpl.studies.saved import load_method


class StoredEncoder(nn.Module):
    """An encoder with its normalisation inside: (B, C, ...) stored numbers -> (B, width)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, stored: Tensor) -> Tensor:
        return self.encoder(self.encoder.normalise(stored))


def embed(source: str | Path | Method | Encoder, images: np.ndarray | Tensor, *, batch: int = 256) -> Tensor:
    """Features (N, width), float32 on the CPU, of images as they are stored.

    Args:
        source: a run folder, a method or an encoder. Its own normalisation is applied; give stored numbers.
        images: (N, C, H, W), with the bands and size that the source was made for.
        batch: images at a time; the result does not depend on it beyond rounding.
    Raises:
        ValueError: another number of bands than the source reads, no images, or features that are not finite.
        refimpl.engine.checkpoint.CheckpointError: no trained run in the folder.
    """
    if isinstance(source, str | Path):
        source = load_method(source)
    encoder = source.encoder if isinstance(source, Method) else source
    bands = encoder.input.bands
    images = images if isinstance(images, Tensor) else np.asarray(images)
    if images.ndim < 2 or images.shape[1] != len(bands):
        raise ValueError(f"images of shape {tuple(images.shape)} do not have the {len(bands)} bands {', '.join(bands)}")
    run = source.embed if isinstance(source, Method) else StoredEncoder(encoder)
    given = Data("the images", {"image": images}, {}, {})
    device = next(encoder.parameters()).device
    return extract(run, given, "image", np.arange(len(images)), batch=batch, device=device)
