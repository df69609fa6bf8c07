r"""LeJEPA: views that agree, and features that look Gaussian from every side.

Randall Balestriero, Yann LeCun. "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics." arXiv
2025. arXiv 2511.08544.

**Idea.** Of all ways to spread features, the round Gaussian is the safest for tasks not yet known. So all views of an
image are drawn to the mean of its large ones, and a test for a normal distribution, on projections of the batch on
random directions (SIGReg), keeps the features from collapsing: no teacher, no stopped gradient, no schedule.

**Objective.** With the projections $z_{n,v}$ of image $n$ in view $v$, of $V_g$ large and $V$ views in all:

$$\mathcal{L} = \frac{\lambda}{V} \sum_{v=1}^{V} \mathrm{SIGReg}(\{z_{n,v}\}_n) + \frac{1 - \lambda}{N} \sum_{n=1}^{N}
\frac{1}{V} \sum_{v=1}^{V} \lVert \mu_n - z_{n,v} \rVert_2^2, \qquad \mu_n = \frac{1}{V_g} \sum_{v=1}^{V_g} z_{n,v}$$

SIGReg is the mean over directions $a$, drawn anew in each step, of the statistic of Epps and Pulley for $x_n = a \cdot
z_n$, which compares the samples' characteristic function with that of a standard normal number:

$$T = N \int \left\lvert \frac{1}{N} \sum_n e^{i t x_n} - e^{-t^2/2} \right\rvert^2 e^{-t^2/2} \, dt$$

Of normal samples $T$ is $\sqrt{2\pi} - \sqrt{2\pi/3} \approx 1.06$ on average; of features that have all collapsed to
zero it is $0.41 N$. The gradient reaches the means $\mu_n$ too.

**Defaults.** $\lambda = 0.05$; the integral by 17 points from -5 to 5, of which the half is computed, since the
integrand is even; 256 directions (Algorithm 1 and 2; the authors' repository now takes 17 points from 0 to 3:
`points=17`, `reach=3`). Two large views of 30 to 100 % of the area and six small ones of 5 to 30 %, AdamW with 5e-4 and
weight decay 0.05 (its README). As in the authors' code the squared distances are averaged over dimensions, not summed
as the equation has it; `as_printed` sums.

**Left out, or different.** Hue and solarisation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision


@full_precision
def sigreg(z: Tensor, directions: Tensor, points: int = 9, reach: float = 5.0) -> Tensor:
    """The statistic T of each view and direction, the mean over both.

    Args:
        z: (V, N, D). directions: (D, A), columns of unit length. points: at which t from 0 to `reach`.
    """
    t = torch.linspace(0, reach, points, dtype=z.dtype, device=z.device)
    normal = torch.exp(-t.square() / 2)
    weight = torch.full_like(t, 2 * reach / (points - 1))  # trapezoids; twice, for what lies below 0
    weight[[0, -1]] /= 2
    statistics = []
    for view in z:
        angle = (view @ directions)[:, :, None] * t  # (N, A, points)
        difference = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
        statistics.append(len(view) * (difference * normal * weight).sum(1).mean())
    return torch.stack(statistics).mean()


@full_precision
def agreement(z: Tensor, large: int, as_printed: bool = False) -> Tensor:
    """Squared distance of all views (V, N, D) to the mean of the first `large`, the mean over images and views."""
    squares = (z - z[:large].mean(0)).square()
    return squares.sum(2).mean() if as_printed else squares.mean()


class LeJEPA(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    couples_samples = True
    recipe = Recipe(epochs=50, batch=256, lr=5e-4, weight_decay=0.05)
    presets = {
        "paper": {  # the authors' README; "minimal" is its worked example
            "backbone": "vit_large_patch14_224", "epochs": 100, "hidden": 2048, "dim": 512, "directions": 1024,
        },
        "minimal": {
            "backbone": "vit_small_patch8_224", "epochs": 800, "lr": 2e-3, "hidden": 2048, "dim": 16, "weight": 0.02,
            "large": 4, "crops": 0, "points": 17, "reach": 3.0,
        },
    }  # fmt: skip
    smoke = {"hidden": 32, "dim": 16, "directions": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 128, "lr": 2e-3, "crops": 0,
        "hidden": 256, "dim": 32, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        hidden: int = 512,
        dim: int = 64,
        weight: float = 0.05,
        directions: int = 256,
        points: int = 9,
        reach: float = 5.0,
        large: int = 2,
        crops: int = 6,
        as_printed: bool = False,
    ):
        """weight: lambda. large, crops: number of large and of small views. points, reach: see `sigreg`."""
        super().__init__(inputs, backbone)
        self.weight, self.directions, self.points, self.reach = weight, directions, points, reach
        self.large, self.as_printed, self.dim = large, as_printed, dim
        big = View(scale=(0.3, 1.0), saturation=0.2)
        small = View(size=max(8, self.encoder.input.size // 2), scale=(0.05, 0.3), saturation=0.2)
        self.views = [big] * large + [small] * crops
        self.projector = mlp(self.encoder.width, hidden, hidden, dim)

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        one = draws.first(1)
        one.rows = torch.zeros_like(one.rows)  # one set of directions, whoever has which samples of the batch
        directions = F.normalize(one.normal(self.dim, self.directions)[0], dim=0)
        prepared = {"large": torch.cat(views[: self.large]), "directions": directions}
        return {**prepared, "small": torch.cat(views[self.large :])} if len(views) > self.large else prepared

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["large"])  # one pass for each size
        features = torch.cat([h, self.encoder(batch["small"])]) if "small" in batch else h
        z = self.projector(features).unflatten(0, (len(self.views), -1))
        z = gather(z.transpose(0, 1)).transpose(0, 1)  # (V, N, D) of the whole batch
        spread = sigreg(z, batch["directions"], self.points, self.reach)
        agree = agreement(z, self.large, self.as_printed)
        loss = self.weight * spread + (1 - self.weight) * agree
        return Output(loss, {"sigreg": spread, "agreement": agree}, embedding=h)
