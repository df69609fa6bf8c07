"""What a method may use between epochs, when it clusters or labels the whole training split."""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.data.dataset import Data
from refimpl.engine import distributed
from refimpl.engine.draws import epoch_generator
from refimpl.engine.feed import home_of
from refimpl.engine.method import EpochTools, Method


def epoch_tools(
    method: Method, data: Data, optimisers: dict, seed: int, epoch: int, device: torch.device, autocast
) -> EpochTools:
    """The tools of one `before_epoch`; optimisers: by turn."""

    def forget(parameters) -> None:
        for parameter in parameters:
            for optimiser in optimisers.values():
                optimiser.state.pop(parameter, None)

    return EpochTools(
        features=lambda: training_features(method, data, device, autocast),
        forget=forget,
        generator=epoch_generator(seed, epoch, 1),
    )


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
        stored = data.take(method.needs[0], chunk.to(home_of(data))).to(device)
        with autocast:
            parts.append(method.embed(stored).float())
    method.train(was_training)
    return distributed.gather(torch.cat(parts))[: len(index)]
