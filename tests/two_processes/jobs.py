"""What tests run in two processes and, for comparison, in one: functions of plain values that return named tensors."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import lines
import smoke
import torch
import tutor
from torch import Tensor, nn

from refimpl.backbones import Encoder
from refimpl.data import shards
from refimpl.engine import distributed, loop, sharding
from refimpl.engine import step as step_module
from refimpl.engine.method import Method
from refimpl.studies.build import build_method


@contextlib.contextmanager
def in_float64(method: Method):
    """Computes the method in float64: what then differs between one process and two is not rounding."""
    prepare = method.prepare
    encoders = [module for module in method.modules() if isinstance(module, Encoder)]

    def widened(batch, draws):
        # Views are made in float32, whatever the weights' type.
        for encoder in encoders:
            encoder.mean, encoder.std = encoder.mean.float(), encoder.std.float()
        made = prepare(batch, draws)
        for encoder in encoders:
            encoder.mean, encoder.std = encoder.mean.double(), encoder.std.double()
        return {name: value.double() if value.is_floating_point() else value for name, value in made.items()}

    method.double().prepare = widened
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        method.prepare = prepare


@contextlib.contextmanager
def remembered_gradients(found: dict[str, Tensor]):
    """Puts the gradients that each turn's first optimiser step sees into `found`."""
    build_optimiser = step_module.build_optimiser

    def watched(named, recipe):
        named = list(named)
        optimiser = build_optimiser(named, recipe)

        def remember(*_):
            for parameter, value in named:
                if value.grad is not None:
                    found.setdefault(f"gradient/{parameter}", sharding.whole(value.grad.detach()).clone())

        optimiser.register_step_pre_hook(remember)
        return optimiser

    step_module.build_optimiser = watched
    try:
        yield
    finally:
        step_module.build_optimiser = build_optimiser


def train(name: str, steps: int = 2, shard: bool = False) -> dict[str, Tensor]:
    """Trains a method for a few steps. Returns losses, the first step's gradients, and the state afterwards.

    Also how many bytes of parameters this process held, as "held", and how many there are, as "bytes".

    Plain gradient descent: Adam divides a gradient by its own size, which turns rounding noise in a gradient that ought
    to be zero into a full step.
    """
    data = smoke.smoke_data(name)
    method = smoke.still(smoke.build(name, data))
    recipe = smoke.recipe(name, optimiser="sgd", lr=0.05, betas=(0.0, 0.0), weight_decay=0.0, warmup=0.0)
    found: dict[str, Tensor] = {}
    with in_float64(method), remembered_gradients(found), remembered_bytes(method, found):
        trained = loop.train(method, data, recipe, precision="fp32", max_steps=steps, quiet=True, shard=shard)
    found["losses"] = torch.tensor([loss for _, loss in trained.curve], dtype=torch.float64)
    found["bytes"] = torch.tensor(sharding.held_bytes(method, ())[0])
    return {**found, **{f"state/{key}": value for key, value in method.state_dict().items()}}


def train_tutor(batch: int = 8, accumulate: int = 1, shard: bool = False) -> dict[str, Tensor]:
    """Trains `tutor.Tutor`, which touches its weights wherever a method may; returns losses and the state."""
    data = lines.line_data()
    torch.manual_seed(0)
    method = tutor.Tutor(data.inputs)
    changes = {"optimiser": "adamw", "lr": 0.3, "betas": (0.9, 0.99), "clip": 0.1}
    recipe = lines.RECIPE.but(batch=batch, accumulate=accumulate, **changes)
    with in_float64(method):
        trained = lines.train(method, data, recipe, shard=shard)
    assert type(method) is tutor.Tutor and not method._forward_hooks
    losses = torch.tensor([loss for _, loss in trained.curve], dtype=torch.float64)
    return {"losses": losses, **method.state_dict()}


def train_on_shards(folder: str, cache: str) -> dict[str, Tensor]:
    """Trains SimCLR on the shards of a folder, two of which are shuffled into one another; losses and the state."""
    os.environ["REFIMPL_CACHE"] = cache
    shards.WINDOW = 2 * max(path.stat().st_size for path in Path(folder).iterdir())
    data = shards.open_shards(folder)
    method = smoke.still(build_method("simclr", data.inputs, backbone="test_resnet", seed=0, dim=16))
    changes = {"optimiser": "sgd", "lr": 0.05, "betas": (0.0, 0.0), "weight_decay": 0.0, "warmup": 0.0}
    recipe = method.recipe.but(batch=8, epochs=2, **changes)
    with in_float64(method):
        trained = loop.train(method, data, recipe, precision="fp32", quiet=True)
    return {"losses": torch.tensor([loss for _, loss in trained.curve], dtype=torch.float64), **method.state_dict()}


class Cut(Exception):
    """Ends a piece of a run."""


