r"""VICReg: variance-invariance-covariance regularisation.

Adrien Bardes, Jean Ponce, Yann LeCun. "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning." ICLR 2022. arXiv 2105.04906.

**Idea.** Three wishes, each a term of the loss: the two views of an image agree (invariance), every unit varies over
the batch (variance), no two units vary together (covariance). The second rules out collapse to a point, the third
collapse to a line; each is asked of either branch by itself, so that the branches need not be alike.

**Objective.** With $S(x) = \sqrt{\mathrm{Var}(x) + \epsilon}$ of a unit $z^j$ and $C(Z)$ the covariance matrix, both
over the $n$ rows of a batch and with $n - 1$ (Eq. 1 to 6):

$$s(Z, Z') = \frac{1}{n} \sum_i \lVert z_i - z'_i \rVert_2^2, \qquad
v(Z) = \frac{1}{d} \sum_j \max(0, 1 - S(z^j)), \qquad
c(Z) = \frac{1}{d} \sum_{i \neq j} C(Z)_{ij}^2$$

$$\mathcal{L} = \lambda \, s(Z, Z') + \mu \, [v(Z) + v(Z')] + \nu \, [c(Z) + c(Z')]$$

**Two readings.** The authors' code averages $s$ over the $d$ units as well and halves the variance term, so its
invariance weighs $d$ times less; published results come from it. `reading="code"`, the default, trains that;
`reading="paper"` trains the formulas above. (Most libraries follow the code; some leave out the half.)

**Defaults.** $\lambda = \mu = 25$, $\nu = 1$, $\epsilon = 10^{-4}$ (section 4.2). The expander has three layers of 8192
(section 4.2), 512 here, for a ResNet-18.

**Left out, or different.** LARS (in the preset); hue and solarisation; the two views have one distribution.
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

READINGS = ("code", "paper")


def variance(z: Tensor) -> Tensor:
    """v(Z) of Eq. 1: how far the deviations of the units of z (N, D) fall short of 1, their mean; scalar."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """c(Z) of Eq. 4: squares of the covariances of different units of z (N, D), summed and divided by D; scalar."""
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


@full_precision
def vicreg_terms(z1: Tensor, z2: Tensor, reading: str = "code") -> Tensor:
    """(3,) invariance, variance and covariance term, not yet weighted, over the whole batch.

    Args:
        z1, z2: (N, D) expanded features of the first and second views.
        reading: "paper" for the formulas as printed, "code" for those of the authors' code.
    """
    invariance = (z1 - z2).square().sum(1).mean()
    varies = variance(z1) + variance(z2)
    if reading == "code":
        invariance, varies = invariance / z1.shape[1], varies / 2
    return torch.stack([invariance, varies, covariance(z1) + covariance(z2)])


class VICReg(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4.2
            "backbone": "resnet50", "epochs": 1000, "batch": 2048, "optimiser": "lars", "lr": 0.2,
            "weight_decay": 1e-6, "warmup": 0.01, "dim": 8192, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"dim": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 128, "dim": 256, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 512,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        reading: str = "code",
        crop: float = 0.2,
    ):
        """invariance, variance, covariance: the weights lambda, mu, nu. reading: "code" or "paper"."""
        super().__init__(inputs, backbone)
        if reading not in READINGS:
            raise ValueError(f"VICReg has the readings {' and '.join(READINGS)}, not {reading!r}")
        self.weights, self.reading = (invariance, variance, covariance), reading
        self.view = View(scale=(crop, 1.0))
        self.expander = mlp(self.encoder.width, dim, dim, dim)
        self.expander[-1].register_parameter("bias", None)  # none of the three terms would notice it

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x1": x1, "x2": x2}

    def forward(self, batch, turn="all"):
        # The two views go through the network one after the other, as in the authors' code.
        h1, h2 = self.encoder(batch["x1"]), self.encoder(batch["x2"])
        terms = vicreg_terms(gather(self.expander(h1)), gather(self.expander(h2)), self.reading)
        loss = sum(weight * term for weight, term in zip(self.weights, terms, strict=True))
        watched = dict(zip(("invariance", "variance", "covariance"), terms, strict=True))
        return Output(loss, watched, embedding=torch.cat([h1, h2]))
