r"""NNCLR: nearest neighbours of other images as positives of contrastive learning.

Debidatta Dwibedi, Yusuf Aytar, Jonathan Tompson, Pierre Sermanet, Andrew Zisserman. "With a Little Help from My
Friends: Nearest-Neighbor Contrastive Learning of Visual Representations." ICCV 2021. arXiv 2104.14548.

**Idea.** Two views of one image differ only by what augmentation can do. So the first view steps aside for its nearest
neighbour in a store of recent features (the support set): the positive is another image that looks alike, the negatives
are the other images of the batch, as in SimCLR.

**Objective.** With the projections $z_i$ of one view, the predictions $p_i^+$ from the other, the support set $Q$ and
all rows of unit length (Eq. 3 and 4):

$$\mathrm{NN}(z, Q) = \operatorname{argmin}_{q \in Q} \lVert z - q \rVert_2, \qquad
\mathcal{L}_i = -\log
\frac{\exp(\mathrm{NN}(z_i, Q) \cdot p_i^+ / \tau)}{\sum_{k=1}^{n} \exp(\mathrm{NN}(z_i, Q) \cdot p_k^+ / \tau)}$$

the mean over the batch and over both ways of assigning the two views. With unrelated features it is about $\ln n$. The
projections of the first views replace the oldest of the support set after the step: before, many an image would be its
own neighbour.

**Defaults.** $\tau = 0.1$; projector of three layers, batch normalisation on its output too, and a predictor of two
(section 3.2: 2048, 2048, 256 and 4096, 256; here 512, 512, 128 and 512, 128). The support set holds 98,304 features in
the paper, a thirteenth of its images; 1,024 here.

**Left out, or different.** LARS (in the preset); hue. Features that wait for longer than an epoch may be the very
image's own; they do no harm.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full, full_precision
from refimpl.parts.queue import Queue


@torch.no_grad()
def nearest(z: Tensor, support: Tensor) -> Tensor:
    """Eq. 4: (B, D) the row of `support` (Q, D) that is nearest to each of z (B, D); all rows have unit length."""
    return support[(z @ support.T).argmax(1)]


@full_precision
def nnclr_loss(neighbours: Tensor, predictions: Tensor, temperature: float = 0.1) -> Tensor:
    """Eq. 3 over the whole batch.

    Args:
        neighbours: (N, D) of the first views; no gradient goes into them.
        predictions: (N, D) from the other views of the same images. Rows need not be normalised.
    Returns:
        scalar, the mean over images.
    """
    logits = F.normalize(neighbours.detach(), dim=1) @ F.normalize(predictions, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


class NNCLR(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3.2 and 4.1
            "backbone": "resnet50", "epochs": 1000, "batch": 4096, "optimiser": "lars", "lr": 0.3, "weight_decay": 1e-6,
            "warmup": 0.01, "dim": 256, "hidden": 2048, "predictor": 4096, "queue": 98304, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "hidden": 32, "predictor": 32, "queue": 64}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 128, "queue": 512, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 128,
        hidden: int = 512,
        predictor: int = 512,
        queue: int = 1024,
        temperature: float = 0.1,
        crop: float = 0.2,
    ):
        """hidden: width of the projector's hidden layers. predictor: of the predictor's. queue: size of the support."""
        super().__init__(inputs, backbone)
        self.temperature = temperature
        self.view = View(scale=(crop, 1.0))
        self.projector = mlp(self.encoder.width, hidden, hidden, dim, last_norm=True)
        self.predictor = mlp(dim, predictor, dim)
        self.support = Queue(queue, dim)
        self.fresh: Tensor | None = None  # this step's projections of the first views

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x1": x1, "x2": x2}

    def forward(self, batch, turn="all"):
        h = self.encoder(torch.cat([batch["x1"], batch["x2"]]))
        z = self.projector(h)
        p1, p2 = (gather(p) for p in self.predictor(z).chunk(2))
        z1, z2 = (gather(F.normalize(full(view), dim=1)) for view in z.detach().chunk(2))
        self.fresh = z1
        loss = nnclr_loss(nearest(z1, self.support.rows), p2, self.temperature) / 2
        loss = loss + nnclr_loss(nearest(z2, self.support.rows), p1, self.temperature) / 2
        return Output(loss, embedding=h)

    def after_step(self, progress):
        self.support.put(self.fresh)