def piece(name: str, folder: str, after: int, shard: bool = False) -> dict[str, Tensor]:
    """Begins or resumes a run of a registered method, or of "line", in `folder`; dies when it has saved step `after`.

    Returns the state at the end, nothing where it died.
    """
    if name == "line":
        data = lines.line_data()
        method, recipe = lines.line(data, noise=0.5), lines.RECIPE.but(optimiser="adamw", lr=0.5, betas=(0.9, 0.99))
    else:
        data = smoke.smoke_data(name)
        method = smoke.still(smoke.build(name, data))
        # With momentum, but not with Adam, which makes a full step of rounding noise.
        recipe = smoke.recipe(name, optimiser="sgd", lr=0.05, betas=(0.9, 0.0), warmup=0.0)
    follow = method.after_step

    def dying(progress):
        follow(progress)
        if progress.step == after + 1:
            raise Cut

    method.after_step = dying
    options = {"precision": "fp32", "quiet": True, "save_every": 1, "folder": Path(folder), "shard": shard}
    with in_float64(method), contextlib.suppress(Cut):
        loop.train(method, data, recipe, **options)
        return method.state_dict()
    return {}


@contextlib.contextmanager
def remembered_bytes(method: Method, found: dict[str, Tensor]):
    """Puts the bytes of parameters that this process holds between steps into `found`."""
    follow = method.after_step

    def noting(progress):
        follow(progress)
        found["held"] = torch.tensor(sharding.held_bytes(method, ())[0])

    method.after_step = noting
    yield
    method.after_step = follow


def gather_gradient() -> dict[str, Tensor]:
    """Each process holds two of the global rows and computes, on all of them, a loss that mixes every pair of rows.

    The engine averages gradients over processes, so the shares are returned as the average will use them.
    """
    world, rank = distributed.world_size(), distributed.rank()
    rows = torch.linspace(-1, 1, 4 * 3, dtype=torch.float64).reshape(4, 3).square()
    local = rows.chunk(world)[rank].clone().requires_grad_(True)
    everything = distributed.gather(local)
    loss = (everything @ everything.T).softmax(1).diagonal().log().sum()
    loss.backward()
    return {"loss": loss, "everything": everything, "gradient": local.grad / world}


def batch_norm() -> dict[str, Tensor]:
    """Two training steps' worth of batch normalisation, 1-D and 2-D, over this process's share of a global batch."""
    world, rank = distributed.world_size(), distributed.rank()
    found = {}
    for shape in ((8, 5), (8, 5, 3, 3)):
        torch.manual_seed(0)
        kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
        net = nn.Sequential(kind(shape[1], dtype=torch.float64))
        with torch.no_grad():
            net[0].weight.uniform_(0.5, 2)
            net[0].bias.uniform_(-1, 1)
        if world > 1:
            distributed.globalise_batch_norm(net)
        for step in range(2):
            x = torch.randn(shape, dtype=torch.float64) * 3 + step
            target = torch.randn(shape, dtype=torch.float64)
            share = x.chunk(world)[rank].clone().requires_grad_(True)
            y = net(share)
            net.zero_grad()
            (y - target.chunk(world)[rank]).pow(3).sum().backward()
        at = f"{len(shape)}d"
        found |= {f"{at}/y": distributed.gather(y), f"{at}/dx": distributed.gather(share.grad)}
        for parameter, value in net[0].named_parameters():
            # Summed, not averaged: the loss here is a sum over samples.
            found[f"{at}/d{parameter}"] = distributed.mean_over_processes(value.grad) * world
        found |= {f"{at}/{buffer}": value for buffer, value in net[0].named_buffers()}
        found[f"{at}/evaluated"] = net.eval()(torch.ones(shape, dtype=torch.float64))
    return found


def message_of(function, *arguments, **options) -> dict[str, Tensor]:
    """The type and text of the error that a call raises, as bytes; none where it raises none."""
    try:
        function(*arguments, **options)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return {"message": torch.tensor(list(text.encode()), dtype=torch.uint8)}
    return {"message": torch.empty(0, dtype=torch.uint8)}


def odd_batch() -> dict[str, Tensor]:
    """A batch that two processes cannot share evenly must be refused."""
    name = "simclr"
    recipe = smoke.recipe(name, batch=15)
    return message_of(loop.train, smoke.build(name), smoke.smoke_data(name), recipe, quiet=True)


def refused(what: str) -> dict[str, Tensor]:
    """A parameter without axes ("scalar"), or weights mixed with other tensors after a step ("mixed")."""
    data = lines.line_data()
    method = lines.line(data)
    if what == "scalar":
        method.scale = nn.Parameter(torch.ones(()))
    else:
        method.after_step = lambda progress: method.line.weight.data.add_(torch.ones(1, lines.BANDS))
    return message_of(lines.train, method, data, shard=True)


def piece_elsewhere(folder: str) -> dict[str, Tensor]:
    """Only the main process finds the checkpoint that is in `folder`/0."""
    return message_of(piece, "line", f"{folder}/{distributed.rank()}", 4)


def fail(rank: int) -> dict[str, Tensor]:
    """One process fails while the other waits for it."""
    if distributed.rank() == rank:
        raise RuntimeError("as asked")
    distributed.mean_over_processes(torch.ones(1))
    return {}


def sleep(seconds: float) -> dict[str, Tensor]:
    time.sleep(seconds)
    return {}
