"""Features of a frozen encoder: nothing of it changes while it is judged.

A probe that lets batch-norm statistics follow the test images, or that leaves dropout on, judges another network than
the one that was trained. `frozen` puts every layer in evaluation mode and afterwards restores each layer's own mode.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from refimpl.data.dataset import Data
from refimpl.evaluation.scores import EvaluationError

Progress = Callable[[str, float], None]
"""What a caller may pass to a protocol: progress(what is going on, share of all work that is done)."""


@contextmanager
def frozen(module: nn.Module | None):
    """No gradients, evaluation mode; on leaving, each layer has the mode it had before."""
    modes = [] if module is None else [(layer, layer.training) for layer in module.modules()]
    try:
        if module is not None:
            module.eval()
        with torch.inference_mode():
            yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def home(module: nn.Module | None) -> torch.device:
    """The device where a module's weights are; the CPU when it has none."""
    first = None if module is None else next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def extract(
    embed: Callable[[Tensor], Tensor],
    data: Data,
    field: str,
    index: np.ndarray,
    *,
    batch: int = 512,
    device: torch.device | str | None = None,
    autocast: bool = False,
    advance: Callable[[int], None] | None = None,
    what: str = "features",
) -> Tensor:
    """What `embed` makes of the stored numbers of some samples.

    Args:
        embed: (B, ...) stored numbers -> (B, width). A module, or a method of one (`method.embed`), is frozen.
        index: (n,) sample numbers; row i of the result belongs to index[i].
        batch: samples at a time; the result does not depend on it beyond rounding.
        device: where `embed` wants its input; default: where the module's weights are.
        autocast: compute in bfloat16 (twice as fast where the hardware has it; features keep about 3 digits).
        advance: called after each batch with the number of its samples.
        what: names these features in an error.
    Returns:
        (n, width) float32 on the CPU.
    Raises:
        EvaluationError: no samples, or features that are not one finite vector per sample.
    """
    index = np.asarray(index)
    if len(index) == 0:
        raise EvaluationError(f"{data.name}: no samples to judge; its splits are {_sizes(data)}")
    module = embed if isinstance(embed, nn.Module) else getattr(embed, "__self__", None)
    module = module if isinstance(module, nn.Module) else None
    device = torch.device(device) if device is not None else home(module)
    rows = torch.as_tensor(index, dtype=torch.int64)
    out = None
    with frozen(module), torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            made = embed(data.take(field, chosen).to(device))
            if made.dim() != 2 or len(made) != len(chosen):
                raise EvaluationError(
                    f"{what}: embed gave {tuple(made.shape)} for {len(chosen)} samples; (B, width) is wanted"
                )
            if out is None:
                # Made outside inference mode, so that a probe may later use it in a gradient.
                with torch.inference_mode(False):
                    out = torch.empty(len(rows), made.shape[1])
            out[start : start + len(chosen)] = made
            if advance is not None:
                advance(len(chosen))
    if not torch.isfinite(out).all():
        bad = int((~torch.isfinite(out)).any(1).sum())
        raise EvaluationError(
            f"{what}: NaN or infinity in {bad} of {len(out)} samples; the weights are broken, look at the loss curve"
        )
    return out


def _sizes(data: Data) -> str:
    return ", ".join(f"{name} {len(rows)}" for name, rows in data.splits.items()) or "none"
