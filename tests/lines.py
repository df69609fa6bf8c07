"""A method small enough to follow by hand, and its data: what the engine's own tests train."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from refimpl.data.dataset import Data, Input
from refimpl.engine import loop
from refimpl.engine.method import Method, Output, Recipe

SAMPLES, BANDS = 22, 4
RECIPE = Recipe(epochs=3, batch=4, optimiser="sgd", lr=0.1, betas=(0.0, 0.0), warmup=0.0, weight_decay=0.0)
PER_EPOCH = 20 // 4


def line_data() -> Data:
    rng = np.random.default_rng(0)
    spectrum = rng.integers(0, 1000, (SAMPLES, BANDS)).astype(np.uint16)
    field = Input(tuple("abcd"), 1, (500.0,) * BANDS, (300.0,) * BANDS)
    return Data(
        "lines", {"spectrum": spectrum}, {"spectrum": field}, {"train": np.arange(20), "test": np.arange(20, 22)}
    )


class Line(Method):
    """Learns to sum a spectrum; writes down what the engine asks of it."""

    needs = ("spectrum",)
    backbone = "spectral_mlp"

    def __init__(self, inputs, backbone=None, *, noise: float = 0.0):
        super().__init__(inputs, backbone)
        self.line, self.noise = nn.Linear(BANDS, 1), noise
        self.seen, self.calls = [], []
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def parameters_of(self, turn):
        return [("line.weight", self.line.weight), ("line.bias", self.line.bias)]

    def before_epoch(self, epoch, data, tools):
        self.calls.append(("epoch", epoch))

    def draw(self, data, index, draws):
        self.seen.append(index.tolist())
        return super().draw(data, index, draws)

    def prepare(self, batch, draws):
        x = self.encoder.normalise(batch["spectrum"])
        return {"x": x + self.noise * draws.normal(BANDS)}

    def forward(self, batch, turn="all"):
        x = batch["x"]
        return Output((self.line(x)[:, 0] - x.sum(1)).square().mean(), embedding=x)

    def after_step(self, progress):
        self.count += 1
        self.calls.append(("step", progress.step, progress.epoch))


def line(data, seed: int = 0, **hyper) -> Line:
    torch.manual_seed(seed)
    return Line(data.inputs, **hyper)


def train(method, data, recipe=RECIPE, **options):
    return loop.train(method, data, recipe, precision="fp32", quiet=True, **options)
