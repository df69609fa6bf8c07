r"""BYOL: bootstrap your own latent, a new approach to self-supervised learning.

Jean-Bastien Grill, Florian Strub, Florent Altché, Corentin Tallec, Pierre H. Richemond, Elena Buchatskaya,
Carl Doersch, Bernardo Avila Pires, Zhaohan Daniel Guo, Mohammad Gheshlaghi Azar, Bilal Piot, Koray Kavukcuoglu,
Rémi Munos, Michal Valko. "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning." NeurIPS 2020.
arXiv 2006.07733.

**Idea.** An online network predicts, from one view, what a slowly moving copy of itself (the target) says of the other.
No negatives; what keeps all images from the same answer is the predictor, which the target lacks, and the moving
average.

**Objective.** With the prediction $q_\theta(z_\theta)$ of one view and the target projection $z'_\xi$ of the other,
both of unit length (Eq. 2):

$$\mathcal{L} = \lVert \bar q_\theta(z_\theta) - \bar z'_\xi \rVert_2^2
= 2 - 2 \cos\left(q_\theta(z_\theta), z'_\xi\right)$$

added up over both ways of assigning the two views (symmetrised), so that the loss lies between 0 and 8. The target
follows as $\xi \leftarrow \tau \xi + (1 - \tau) \theta$ after each step, and $\tau$ rises from its base to 1 on a half
cosine (section 3.2).

**Defaults.** $\tau_{base} = 0.996$; projector and predictor with one hidden layer of 4096 and 256 outputs in the paper
(section 3.3), 512 and 128 here, as the encoder is a ResNet-18. Libraries differ by constant factors of this loss (mean
or sum over the two ways, $-\cos$ or $2 - 2\cos$); what is trained here is the sum of Eq. 2 and its mirror image.

**Left out, or different.** LARS (in the preset); solarisation and hue; the two views have one distribution here, where
the paper blurs them with different probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision
from refimpl.parts.teacher import Teacher, rising_momentum


@full_precision
def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Eq. 2: squared distance of the (B, D) rows after scaling them to unit length; scalar, the mean over rows.

    No gradient goes into `target`.
    """
    return (F.normalize(prediction, dim=1) - F.normalize(target.detach(), dim=1)).square().sum(1).mean()


class BYOL(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3.3; the projector's widths are those of section 3.2
            "backbone": "resnet50", "epochs": 1000, "batch": 4096, "optimiser": "lars", "lr": 0.2,
            "weight_decay": 1.5e-6, "warmup": 0.01, "hidden": 4096, "dim": 256, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"hidden": 32, "dim": 16}
    proof = {
        "samples": 2000,
        "size": 32,
        "backbone": "resnet10t",
        "epochs": 40,
        "batch": 64,
        "momentum": 0.98,
        "margin": 2.0,
    }

    def __init__(
        self, inputs, backbone=None, *, hidden: int = 512, dim: int = 128, momentum: float = 0.996, crop: float = 0.2
    ):
        super().__init__(inputs, backbone)
        self.momentum = momentum
        self.view = View(scale=(crop, 1.0))
        self.projector = mlp(self.encoder.width, hidden, dim)
        self.predictor = mlp(dim, hidden, dim)
        self.target = Teacher(self.encoder, self.projector)

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x": torch.cat([x1, x2])}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        q1, q2 = self.predictor(self.projector(h)).chunk(2)
        z1, z2 = self.target(batch["x"]).chunk(2)
        return Output(regression_loss(q1, z2) + regression_loss(q2, z1), embedding=h)

    def after_step(self, progress):
        self.target.follow(rising_momentum(self.momentum, progress.fraction), self.encoder, self.projector)
