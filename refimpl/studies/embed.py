"""Features of images, in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refimpl.backbones import Encoder
from refimpl.engine.method import Method
from refimpl.studies.saved import load_method


@torch.inference_mode()
def embed(source: str | Path | Method | Encoder, images: np.ndarray | Tensor, *, batch: int = 256) -> Tensor:
    """Features (N, width), float32 on the CPU, of images as they are stored.

    Args:
        source: a run folder, a method or an encoder. Its own normalisation is applied; give stored numbers.
        images: (N, C, H, W), with the bands and size that the source was made for.
    Raises:
        ValueError: another number of bands than the source reads.
        refimpl.engine.checkpoint.CheckpointError: no trained run in the folder.
    """
    if isinstance(source, str | Path):
        source = load_method(source)
    encoder = source.encoder if isinstance(source, Method) else source
    images = torch.as_tensor(images)
    bands = encoder.input.bands
    if images.dim() < 2 or images.shape[1] != len(bands):
        raise ValueError(f"images of shape {tuple(images.shape)} do not have the {len(bands)} bands {', '.join(bands)}")
    run = source.embed if isinstance(source, Method) else (lambda x: encoder(encoder.normalise(x)))
    device = next(encoder.parameters()).device
    was_training = source.training
    source.eval()
    try:
        return torch.cat([run(part.to(device)).float().cpu() for part in images.split(batch)])
    finally:
        source.train(was_training)
