r"""Arrow of time: does a series run forwards or backwards?

Donglai Wei, Joseph Lim, Andrew Zisserman, William T. Freeman. "Learning and Using the Arrow of Time." CVPR 2018.
DOI 10.1109/CVPR.2018.00840.

**Idea.** Play a video forwards or backwards and ask which it was. To tell, a network has to know what can happen in one
direction only. In a series of satellite images that is the course of the year: fields turn green slowly and are bare
within a day, leaves come otherwise than they go; and for good, what is built, felled or burnt.

**Objective.** Each date is seen alone by the same encoder. At each place $i$ of the maps $f(x_1), \dots, f(x_T)$ a
small network $g$ reads those of all dates, in the order in which they are shown, and its mean over places is the logit

$$s(x_1, \dots, x_T) = \frac{1}{S} \sum_i g\left(f_i(x_1), \dots, f_i(x_T)\right), \qquad
\mathcal{L} = -\tfrac{1}{2} \left[\log \sigma(s(x_1, \dots, x_T)) + \log(1 - \sigma(s(x_T, \dots, x_1)))\right]$$

of "forwards". A guess costs $\ln 2$. The terms of the sum are a map of where the direction is seen, the class
activation map after which the authors call the network T-CAM; `direction_map` gives it.

**Defaults.** The same network for each date, fused late on the maps by two layers with batch normalisation (the
authors' code; 1,024 wide there). All dates of a series are used, up to six. Every series is shown both ways in each
step: the features of its dates are the same.

**Left out, or different.** The paper reads optical flow, ten frames at a time, so that colour gives nothing away; here
nothing moves, and colour is what changes. Its fusing convolutions are three pixels wide and drop half of their units.
It removes black borders and the camera's motion, by which a network could cheat; here the calendar is such a cue: where
all series begin in January, to know the first month is enough. `frames` below the length of a series draws so many of
its dates at random, in order. What is judged is the encoder of one image; the feature of a series is the mean over its
dates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.maps import map_width
from refimpl.parts.precision import full_precision
from refimpl.parts.series import in_time, mean_over_dates, one_view_of_all


@full_precision
def direction_loss(forwards: Tensor, backwards: Tensor) -> Tensor:
    """The objective above, the mean over series; (B,) logits of "forwards" for the series and for its reverse."""
    return (F.softplus(-forwards) + F.softplus(backwards)).mean() / 2


class ArrowOfTime(Method):
    needs = ("series", "dates")
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=64, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' code and its example; its rate, 1e-2 for one epoch and then 1e-3, is not set here
            "backbone": "vgg16_bn", "batch": 96, "optimiser": "sgd", "weight_decay": 5e-4, "hidden": 1024,
        },
    }  # fmt: skip
    smoke = {"hidden": 16, "frames": 4, "epochs": 1}
    proof = {
        "samples": 2000, "size": 32, "bands": "B04", "backbone": "resnet10t", "epochs": 12, "batch": 32, "lr": 8e-3,
        "margin": 2.0,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, frames: int = 6, hidden: int = 256, crop: float = 0.5):
        """frames: dates that are shown. hidden: width of the layers that fuse them."""
        super().__init__(inputs, backbone)
        self.frames = frames
        self.view = View.geometric(scale=(crop, 1.0))
        self.fuse = mlp(frames * map_width(self.encoder, -1), hidden, hidden, 1)  # g

    @classmethod
    def settings_for(cls, data):
        return {"frames": min(6, data.fields["dates"].shape[1])}

    def draw(self, data, index, draws):
        batch = super().draw(data, index, draws)
        if (dates := batch["series"].shape[1]) < self.frames:
            raise DataError(f"{data.name}: series of {dates} dates, fewer than {self.frames}; set frames={dates}")
        return batch

    def prepare(self, batch, draws):
        series = in_time(batch["series"], batch["dates"])
        chosen = draws.permutation(series.shape[1])[:, : self.frames].sort(1).values
        frames = series[torch.arange(len(series), device=series.device)[:, None], chosen]
        return {"x": one_view_of_all(frames, self.view, self.encoder, draws)}

    def direction_map(self, maps: Tensor) -> Tensor:
        """(B, T, S, D) maps of dates as they are shown -> (B, S) how much each place looks like "forwards"."""
        joined = maps.transpose(1, 2).flatten(2)  # (B, S, T D)
        return self.fuse(joined.flatten(0, 1)).view(joined.shape[:2])

    def forward(self, batch, turn="all"):
        x = batch["x"]
        last = self.encoder.map(x.flatten(0, 1))  # each date alone
        maps = (last.flatten(2).transpose(1, 2) if last.dim() == 4 else last).unflatten(0, x.shape[:2])
        # Both directions in one pass: batch normalisation must not tell them apart.
        both = self.direction_map(torch.cat([maps, maps.flip(1)])).mean(1)
        forwards, backwards = both.chunk(2)
        right = ((forwards > 0).float().mean() + (backwards < 0).float().mean()) / 2
        return Output(direction_loss(forwards, backwards), {"right": right}, embedding=self.encoder.pool(last))

    def embed(self, stored):
        return mean_over_dates(self.encoder, stored)
