r"""Rotation: unsupervised representation learning by predicting image rotations.

Spyros Gidaris, Praveer Singh, Nikos Komodakis. "Unsupervised Representation Learning by Predicting Image Rotations."
ICLR 2018. arXiv 1803.07728.

**Idea.** Turn an image by 0, 90, 180 or 270 degrees and ask by how much. To tell, the network has to know what it
shows and how that usually stands.

**Objective.** With $g(X|y)$ the image turned $y$ times and $F^{y}$ the probability that the network gives to $y$, for
$K = 4$ turns of each image (Eq. 2 and 3):

$$\mathcal{L} = \frac{1}{N} \sum_{i=1}^{N} -\frac{1}{K} \sum_{y=1}^{K} \log F^{y}\left(g(X_i|y) \mid \theta\right)$$

All four turns of an image are in the same batch, which the paper finds better than one at random. A guess costs
$\ln 4$.

**Seen from above** nothing stands upright. What is left to tell the turn by is the light: shadows and sunlit slopes, as
the sun stands in much the same direction at every pass of a satellite. A network may learn that and little else; it is
the reason why this task, strong on photographs, is weak here. On the land of the synthetic Earth the loss falls (to 1.0
in 20 epochs on one band of 64 pixels), but the features do not tell land uses better than an untrained network's.
Things that have a front are another matter: the proof runs on those.

**Defaults.** Crops alone: flips or turns of the view would hide what is asked for. SGD with momentum 0.9, weight decay
5e-4 and rate 0.1 for a batch of 128 images in the paper (section 3.1); AdamW here. Quarter turns move whole pixels, so
that no interpolation gives them away.

**Left out, or different.** Nothing of the method; the network is the encoder with a linear classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full

TURNS = 4


def turned(x: Tensor) -> Tensor:
    """(B, C, H, H) -> (B, 4, C, H, H): each image by 0, 1, 2 and 3 quarter turns anticlockwise."""
    return torch.stack([torch.rot90(x, y, (2, 3)) for y in range(TURNS)], dim=1)


class Rotation(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=5e-4)
    presets = {
        "paper": {  # section 3.1, the CIFAR-10 experiments
            "epochs": 100, "batch": 128, "optimiser": "sgd", "lr": 0.2, "warmup": 0.0,
        },
    }  # fmt: skip
    proof = {
        "data": "synthetic-objects", "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 15, "batch": 64,
        "lr": 4e-3, "margin": 5.0,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, crop: float = 0.5):
        super().__init__(inputs, backbone)
        self.view = View.geometric(scale=(crop, 1.0), flip=False, transpose=False)
        self.classifier = nn.Linear(self.encoder.width, TURNS)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": turned(x)}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"].flatten(0, 1))
        logits = full(self.classifier(h))
        y = torch.arange(TURNS, device=h.device).repeat(len(batch["x"]))
        named = (logits.argmax(1) == y).float().mean()
        return Output(F.cross_entropy(logits, y), {"named": named}, embedding=h[::TURNS])
