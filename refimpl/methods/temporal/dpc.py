r"""DPC: dense predictive coding, the feature maps of dates to come, with or without a memory.

Tengda Han, Weidi Xie, Andrew Zisserman. "Video Representation Learning by Dense Predictive Coding." ICCV Workshops
2019. arXiv 1909.04656. With a memory: Tengda Han, Weidi Xie, Andrew Zisserman. "Memory-augmented Dense Predictive
Coding for Video Representation Learning." ECCV 2020. arXiv 2008.01065.

**Idea.** A recurrent network reads the feature maps of the dates so far and foresees those that follow, place by place.
It need not paint them, only pick each out among all others: other images, and (harder) other places and other dates of
the same one.

**Objective.** With maps $z_t = f(x_t)$, the context $c_t = g(z_1, \dots, z_t)$ and the prediction
$\hat z_{t+1} = \phi(c_t)$, which $g$ then reads in place of $z_{t+1}$ to go one step further, for all places $i$, dates
ahead $k$ and images of the batch:

$$\mathcal{L} = - \sum_{i,k} \log
\frac{\exp(\hat z_{i,k} \cdot z_{i,k})}{\sum_{j,m} \exp(\hat z_{i,k} \cdot z_{j,m})}$$

as a mean. A guess costs the logarithm of images times places times dates. With a memory of $m_1, \dots, m_K$, learned
vectors shared by everything, a prediction is a mixture of these: $\hat z = \sum_k p_k m_k$ with
$p = \mathrm{softmax}(\phi(c))$. What may come is many things, and so many are kept; the mixture says which are likely.

**Defaults.** $g$ is a gated recurrent unit with kernels of one pixel, $\phi$ has a hidden layer, there is no
temperature and the gradient goes into targets too (the authors' code). The papers predict three blocks of video from
five; here a date is a block and `steps` = 2 dates are predicted from all before. `memory=1024` with `both_ways`, which
also predicts the first dates from the last by a second $g$, is MemDPC (`--preset memory`). All dates are cropped and
turned together.

**Left out, or different.** Three-dimensional convolutions, since a block is one image; dropout in $g$; the curriculum
of more and more steps; colour changed frame by frame, which light and haze do by themselves. The last maps of small
images have a place or four: here it is the `stage` before the last, with the feature of the whole image beside every
place, and `stage=-1` is the papers' last map alone. A linear layer makes `dim` numbers of any sign of them (for which
the papers drop the last ReLU). How many days lie between dates is not told. What is judged is the encoder of one image;
the feature of a series is the mean over its dates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View
from refimpl.engine.distributed import gather, rank
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.maps import features_and_map, map_width
from refimpl.parts.precision import full_precision
from refimpl.parts.series import in_time, mean_over_dates, one_view_of_all


class GRU(nn.Module):
    """A gated recurrent unit, the same at every place: input and state (..., D) -> new state (..., D)."""

    def __init__(self, dim: int):
        super().__init__()
        self.gates, self.new = nn.Linear(2 * dim, 2 * dim), nn.Linear(2 * dim, dim)
        for layer in (self.gates, self.new):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat([x, state], dim=-1))).chunk(2, dim=-1)
        new = torch.tanh(self.new(torch.cat([x, reset * state], dim=-1)))
        return (1 - update) * state + update * new


@full_precision
def dense_nce(predicted: Tensor, every: Tensor, first: int) -> Tensor:
    """The objective above, the mean over images, dates and places.

    Args:
        predicted: (B, P, S, D), for P dates and S places. every: (N, P, S, D), what came, for all of the global batch.
        first: image b of this process is number first + b of them.
    """
    scores = predicted.flatten(0, 2) @ every.flatten(0, 2).T
    right = torch.arange(len(scores), device=scores.device) + first * every[0, :, :, 0].numel()
    return F.cross_entropy(scores, right)


class DPC(Method):
    needs = ("series", "dates")
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=64, optimiser="adam", lr=1e-3, weight_decay=1e-5)
    presets = {
        "paper": {  # the authors' command for 3D-ResNet18 of 128 pixels
            "epochs": 300, "batch": 128, "lr": 2e-3, "warmup": 0.0, "steps": 3, "stage": -1, "dim": 256,
        },
        "memory": {  # MemDPC, likewise: 16 clips on each of 4 GPUs
            "backbone": "resnet34", "epochs": 200, "batch": 64, "lr": 4e-3, "warmup": 0.0, "steps": 3, "stage": -1,
            "dim": 256, "memory": 1024, "both_ways": True,
        },
    }  # fmt: skip
    smoke = {"dim": 32, "memory": 32, "both_ways": True, "epochs": 1}
    proof = {
        "samples": 2000, "size": 32, "bands": "B04", "backbone": "resnet10t", "epochs": 20, "batch": 32, "lr": 8e-3,
        "crop": 0.3, "both_ways": True, "stage": -1, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        steps: int = 2,
        memory: int = 0,
        both_ways: bool = False,
        stage: int = -2,
        dim: int = 128,
        crop: float = 0.5,
    ):
        """steps: dates predicted. memory: its vectors, 0 for none. stage: whose map, -1 for the last."""
        super().__init__(inputs, backbone)
        self.steps, self.stage = steps, stage
        self.view = View.geometric(scale=(crop, 1.0))
        place = map_width(self.encoder, stage) + (self.encoder.width if stage < -1 else 0)
        self.narrow = nn.Linear(place, dim)
        self.aggregate = nn.ModuleList(GRU(dim) for _ in range(1 + both_ways))  # g, forwards and backwards in time
        self.foresee = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, memory or dim))  # phi
        self.memory = nn.Parameter(torch.randn(memory, dim)) if memory else None

    def draw(self, data, index, draws):
        batch = super().draw(data, index, draws)
        if (dates := batch["series"].shape[1]) <= self.steps:
            raise DataError(f"{data.name}: series of {dates} dates; to predict {self.steps} takes {self.steps + 1}")
        return batch

    def prepare(self, batch, draws):
        return {"x": one_view_of_all(in_time(batch["series"], batch["dates"]), self.view, self.encoder, draws)}

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C, H, W) -> features of the images (B T, width) and maps z (B, T, S, D)."""
        h, places = features_and_map(self.encoder, x.flatten(0, 1), self.stage)
        if self.stage < -1:
            places = torch.cat([places, h[:, None].expand(-1, places.shape[1], -1)], dim=2)
        return h, self.narrow(places).unflatten(0, x.shape[:2])

    def predict(self, seen: Tensor, aggregate: GRU) -> Tensor:
        """Maps (B, T, S, D) of the dates so far -> those of the next (B, steps, S, D)."""
        state, ahead = torch.zeros_like(seen[:, 0]), []
        for z in seen.unbind(1):
            state = aggregate(F.relu(z), state)
        for _ in range(self.steps):
            z = self.foresee(state)
            if self.memory is not None:
                z = F.softmax(z, dim=-1) @ self.memory
            ahead.append(z)
            state = aggregate(F.relu(z), state)
        return torch.stack(ahead, dim=1)

    def forward(self, batch, turn="all"):
        h, z = self.maps(batch["x"])
        losses = []
        for aggregate, way in zip(self.aggregate, (z, z.flip(1)), strict=False):
            seen, come = way[:, : -self.steps], way[:, -self.steps :]
            losses.append(dense_nce(self.predict(seen, aggregate), gather(come), rank() * len(z)))
        return Output(torch.stack(losses).sum(), embedding=h)

    def embed(self, stored):
        return mean_over_dates(self.encoder, stored)
