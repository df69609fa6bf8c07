"""This project's way of doing the work, through its public functions only."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import Tensor

from refimpl.backbones import Encoder, build_encoder
from refimpl.data.dataset import Data, Input
from refimpl.data.views import View, random_views
from refimpl.engine.draws import Draws
from refimpl.engine.hardware import wants_bf16
from refimpl.engine.loop import train
from refimpl.engine.method import Method
from refimpl.engine.optim import build_optimiser
from refimpl.studies.build import method_class
from scripts.benchmark import work
from scripts.benchmark.pairs import Turns
from scripts.benchmark.work import Crop, Images, Pipeline


def field(images: Images) -> Input:
    """What an encoder must know of these images."""
    return Input(tuple(f"band{i + 1}" for i in range(images.bands)), images.size, images.mean, images.std)


def view(crop: Crop, operations: tuple[str, ...]) -> View:
    """One view with exactly the named operations on."""

    def on(name: str, value: float) -> float:
        return value if name in operations else 0.0

    return View(
        size=crop.size,
        scale=crop.scale,
        ratio=work.RATIO,
        flip="flip" in operations,
        transpose="turn" in operations,
        colour=on("brightness", work.JITTERED),
        brightness=on("brightness", work.JITTER),
        contrast=on("contrast", work.JITTER),
        saturation=on("saturation", work.JITTER),
        grey=on("grey", work.GREYED),
        blur=on("blur", work.BLURRED),
    )


def pipeline(images: Images, crops: list[Crop], operations: tuple[str, ...], device: torch.device) -> Pipeline:
    """Views of the whole batch at once, each call with new random numbers."""
    views = [view(crop, operations) for crop in crops]
    encoder = Encoder("normalisation only", field(images)).to(device)
    stored = images.channels_first.to(device)
    step = 0

    @torch.no_grad()
    def make(index):
        nonlocal step
        step += 1
        draws = Draws(0, step, torch.arange(len(index), device=device))
        return random_views(stored.index_select(0, index.to(device)), views, encoder, draws)

    return Pipeline(make, operations)


def backbone(name: str, images: Images) -> tuple[torch.nn.Module, int]:
    """A plain timm network for these images and its number of features: what every library trains."""
    encoder = build_encoder(name, field(images))
    return encoder.net, encoder.width


def data_of(images: Images) -> Data:
    """The images as every data set here holds them: a NumPy array, which the engine puts on a GPU if there is one."""
    index = np.arange(len(images))
    return Data("benchmark", {"image": images.channels_first.numpy()}, {"image": field(images)}, {"train": index})


def build(method: str, backbone: str, images: Images, views: list[Tensor] | None = None, turns: Turns | None = None):
    """A method as the engine trains it.

    Args:
        views: if given, they stand in for drawing and preparing, so that what is left is the step.
        turns: told after each step.
    """
    cls = method_class(method)

    class Watched(cls):
        def draw(self, data, index, draws):
            if views is None:
                return super().draw(data, index, draws)
            return {"image": images.channels_first[:1].to(views[0].device)}

        def prepare(self, batch, draws):
            if views is None:
                return super().prepare(batch, draws)
            return batch_of(method, self, views, draws)

        def after_step(self, progress):
            super().after_step(progress)
            if turns is not None:
                # The loop's own surroundings (autocast, random state) are not the others' concern.
                with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                    turns.after_step()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Watched({"image": field(images)}, backbone)


def batch_of(method: str, made: Method, views: list[Tensor], draws: Draws) -> dict[str, Tensor]:
    """What `prepare` would return, with these views. Masks are drawn here, since the peers' steps draw theirs."""
    if method == "mae":
        return {"x": views[0], "order": draws.permutation(made.encoder.net.patch_embed.num_patches)}
    if method == "byol":
        return {"x": torch.cat(views)}
    return dict(zip(("query", "key") if method == "moco" else ("x1", "x2"), views, strict=True))


def train_for(made: Method, images: Images, steps: int, batch: int, precision: str, device: torch.device) -> None:
    """The engine's own training loop, with its defaults, for a number of steps."""
    per_epoch = len(images) // batch
    recipe = made.recipe.but(batch=batch, epochs=-(-steps // per_epoch), optimiser="adamw")
    train(made, data_of(images), recipe, device=device, precision=precision, max_steps=steps, quiet=True)


def bare_step(method: str, backbone: str, images: Images, batch: int, precision: str, device: torch.device):
    """The same work as one step of the engine, written down with nothing round it."""
    made = build(method, backbone, images).to(device).train()
    for parameter in made.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    optimiser = build_optimiser(made.parameters_of("all"), made.recipe.but(optimiser="adamw"))
    data = data_of(images)
    data = data.to(device) if device.type == "cuda" else data
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16(precision, device))
    rows = torch.arange(batch, device=device)
    order = torch.randperm(len(images))[:batch].to(device)
    step = 0

    def work_once():
        nonlocal step
        step += 1
        draws = Draws(1, step, rows)
        with torch.no_grad():
            prepared = made.prepare(made.draw(data, order, draws), draws)
        made.zero_grad(set_to_none=True)
        with autocast:
            loss = made(prepared).loss
        loss.backward()
        optimiser.step()
        return loss.detach()

    return work_once


def precision_name(precision: str, device: torch.device) -> str:
    return "bf16" if wants_bf16(precision, device) else "fp32"


@contextlib.contextmanager
def threads(count: int):
    """torch's threads, put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
