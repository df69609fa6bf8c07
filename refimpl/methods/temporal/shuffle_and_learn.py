r"""Shuffle and Learn: unsupervised learning using temporal order verification.

Ishan Misra, C. Lawrence Zitnick, Martial Hebert. "Shuffle and Learn: Unsupervised Learning using Temporal Order
Verification." ECCV 2016. arXiv 1603.08561.

**Idea.** Show three frames and ask whether they lie in the order of time. Only what changes between the frames answers
that: in a video how bodies move, in a series of satellite images how the year goes on.

**Objective.** Of frames at times $a < b < c < d < e$, the tuple $(b, c, d)$ is in order; $(b, a, d)$ and $(b, e, d)$
are not, since their middle frame lies outside of $b$ to $d$. First and last frame are the same in all three, so only
the middle one tells them apart. With the features $f$ of each frame alone and a classifier $g$ of all three, for the
tuple $t$ and whether it is in order, $y \in \{0, 1\}$:

$$\mathcal{L} = -\log p_y, \qquad p = \mathrm{softmax}\, g\left(f(x_{t_1}), f(x_{t_2}), f(x_{t_3})\right)$$

A tuple and its reverse count the same: many things run either way. A guess costs the entropy of the shares of both
classes: 0.562 with a quarter of the tuples in order.

**Defaults.** A quarter of the tuples in order, as the paper ends up with. The paper's $g$ is linear on the joined
features (`hidden=0`), the sum of what each frame says by itself; here it has a hidden layer, which can compare frames
(the paper's $f$ ends in two wide layers of its own, which a ResNet lacks). The frames of a tuple are cropped, flipped
and turned together.

**Left out, or different.** Frames are chosen by optical flow and at least some frames apart in the paper; dates of a
satellite series are weeks apart and all of them are used: four are drawn, three for $b, c, d$ and the first or last as
$a$ or $e$. Series need at least four dates and are put in order by their dates. What is judged and kept is the encoder
of one image; the feature of a series is the mean over its dates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import RANDOM, View, make_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full


def tuples(four: Tensor, early: Tensor, right: Tensor, reverse: Tensor) -> Tensor:
    """(B, 4) places in a series, rising in time -> (B, 3) places of a tuple.

    early: (B,) the frame outside is before b to d, else after. right: (B,) in order, else the outside frame comes
    between. reverse: (B,) last frame first.
    """
    inside = torch.where(early[:, None], four[:, 1:], four[:, :3])
    outside = torch.where(early, four[:, 0], four[:, 3])
    b, c, d = inside.unbind(1)
    forwards = torch.stack([b, torch.where(right, c, outside), d], dim=1)
    return torch.where(reverse[:, None], forwards.flip(1), forwards)


class ShuffleAndLearn(Method):
    needs = ("series", "dates")
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=5e-4)
    presets = {
        "paper": {  # the authors' solver: rate 1e-3 for a batch of 128, 100,000 steps
            "backbone": "resnet50", "batch": 128, "optimiser": "sgd", "lr": 2e-3, "warmup": 0.0, "hidden": 0,
        },
    }  # fmt: skip
    smoke = {"hidden": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 12, "batch": 64, "lr": 4e-3, "margin": 2.0,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, hidden: int = 256, in_order: float = 0.25, crop: float = 0.5):
        """hidden: units of the classifier, 0 for a linear one. in_order: share of the tuples."""
        super().__init__(inputs, backbone)
        self.in_order = in_order
        self.view = View.geometric(scale=(crop, 1.0))
        joined = 3 * self.encoder.width
        self.classifier = mlp(joined, hidden, 2) if hidden else nn.Linear(joined, 2)

    def draw(self, data, index, draws):
        batch = super().draw(data, index, draws)
        if batch["series"].shape[1] < 4:
            raise DataError(f"{data.name}: series of {batch['series'].shape[1]} dates; order verification needs four")
        return batch

    def prepare(self, batch, draws):
        series, order = batch["series"], batch["dates"].argsort(1)
        chosen = draws.permutation(series.shape[1])[:, :4].sort(1).values
        early, right, reverse = draws.coin(0.5), draws.coin(self.in_order), draws.coin(0.5)
        places = order.gather(1, tuples(chosen, early, right, reverse))
        frames = series[torch.arange(len(series), device=series.device)[:, None], places]  # (B, 3, C, H, W)
        # One view of all three, as if their bands were those of one image.
        mean, std = self.encoder.mean.repeat(3), self.encoder.std.repeat(3)
        random = draws.uniform(1, len(RANDOM)).to(mean.dtype)
        (x,) = make_views(frames.flatten(1, 2), (self.view,), mean, std, random)
        return {"frames": x.unflatten(1, (3, -1)), "y": right.long()}

    def forward(self, batch, turn="all"):
        frames, y = batch["frames"], batch["y"]
        h = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # each frame alone
        logits = full(self.classifier(h.flatten(1)))
        verified = (logits.argmax(1) == y).float().mean()
        return Output(F.cross_entropy(logits, y), {"verified": verified}, embedding=h[:, 0])

    def embed(self, stored):
        """(B, T, C, H, W) stored series -> (B, width), the mean over dates."""
        frames = self.encoder(self.encoder.normalise(stored.flatten(0, 1)))
        return frames.unflatten(0, stored.shape[:2]).mean(1)
