"""The untrained twin: the same architecture with new random weights, against which training must pay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from refimpl.data.dataset import Data
from refimpl.engine.draws import mix_seeds
from refimpl.engine.method import Method

_STREAM = 0x7E57  # keeps the twin's seed apart from the run's own
SEEN = 1024  # training samples that settle batch normalisation


def untrained(fresh: Callable[[], Method], seed: int, device: torch.device, data: Data) -> Method:
    """`fresh()` under a seed of its own, moved to `device`; the program's own random numbers are left untouched.

    Its batch normalisation has seen the training split, as a trained network's has. With the statistics that layers
    are born with (mean 0, variance 1) a deep random network is out of scale, and merely running it in training mode,
    without any learning, would look like progress: on small images it gained 4 points of accuracy.

    Args:
        fresh: makes a new, untrained method of the architecture that is judged.
        data: what it is judged on; only the training split, without labels, is looked at.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seeds(seed, _STREAM))
        twin = fresh().to(device).eval()
    settle(twin, data, device)
    return twin


@torch.no_grad()
def settle(method: Method, data: Data, device: torch.device, batch: int = 128) -> None:
    """Sets the running statistics of all batch normalisation to the means over some training samples, in place."""
    layers = [layer for layer in method.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    train = np.random.default_rng(0).permutation(np.asarray(data.splits["train"], dtype=np.int64))[:SEEN]
    usual = [(layer, layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches, each counting the same
        layer.train()
    for rows in torch.from_numpy(train).split(batch):
        if len(rows) > 1:
            method.embed(data.take(method.needs[0], rows).to(device))
    for layer, momentum in usual:
        layer.momentum = momentum
        layer.eval()
