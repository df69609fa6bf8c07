r"""TCN: time-contrastive networks, what is near in time against what is not.

Pierre Sermanet, Corey Lynch, Yevgen Chebotar, Jasmine Hsu, Eric Jang, Stefan Schaal, Sergey Levine. "Time-Contrastive
Networks: Self-Supervised Learning from Video." ICRA 2018. arXiv 1704.06888.

**Idea.** Two pictures of one moment should have like features, and another moment of the *same* scene unlike ones.
Everything that stays (the background, the place) is in both and tells nothing; the features have to say what goes on.

**Objective.** With anchor $a$, positive $p$ and negative $n$ from one sequence and features of unit length, the paper
wants $\lVert f_a - f_p \rVert^2 + \alpha < \lVert f_a - f_n \rVert^2$ (section III-A), trained as

$$\mathcal{L} = \left[ \lVert f_a - f_p \rVert_2^2 - \lVert f_a - f_n \rVert_2^2 + \alpha \right]_+$$

averaged over all pairs $(a, p)$. Each takes its semi-hard negative: the nearest of those that are farther than $p$, or
the farthest of all where none is. Features that ignore the image cost $\alpha$. `n_pairs` trains the other loss of the
paper instead, $-\log\left(e^{f_a \cdot f_p} / (e^{f_a \cdot f_p} + \sum_n e^{f_a \cdot f_n})\right)$ with features of
any length, whose squares are held down by `penalty`.

**What a moment is here.** *Single view*: positives are dates within a `window` of days, negatives dates more than
`apart` times that away (the authors' code: 6 frames, and twice as many). The window follows from the data: 1.25 times
the usual step of a series, so that neighbouring dates are positives. *Multi-view* (`views=2 window=0`): the cameras of
the paper are random views of one image. A second sensor would be the better camera, but series of two
sensors, taken on the same days, are not among the fields of the data sets here.

**Defaults.** $\alpha = 0.2$, 32 numbers, triplets (the authors' code; its pouring experiment trains n-pairs on two
views: `--preset paper`). Negatives are of the same place; with `others`, an option of that code, dates of all other
places of the batch are negatives too, and the features then tell places apart as well.

**Left out, or different.** ImageNet weights, the added convolutions and the spatial softmax, which reads off where
objects are; robots. A pair without any negative is left out. Colour is changed only where there are several views:
dates differ in light and haze by themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision


def relations(place: Tensor, time: Tensor, window: float, apart: float, others: bool) -> tuple[Tensor, Tensor]:
    """Which of M pictures are positives and which are negatives of which; two (M, M) bool.

    place: (M,) numbers. time: (M,) days. others: whether pictures of other places are negatives.
    """
    same, gap = place[:, None] == place, (time[:, None] - time).abs()
    itself = torch.eye(len(place), dtype=torch.bool, device=place.device)
    alike, unlike = same & (gap <= window) & ~itself, same & (gap > apart * window)
    return alike, unlike | ~same if others else unlike


@full_precision
def triplet_loss(z: Tensor, alike: Tensor, unlike: Tensor, margin: float = 0.2) -> Tensor:
    """The objective above with semi-hard negatives, the mean over pairs.

    z: (M, D), rows need not be normalised. alike, unlike: (M, M), of `relations`. margin: alpha.
    """
    z = F.normalize(z, dim=1)
    distance = 2 - 2 * z @ z.T  # squared, of unit vectors
    a, p = (alike & unlike.any(1, keepdim=True)).nonzero(as_tuple=True)
    d_p, d_n, negative = distance[a, p], distance[a], unlike[a]  # (P,), (P, M), (P, M)
    farther = negative & (d_n > d_p[:, None])
    nearest = d_n.masked_fill(~farther, float("inf")).amin(1)
    farthest = d_n.masked_fill(~negative, float("-inf")).amax(1)
    semi_hard = torch.where(farther.any(1), nearest, farthest)
    return F.relu(d_p - semi_hard + margin).sum() / max(1, len(a))


@full_precision
def n_pairs_loss(z: Tensor, alike: Tensor, unlike: Tensor, penalty: float = 0.001) -> Tensor:
    """The softmax loss above, the mean over pairs, and `penalty` times the mean square length; as `triplet_loss`."""
    s = z @ z.T
    a, p = (alike & unlike.any(1, keepdim=True)).nonzero(as_tuple=True)
    logits = torch.cat([s[a, p, None], s[a].masked_fill(~unlike[a], float("-inf"))], dim=1)
    right = torch.zeros(len(a), dtype=torch.int64, device=z.device)
    loss = F.cross_entropy(logits, right, reduction="sum") / max(1, len(a))
    return loss + penalty * z.square().sum(1).mean()


class TimeContrastive(Method):
    needs = ("series", "dates")
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=64, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' settings for the pouring experiment: two views, n-pairs
            "backbone": "inception_v3", "batch": 32, "optimiser": "adam", "lr": 8e-4, "warmup": 0.0,
            "weight_decay": 1e-6, "views": 2, "window": 0.0, "n_pairs": True,
        },
    }  # fmt: skip
    smoke = {"dim": 8, "frames": 4, "epochs": 1}
    proof = {
        "samples": 2000, "size": 32, "bands": "B04", "backbone": "resnet10t", "epochs": 10, "batch": 32, "lr": 8e-3,
        "others": True, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        window: float = 75.0,
        apart: float = 2.0,
        views: int = 1,
        frames: int = 0,
        others: bool = False,
        n_pairs: bool = False,
        alpha: float = 0.2,
        penalty: float = 0.001,
        dim: int = 32,
        crop: float = 0.5,
    ):
        """window: days. apart: in windows. frames: dates drawn of each series, 0 for all. views: of each date."""
        super().__init__(inputs, backbone)
        self.window, self.apart, self.views, self.frames, self.others = window, apart, views, frames, others
        self.loss, self.scale = (n_pairs_loss, penalty) if n_pairs else (triplet_loss, alpha)
        # Views of one image share its light and haze, by which they would be known.
        self.view = View(scale=(crop, 1.0), colour=0.8 if views > 1 else 0.0, grey=0.0, blur=0.0)
        self.head = nn.Linear(self.encoder.width, dim)

    @classmethod
    def settings_for(cls, data):
        steps = data.take("dates", torch.as_tensor(data.splits["train"][:1000])).double().sort(1).values.diff(dim=1)
        return {"window": 1.25 * float(steps.median())}

    def draw(self, data, index, draws):
        batch = super().draw(data, index, draws)
        if batch["series"].shape[1] < 3:
            raise DataError(f"{data.name}: series of {batch['series'].shape[1]} dates; time contrast needs three")
        return batch

    def prepare(self, batch, draws):
        series, dates = batch["series"], batch["dates"]
        chosen = draws.permutation(series.shape[1])[:, : self.frames or None]
        series = series[torch.arange(len(series), device=series.device)[:, None], chosen]  # (B, T, C, H, W)
        views = random_views(series.flatten(0, 1), [self.view] * self.views, self.encoder, draws.each(chosen.shape[1]))
        x = torch.cat([view.unflatten(0, chosen.shape) for view in views], dim=1)
        return {"x": x, "time": dates.gather(1, chosen).long().repeat(1, self.views)}

    def forward(self, batch, turn="all"):
        x, time = batch["x"], gather(batch["time"])
        h = self.encoder(x.flatten(0, 1))
        place = torch.arange(len(time), device=time.device)[:, None].expand_as(time)
        alike, unlike = relations(place.flatten(), time.flatten(), self.window, self.apart, self.others)
        return Output(self.loss(gather(self.head(h)), alike, unlike, self.scale), embedding=h)

    def embed(self, stored):
        """(B, T, C, H, W) stored series -> (B, width), the mean over dates."""
        frames = self.encoder(self.encoder.normalise(stored.flatten(0, 1)))
        return frames.unflatten(0, stored.shape[:2]).mean(1)
