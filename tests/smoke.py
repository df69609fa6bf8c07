"""How the shared tests build, feed and step a method: its own smoke settings, on a smaller network and 96 small images.

Everything here runs in the test process and, unchanged, in the two worker processes.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
import toys
from torch import Tensor, nn

from refimpl import backbones, registry
from refimpl.data import synthetic
from refimpl.data.dataset import Data
from refimpl.engine import features
from refimpl.engine.draws import Draws
from refimpl.engine.method import Batch, Method, Recipe
from refimpl.studies.build import build_method, method_class, smoke_recipe

SAMPLES, SIZE, BATCH = 96, 32, 16
EPOCH_STEPS = 3  # a little over half of the samples are for training; half a batch of them is left over

# The smallest networks of each kind that still have its parts: a tenth of the time of those of a smoke run.
backbones.OWN.setdefault(
    "vit_nano",
    lambda name, field: backbones.TimmEncoder(
        name, field, model="vit_tiny_patch16_224", depth=2, embed_dim=48, num_heads=2
    ),
)
SMALLER = {"resnet10t": "test_resnet", "resnet18": "test_resnet", "resnet50": "test_resnet", "vit_micro": "vit_nano"}


@lru_cache(maxsize=8)
def toy_data(bands: int) -> Data:
    return toys.toy(bands)


def smoke_data(name: str) -> Data:
    """The data that the shared tests give to a method: a piece of the synthetic Earth, kept for the whole session."""
    return _synthetic(registry.find(name).needs)


@lru_cache(maxsize=16)
def _synthetic(needs: tuple[str, ...]) -> Data:
    fields = tuple(dict.fromkeys((*needs, "label")))
    data = synthetic.make(synthetic.sensor_for(needs), samples=SAMPLES, size=SIZE, fields=fields)
    train = data.splits["train"][: EPOCH_STEPS * BATCH + BATCH // 2]
    assert len(train) >= EPOCH_STEPS * BATCH, f"{len(train)} training samples are too few for {EPOCH_STEPS} steps"
    return replace(data, splits={**data.splits, "train": train})


def settings(name: str) -> tuple[str, dict, Recipe]:
    """(backbone, hyper-parameters, recipe) of a method's smoke run with a smaller network and batch."""
    backbone, hyper, recipe = smoke_recipe(name)
    backbone = backbone or registry.find(name).backbone
    return SMALLER.get(backbone, backbone), hyper, recipe.but(batch=BATCH, epochs=2, accumulate=1)


def build(name: str, data: Data | None = None, *, seed: int = 0) -> Method:
    """A fresh method in training mode."""
    backbone, hyper, _ = settings(name)
    data = data or smoke_data(name)
    hyper = {**method_class(name).settings_for(data), **hyper}
    return build_method(name, data.inputs, backbone=backbone, seed=seed, **hyper).train()


def recipe(name: str, **changes) -> Recipe:
    return settings(name)[2].but(**changes)


def start_epoch(method: Method, data: Data, epoch: int = 0, seed: int = 0) -> None:
    """What the engine does before an epoch's first step."""
    tools = features.epoch_tools(method, data, {}, seed, epoch, torch.device("cpu"), contextlib.nullcontext())
    method.before_epoch(epoch, data, tools)
    method.train()


def first_samples(data: Data, count: int = BATCH) -> Tensor:
    return torch.as_tensor(np.asarray(data.splits["train"])[:count], dtype=torch.int64)


def prepared(method: Method, data: Data, index: Tensor, rows: Tensor | None = None, *, step: int = 0) -> Batch:
    """The batch that the forward pass sees for the samples `index`; their random numbers are those of `rows`."""
    draws = Draws(0, step, torch.arange(len(index)) if rows is None else rows)
    with torch.no_grad():
        return method.prepare(method.draw(data, index, draws), draws)


def losses(method: Method, batch: Batch) -> dict[str, Tensor]:
    """The loss of every turn on one prepared batch."""
    return {turn: method(batch, turn).loss for turn in method.turns}


def still(method: Method) -> Method:
    """Switches off dropout and stochastic depth, whose numbers are not bound to samples."""
    for module in method.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return method


def freeze_norms(method: Method) -> Method:
    """Batch normalisation uses its running statistics from now on, whatever mode the engine sets."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return method


def with_field_values(data: Data, change) -> Data:
    """The same data with `change(array)` in place of every stored picture or spectrum; places, dates, labels stay."""
    fields = {name: change(values) if name in data.inputs else values for name, values in data.fields.items()}
    return replace(data, fields=fields)
