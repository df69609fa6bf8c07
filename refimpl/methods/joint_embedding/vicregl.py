r"""VICRegL: self-supervised learning of local visual features.

Adrien Bardes, Jean Ponce, Yann LeCun. "VICRegL: Self-Supervised Learning of Local Visual Features." NeurIPS 2022.
arXiv 2210.01571.

**Idea.** VICReg once for whole images and once for places of their feature maps. Places of the two views are paired in
two ways: by where they lie in the image, which is known since the crops are ours, and by likeness of their features,
which reaches beyond the overlap. Only the best pairs count.

**Objective.** With VICReg's $\ell$, the expanded maps $z, z'$ and the place $\mathrm{NN}(p)$ of the other map that is
nearest to place $p$, on the ground for $\mathcal{L}_s$ and by distance of the features for $\mathcal{L}_d$
(section 3):

$$\mathcal{L}_{s, d} = \frac{1}{\gamma} \sum_{p \in \text{top-}\gamma} \ell(z_p, z'_{\mathrm{NN}(p)}), \qquad
\mathcal{L} = \alpha \, \ell(\text{images}) + (1 - \alpha) (\mathcal{L}_s + \mathcal{L}_d)$$

both local terms being the mean of either view's places seeking the other's. Variance and covariance in $\ell$ are taken
over the batch, for each of the $\gamma$ pairs by itself. As in the authors' code, invariance is a mean over units, and
variance and covariance are means over both branches.

**Defaults.** $\alpha = 0.75$, weights 25, 25, 1, $\gamma = 20$ of 49 places, so two fifths of them here (the authors'
code); expanders of three layers, 8192 wide for images and 512 for places there, 512 and 128 here. The map is that
after the `stage` before the last, since of small images the last has a place or four (the paper: the last).

**Two readings.** The paper keeps the best $\gamma$ pairs of either kind; the authors' code by default keeps *all* pairs
by likeness. `every_alike=true` trains the latter.

**Left out, or different.** The six small views that the paper adds for ConvNeXt; LARS (in the preset); hue and
solarisation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import RANDOM, View, make_views, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.maps import features_and_map, map_width
from refimpl.parts.precision import full, full_precision


@full_precision
def vicreg(z1: Tensor, z2: Tensor, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> Tensor:
    """VICReg of M matched pairs of each image, statistics over the batch and pair by pair; their mean, a scalar.

    z1, z2: (N, M, D); M is 1 for whole images. weights: of invariance, variance and covariance.
    """
    invariance, n = (z1 - z2).square().mean(), len(z1)
    variance = covariance = 0.0
    for z in (z1, z2):
        centred = (z - z.mean(0)).transpose(0, 1)  # (M, N, D)
        c = centred.transpose(1, 2) @ centred / (n - 1)
        own = c.diagonal(dim1=1, dim2=2)
        variance = variance + F.relu(1 - (own + 1e-4).sqrt()).mean() / 2
        covariance = covariance + (c.square().sum((1, 2)) - own.square().sum(1)).mean() / z.shape[2] / 2
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


@torch.no_grad()
def matches(distance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` places of the first map that are nearest to any of the second, and which these are: both (B, count).

    distance: (B, S, S) from places of the first map to places of the second.
    """
    nearest, other = distance.min(2)
    own = nearest.topk(count, dim=1, largest=False).indices.sort(1).values
    return own, other.gather(1, own)


def at(places: Tensor, index: Tensor) -> Tensor:
    """(B, S, D) and (B, M) place numbers -> (B, M, D)."""
    return places.gather(1, index[:, :, None].expand(-1, -1, places.shape[2]))


def where(views: list[View], height: int, width: int, random: Tensor) -> list[Tensor]:
    """Row and column in the image, (B, 2, size, size), that each pixel of the views comes from.

    The views of an image that holds its own coordinates: so crops, flips and turns need not be undone by hand.
    random: (B, views, 14) the numbers that made the views.
    """
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).to(random)
    plain = [replace(view, colour=0.0, grey=0.0, blur=0.0) for view in views]
    return make_views(grid.expand(len(random), -1, -1, -1), plain, random.new_zeros(2), random.new_ones(2), random)


class VICRegL(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # ResNet-50 of the authors' code
            "backbone": "resnet50", "epochs": 300, "batch": 2048, "optimiser": "lars", "lr": 0.2,
            "weight_decay": 1e-6, "dim": 8192, "local": 512, "stage": -1, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "local": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 128, "dim": 256, "local": 64,
        "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 512,
        local: int = 128,
        alpha: float = 0.75,
        share: float = 0.4,
        every_alike: bool = False,
        stage: int = -2,
        crop: float = 0.2,
    ):
        """dim, local: widths of the expanders of images and of places. share: of the places whose pairs count."""
        super().__init__(inputs, backbone)
        self.alpha, self.share, self.every_alike, self.stage = alpha, share, every_alike, stage
        self.views = [View(scale=(crop, 1.0))] * 2
        self.expander = mlp(self.encoder.width, dim, dim, dim)
        self.local_expander = mlp(map_width(self.encoder, stage), local, local, local)
        for expander in (self.expander, self.local_expander):
            expander[-1].register_parameter("bias", None)  # no term of the loss would notice it

    def prepare(self, batch, draws):
        same = draws.to(draws.rows.device)  # the very numbers that the views are made with
        x1, x2 = random_views(batch["image"], self.views, self.encoder, draws)
        random = same.uniform(len(self.views), len(RANDOM)).to(self.encoder.mean.dtype)
        at1, at2 = where(self.views, *batch["image"].shape[2:], random)
        return {"x1": x1, "x2": x2, "at1": at1, "at2": at2}

    def local_loss(self, z1: Tensor, z2: Tensor, at1: Tensor, at2: Tensor) -> Tensor:
        """L_s + L_d for expanded maps (B, S, D) and the coordinates (B, 2, size, size) of the views."""
        places = z1.shape[1]
        some, grid = max(1, round(self.share * places)), math.isqrt(places)
        at1, at2 = (F.adaptive_avg_pool2d(view, grid).flatten(2).transpose(1, 2) for view in (at1, at2))
        likeness = torch.cdist(full(z1).detach(), full(z2).detach())
        loss = 0.0
        for distance, count in ((torch.cdist(at1, at2), some), (likeness, places if self.every_alike else some)):
            for near, a, b in ((distance, z1, z2), (distance.transpose(1, 2), z2, z1)):
                own, other = matches(near, count)
                loss = loss + vicreg(gather(at(a, own)), gather(at(b, other))) / 2
        return loss

    def forward(self, batch, turn="all"):
        h1, map1 = features_and_map(self.encoder, batch["x1"], self.stage)
        h2, map2 = features_and_map(self.encoder, batch["x2"], self.stage)
        z1, z2 = (gather(self.expander(h))[:, None] for h in (h1, h2))
        p1, p2 = (self.local_expander(places.flatten(0, 1)).unflatten(0, places.shape[:2]) for places in (map1, map2))
        whole, local = vicreg(z1, z2), self.local_loss(p1, p2, batch["at1"], batch["at2"])
        loss = self.alpha * whole + (1 - self.alpha) * local
        return Output(loss, {"images": whole, "places": local}, embedding=torch.cat([h1, h2]))
