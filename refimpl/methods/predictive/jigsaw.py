r"""Jigsaw: unsupervised learning of visual representations by solving jigsaw puzzles.

Mehdi Noroozi, Paolo Favaro. "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles." ECCV 2016.
arXiv 1603.09246.

**Idea.** Cut an image into nine tiles, shuffle them, and ask in which order they lie. One network looks at each tile
alone and only a small head sees all of them, so what a tile is and where it belongs must be found within the tile.

**Objective.** Of the $9!$ orders a fixed set $\pi_1 \dots \pi_P$ is used. With the encoder's features $f$ of the tiles
$x_1 \dots x_9$ the head $g$ classifies the order by cross entropy:

$$\mathcal{L} = -\log p_k, \qquad
p = \mathrm{softmax}\, g\left(f(x_{\pi_k(1)}), \dots, f(x_{\pi_k(9)})\right)$$

A guess costs $\ln P$. The orders should differ in many places, or two of them are told apart by two tiles: each new one
has the largest sum of Hamming distances to those chosen before (Algorithm 1).

**Short cuts** (section 4.2 of the paper). Lines and colours that run on from tile to tile would solve the puzzle
without knowing what is seen: so each tile is cut at random from a larger cell, which leaves gaps, and is brought to
zero mean and unit deviation by itself; and some images are grey.

**Seen from above** a puzzle is harder than on the ground: there is no sky above and no floor below, and tiles of one
field could change places unnoticed. What is left is what runs on across the gaps. Watch `solved`, the share of puzzles
that are put right: while it stays at $1 / P$ nothing has been learned from them, as in short runs on the land of the
synthetic Earth. Things that have a front and parts in their places are another matter: the proof runs on those.

**Defaults.** Cells of 75 and tiles of 64 pixels there, the same ratio of the image's own size here; 100 orders; 30 % of
the images grey; 1024 features per tile and a hidden layer of 4096 in the authors' network, 128 and 512 here, as the
encoder is a ResNet-18. The authors' code cuts cells of 85 pixels, so its gaps are wider, and makes half of the images
grey.

**Left out, or different.** Colour channels that are shifted against each other (the remedy for the chromatic aberration
of photographic lenses). Whole images are flipped and turned before they are cut, unless `upright`: their tiles fit as
before, but no tile has its place from an upright. An image's features are the mean over its tiles, since a whole image
is something that the network never saw; the paper moves convolutions to another network instead. The encoder
strides as it always does; the paper halves the first stride for tiles.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.orders import distant_orders
from refimpl.parts.precision import full
from refimpl.parts.standardise import standardise
from refimpl.parts.tiles import mean_over_tiles
from refimpl.parts.windows import cut, fitting, grid_corners


class Jigsaw(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4; optimiser, widths and number of orders: the authors' code. 350,000 steps there.
            "backbone": "resnet50", "epochs": 70, "batch": 256, "optimiser": "sgd", "lr": 0.01, "weight_decay": 5e-4,
            "warmup": 0.0, "cell": 75, "width": 1024, "hidden": 4096, "upright": True,
        },
    }  # fmt: skip
    smoke = {"orders": 8, "width": 16, "hidden": 32}
    proof = {
        "data": "synthetic-objects", "samples": 2000, "size": 48, "backbone": "resnet10t", "epochs": 20, "batch": 64,
        "lr": 4e-3, "grid": 2, "orders": 24, "upright": True, "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        grid: int = 3,
        orders: int = 100,
        cell: int = 0,
        width: int = 128,
        hidden: int = 512,
        grey: float = 0.3,
        crop: float = 0.5,
        standard: bool = True,
        upright: bool = False,
    ):
        """cell: its pixels, 0 for a share of the image's own. standard: whether tiles are standardised one by one.

        upright: whether images are left as they stand, neither flipped nor turned.
        """
        super().__init__(inputs, backbone)
        self.grid, self.standard = grid, standard
        self.cell = cell or self.encoder.input.size // grid
        self.tile = fitting(self.encoder, self.cell * 64 // 75)
        stands = {"flip": False, "transpose": False} if upright else {}
        self.view = View.geometric(size=grid * self.cell, scale=(crop, 1.0), ratio=(1.0, 1.0), grey=grey, **stands)
        self.register_buffer("orders", distant_orders(orders, grid * grid).clone())
        self.reduce = nn.Sequential(nn.Linear(self.encoder.width, width), nn.ReLU(inplace=True))
        self.head = mlp(grid * grid * width, hidden, len(self.orders))

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        gap = draws.integers(self.cell - self.tile + 1, self.grid**2, 2)
        tiles = cut(x, grid_corners(self.grid, self.cell, x.device) + gap, self.tile)
        y = draws.integers(len(self.orders))
        shuffled = tiles[torch.arange(len(x), device=x.device)[:, None], self.orders[y]]
        return {"tiles": standardise(shuffled) if self.standard else shuffled, "y": y}

    def forward(self, batch, turn="all"):
        tiles, y = batch["tiles"], batch["y"]
        h = self.encoder(tiles.flatten(0, 1))  # each tile alone
        logits = full(self.head(self.reduce(h).unflatten(0, tiles.shape[:2]).flatten(1)))
        solved = (logits.argmax(1) == y).float().mean()
        return Output(F.cross_entropy(logits, y), {"solved": solved}, embedding=h.unflatten(0, tiles.shape[:2]).mean(1))

    def embed(self, stored):
        """(B, C, H, W) stored images -> (B, width), the mean over tiles from the middle of each cell."""
        corner = grid_corners(self.grid, self.cell, stored.device) + (self.cell - self.tile) // 2
        change = standardise if self.standard else None
        return mean_over_tiles(self.encoder, stored, self.view.size, corner, self.tile, change)
