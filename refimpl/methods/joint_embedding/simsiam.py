r"""SimSiam: exploring simple siamese representation learning.

Xinlei Chen, Kaiming He. "Exploring Simple Siamese Representation Learning." CVPR 2021. arXiv 2011.10566.

**Idea.** What is left of BYOL without its moving average: one network sees both views, and a predictor on one side has
to match the other side. No negatives, no large batch, no second network; that no gradient flows into the matched side
is all that keeps the features from becoming one point.

**Objective.** With $z = f(x)$ from encoder and projector, $p = h(z)$ from the predictor, and the negative cosine
similarity $\mathcal{D}$ (Eq. 1):

$$\mathcal{D}(p_1, z_2) = -\frac{p_1}{\lVert p_1 \rVert_2} \cdot \frac{z_2}{\lVert z_2 \rVert_2}$$

the loss is symmetric in the two views (Eq. 4):

$$\mathcal{L} = \tfrac{1}{2} \mathcal{D}(p_1, \mathrm{stopgrad}(z_2))
+ \tfrac{1}{2} \mathcal{D}(p_2, \mathrm{stopgrad}(z_1))$$

It lies between $-1$ (all views agree, collapsed or not) and 1; with unrelated features it is about 0. A low loss is
therefore no news: the deviation of the features, which every run logs, tells learning from collapse (section 4.1).

**Defaults.** Projector of three layers with batch normalisation on the output too, predictor of two layers with a
hidden one a quarter as wide (section 3: 2048 and 512; here 512 and 128, for a ResNet-18); crops of 20 % and more (the
authors' code). The two views go through the network one after the other, each with batch statistics of its own, as in
that code.

**Left out, or different.** The predictor's rate falls with all others; a rate that stays, which the authors' code
offers and which is worth half a point to them, needs a schedule of its own. AdamW (the preset has the paper's SGD);
hue; flips and quarter turns are added.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision


@full_precision
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Eq. 1 with the stopped gradient of Eq. 3.

    Args:
        p: (B, D) predictions. z: (B, D) what they should match; no gradient goes into it.
    Returns:
        scalar, the mean over rows.
    """
    return -(F.normalize(p, dim=1) * F.normalize(z.detach(), dim=1)).sum(1).mean()


class SimSiam(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3, "Baseline settings"
            "backbone": "resnet50", "epochs": 100, "batch": 512, "optimiser": "sgd", "lr": 0.05, "warmup": 0.0,
            "dim": 2048, "hidden": 512,
        },
    }  # fmt: skip
    smoke = {"dim": 32, "hidden": 8}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 64, "margin": 2.0,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, dim: int = 512, hidden: int = 128, crop: float = 0.2):
        """dim: width of the projector and length of z. hidden: of the predictor."""
        super().__init__(inputs, backbone)
        self.view = View(scale=(crop, 1.0))
        self.projector = mlp(self.encoder.width, dim, dim, dim, last_norm=True)
        self.predictor = mlp(dim, hidden, dim)

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x1": x1, "x2": x2}

    def forward(self, batch, turn="all"):
        h1, h2 = self.encoder(batch["x1"]), self.encoder(batch["x2"])
        z1, z2 = self.projector(h1), self.projector(h2)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        loss = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
        return Output(loss, embedding=torch.cat([h1, h2]))
