"""What tests run in two processes and, for comparison, in one: functions of plain values that return named tensors."""

from __future__ import annotations

import contextlib
import time

import smoke
import torch
from torch import Tensor, nn

from refimpl.backbones import Encoder
from refimpl.engine import distributed, loop
from refimpl.engine import step as step_module
from refimpl.engine.method import Method


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
                    found.setdefault(f"gradient/{parameter}", value.grad.detach().clone())

        optimiser.register_step_pre_hook(remember)
        return optimiser

    step_module.build_optimiser = watched
    try:
        yield
    finally:
        step_module.build_optimiser = build_optimiser


def train(name: str, steps: int = 2) -> dict[str, Tensor]:
    """Trains a method for a few steps. Returns losses, the first step's gradients, and the state afterwards.

    Plain gradient descent: Adam divides a gradient by its own size, which turns rounding noise in a gradient that ought
    to be zero into a full step.
    """
    data = smoke.smoke_data(name)
    method = smoke.still(smoke.build(name, data))
    recipe = smoke.recipe(name, optimiser="sgd", lr=0.05, betas=(0.0, 0.0), weight_decay=0.0, warmup=0.0)
    found: dict[str, Tensor] = {}
    with in_float64(method), remembered_gradients(found):
        trained = loop.train(method, data, recipe, precision="fp32", max_steps=steps, quiet=True)
    found["losses"] = torch.tensor([loss for _, loss in trained.curve], dtype=torch.float64)
    return {**found, **{f"state/{key}": value for key, value in method.state_dict().items()}}


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


def odd_batch() -> dict[str, Tensor]:
    """A batch that two processes cannot share evenly must be refused."""
    name = "simclr"
    try:
        loop.train(smoke.build(name), smoke.smoke_data(name), smoke.recipe(name, batch=15), quiet=True)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return {"message": torch.tensor(list(text.encode()), dtype=torch.uint8)}
    return {"message": torch.empty(0, dtype=torch.uint8)}


def fail(rank: int) -> dict[str, Tensor]:
    """One process fails while the other waits for it."""
    if distributed.rank() == rank:
        raise RuntimeError("as asked")
    distributed.mean_over_processes(torch.ones(1))
    return {}


def sleep(seconds: float) -> dict[str, Tensor]:
    time.sleep(seconds)
    return {}
