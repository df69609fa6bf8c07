r"""SimCLR: a simple framework for contrastive learning of visual representations.

Ting Chen, Simon Kornblith, Mohammad Norouzi, Geoffrey Hinton. "A Simple Framework for Contrastive Learning of Visual
Representations." ICML 2020. arXiv 2002.05709.

**Idea.** Two random views of one image should be recognisable as such among the views of all other images of the batch.
No memory and no second network: the other $2N - 2$ views of the batch are the negatives, so the batch is large.

**Objective.** For an image's two views $i, j$ with projections $z = g(f(x))$ and cosine similarity $s$ (Eq. 1):

$$\ell_{i,j} = -\log \frac{\exp(s(z_i, z_j) / \tau)}{\sum_{k \neq i} \exp(s(z_i, z_k) / \tau)}$$

averaged over all $2N$ anchors (NT-Xent). With unrelated projections the loss is about $\ln(2N - 1)$.

**Defaults.** $\tau = 0.5$ and a projection head of one hidden layer with 128 outputs (section 2 and appendix B.9, which
finds 0.5 best for small images); the projector is thrown away after training (section 4.2).

**Left out, or different.** LARS (for batches of thousands; AdamW serves here); hue (no counterpart beyond RGB; see
`refimpl.data.views`); crops of at least 20 % of the image (the paper: 8 %), since a small satellite image holds little
in less; colour at strength 0.5, the paper's for small images. Flips and quarter turns are added: there is no upright.
"""

from __future__ import annotations

import torch

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.nt_xent import nt_xent


class SimCLR(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 2.2; temperature: Table 5
            "backbone": "resnet50", "epochs": 100, "batch": 4096, "optimiser": "lars", "lr": 0.3, "weight_decay": 1e-6,
            "temperature": 0.1, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"dim": 16}
    proof = {"samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 128, "margin": 3.0}

    def __init__(self, inputs, backbone=None, *, dim: int = 128, temperature: float = 0.5, crop: float = 0.2):
        super().__init__(inputs, backbone)
        self.temperature = temperature
        self.view = View(scale=(crop, 1.0))
        width = self.encoder.width
        self.projector = mlp(width, width, dim)

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"x1": x1, "x2": x2}

    def forward(self, batch, turn="all"):
        # One pass over both views: batch normalisation then sees all 2N of them, as in the authors' code.
        h = self.encoder(torch.cat([batch["x1"], batch["x2"]]))
        z1, z2 = self.projector(h).chunk(2)
        return Output(nt_xent(gather(z1), gather(z2), self.temperature), embedding=h)
