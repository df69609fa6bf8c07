r"""CPC: representation learning with contrastive predictive coding.

Aaron van den Oord, Yazhe Li, Oriol Vinyals. "Representation Learning with Contrastive Predictive Coding." 2018. arXiv
1807.03748. Version 2: Olivier J. Hénaff, Aravind Srinivas, Jeffrey De Fauw, Ali Razavi, Carl Doersch, S. M. Ali Eslami,
Aaron van den Oord. "Data-Efficient Image Recognition with Contrastive Predictive Coding." ICML 2020. arXiv 1905.09272.

**Idea.** Read an image as a grid of overlapping patches, row by row. A context that has seen the rows so far predicts
the features of patches further down; it need not paint them, only pick them out among all other patches of the batch.

**Objective.** With patch features $z$, the context $c_t$ of row $t$ and below it a matrix for each distance $k$, the
score is log-bilinear (Eq. 3) and the loss names the one right patch among the set $X$ of all (Eq. 4):

$$f_k(x_{t+k}, c_t) = \exp\left(z_{t+k}^\top W_k c_t\right), \qquad
\mathcal{L}_N = -\mathbb{E} \log \frac{f_k(x_{t+k}, c_t)}{\sum_{x_j \in X} f_k(x_j, c_t)}$$

averaged over the distances. A guess costs $\ln |X|$. The patches of the same image are the hard negatives: they share
its light and its colours.

**Defaults.** A 7 x 7 grid of patches that overlap by half, predictions up to five rows ahead (version 1, section
3.3); the next row, which shares pixels with the last one seen, is passed over (`skip`; the code in version 2 passes
over two, version 1 over none). $z$ is first made 64 numbers by a linear layer, as in version 2; `dim=0` compares the
features themselves, as in version 1. The context is a stack of convolutions that look up and sideways only (a PixelCNN
without gates, as in version 2: 5 blocks of width 256).

**Left out, or different.** The encoder keeps its batch normalisation, where version 1 has none and version 2 normalises
by layer. Images stay in colour (grey in version 1), and patches are not distorted one by one (version 2). Version 2
predicts in four directions with a loss each; here images are flipped and turned at random, so "below" is any of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather, rank
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision
from refimpl.parts.windows import cut, fitting, grid_corners


class LookUp(nn.Module):
    """A residual block whose output at row t depends on rows up to t only: (B, D, g, g) -> the same."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.narrow = nn.Conv2d(width, hidden, 1)
        self.sideways = nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1))
        self.up = nn.Conv2d(hidden, hidden, (2, 1))
        self.widen = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.sideways(F.relu(self.narrow(x)))
        h = self.up(F.pad(h, (0, 0, 1, 0)))  # a row of zeros above the first
        return x + self.widen(F.relu(h))


@full_precision
def info_nce(prediction: Tensor, z: Tensor, every: Tensor, first: int, ahead: int) -> Tensor:
    """Eq. 4 at one distance, the mean over images and places.

    Args:
        prediction: (B, g, g, D), W_k c_t; row t of it predicts row t + ahead of z (B, g, g, D).
        every: (M, g, g, D) targets of the global batch; image b of this process is number first + b of them.
    """
    b, g, _, d = z.shape
    scores = prediction[:, : g - ahead].reshape(-1, d) @ every.reshape(-1, d).T
    place = torch.arange(len(every) * g * g, device=z.device).view(-1, g, g)
    return F.cross_entropy(scores, place[first : first + b, ahead:].flatten())


class CPC(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=40, batch=64, optimiser="adam", lr=1e-3, weight_decay=0.0)
    presets = {
        "paper": {  # version 1, section 3.3: Adam with rate 2e-4 for a batch of 16 on each of 32 GPUs
            "backbone": "resnet101", "batch": 512, "lr": 1e-4, "warmup": 0.0, "patch": 64, "skip": 0, "dim": 0,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "hidden": 16, "depth": 1, "grid": 5, "steps": 3, "batch": 16}
    proof = {
        "samples": 2000, "size": 32, "bands": "B03", "backbone": "resnet10t", "epochs": 12, "batch": 32, "lr": 8e-3,
        "grid": 5, "steps": 4, "depth": 2, "hidden": 64, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        grid: int = 7,
        patch: int = 0,
        steps: int = 5,
        skip: int = 1,
        dim: int = 64,
        hidden: int = 256,
        depth: int = 5,
        crop: float = 0.5,
    ):
        """patch: its pixels, 0 for what the image's size gives. steps: the farthest row predicted. depth: of blocks."""
        super().__init__(inputs, backbone)
        self.grid, self.distances = grid, range(skip + 1, steps + 1)
        self.patch = fitting(self.encoder, patch or 2 * (self.encoder.input.size // (grid + 1)))
        self.step = self.patch // 2
        self.view = View.geometric(size=(grid + 1) * self.step, scale=(crop, 1.0))
        width = self.encoder.width
        self.context = nn.Sequential(*(LookUp(width, hidden) for _ in range(depth)), nn.ReLU())
        self.target = nn.Linear(width, dim) if dim else nn.Identity()
        self.predict = nn.ModuleList(nn.Linear(width, dim or width, bias=False) for _ in self.distances)  # W_k

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"patches": cut(x, grid_corners(self.grid, self.step, x.device), self.patch)}

    def forward(self, batch, turn="all"):
        b, g = len(batch["patches"]), self.grid
        h = self.encoder(batch["patches"].flatten(0, 1)).view(b, g, g, -1)  # each patch alone
        c = self.context(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        z = self.target(h)
        every, first = gather(z), rank() * b
        losses = [info_nce(w(c), z, every, first, k) for k, w in zip(self.distances, self.predict, strict=True)]
        return Output(torch.stack(losses).mean(), embedding=h.mean((1, 2)))
