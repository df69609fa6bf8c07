r"""Barlow Twins: self-supervised learning via redundancy reduction.

Jure Zbontar, Li Jing, Ishan Misra, Yann LeCun, Stéphane Deny. "Barlow Twins: Self-Supervised Learning via Redundancy
Reduction." ICML 2021. arXiv 2103.03230.

**Idea.** Over a batch, each output unit should agree with itself on the two views of an image and be uncorrelated with
every other unit. No negatives, no asymmetry: what would collapse would be redundant.

**Objective.** With $\mathcal{C}_{ij}$ the correlation, over the batch, of unit $i$ on the first views with unit $j$ on
the second (Eq. 1 and 2):

$$\mathcal{L} = \sum_i (1 - \mathcal{C}_{ii})^2 + \lambda \sum_i \sum_{j \neq i} \mathcal{C}_{ij}^2$$

**Defaults.** $\lambda = 0.005$ (section 2.1: 5e-3; the authors' code trains with 5.1e-3). The deviation is the
population's (divided by N), as the authors' batch normalisation has it. The projector has three layers of 8192 outputs
in the paper (section 2.2) and 512 here, for a ResNet-18.

**Left out, or different.** LARS; hue and solarisation; the authors' code also scales the loss by a constant for its
optimiser, which AdamW does not notice. Views have one distribution here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision


@full_precision
def barlow_twins_loss(z1: Tensor, z2: Tensor, weight: float = 5e-3) -> Tensor:
    """Eq. 1 over the whole batch.

    Args:
        z1, z2: (N, D) projections of the first and second views.
        weight: lambda.
    """
    n = len(z1)

    def standardised(z: Tensor) -> Tensor:
        centred = z - z.mean(0)
        # A unit that never changes correlates with nothing; the floor keeps its gradient finite.
        return centred / (centred.square().mean(0) + 1e-12).sqrt()

    c = standardised(z1).T @ standardised(z2) / n
    on_diagonal = (1 - c.diagonal()).square().sum()
    off_diagonal = c.square().sum() - c.diagonal().square().sum()
    return on_diagonal + weight * off_diagonal


class BarlowTwins(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 2.2
            "backbone": "resnet50", "epochs": 1000, "batch": 2048, "optimiser": "lars", "lr": 0.2,
            "weight_decay": 1.5e-6, "warmup": 0.01, "dim": 8192, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"dim": 16}
    proof = {
        "samples": 2000,
        "size": 32,
        "backbone": "resnet10t",
        "epochs": 40,
        "batch": 128,
        "dim": 256,
        "margin": 2.0,
    }

    def __init__(self, inputs, backbone=None, *, dim: int = 512, weight: float = 5e-3, crop: float = 0.2):
        super().__init__(inputs, backbone)
        self.weight = weight
        self.view = View(scale=(crop, 1.0))
        self.projector = mlp(self.encoder.width, dim, dim, dim)

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x1": x1, "x2": x2}

    def forward(self, batch, turn="all"):
        # The two views go through the network one after the other: each has statistics of its own.
        h1, h2 = self.encoder(batch["x1"]), self.encoder(batch["x2"])
        z1, z2 = gather(self.projector(h1)), gather(self.projector(h2))
        loss = barlow_twins_loss(z1, z2, self.weight)
        return Output(loss, embedding=torch.cat([h1, h2]))
