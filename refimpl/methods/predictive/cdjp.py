r"""CDJP: learning image representations by completing damaged jigsaw puzzles.

Dahun Kim, Donghyeon Cho, Donggeun Yoo, In So Kweon. "Learning Image Representations by Completing Damaged Jigsaw
Puzzles." WACV 2018. arXiv 1802.01880.

**Idea.** A task that is made harder teaches more. The tiles of a puzzle have lost their colours and one is missing; the
network finds their order, paints the missing tile and restores the colours of the others, all from the same features
of single tiles.

**Objective.** With the encoder's features $f$ of the grey tiles $x_1 \dots x_N$, lying in order $\pi_k$, place $m$
empty, a classifier $g$, a decoder $d$ of all tiles' features, a painter $c$ of each, the true tile $t_m$ and the true
colours $Z_i$ as shares of bins:

$$\mathcal{L} = -\log \mathrm{softmax}_k\, g(f_1 \dots f_N) + \alpha \lVert t_m - d(f_1 \dots f_N) \rVert^2 -
  \frac{\beta}{N - 1} \sum_{i \neq m} v(Z_i) \sum_q Z_{i,q} \log c_q(f_i)$$

the square per value and the last term the mean over places. Guesses cost $\ln P$ of $P$ orders, at most about 1 for a
decoder that answers the band means, and about $\ln Q$ of $Q$ colours, more where rare ones count more.

**The three tasks** are those of jigsaw (arXiv 1603.09246: orders far from one another, gaps between tiles), of context
encoders (arXiv 1604.07379) and of colorization (arXiv 1603.08511: soft bins, rare colours count more). As in that
method here, bins are k-means centres of the training pixels and lightness is the mean of all standardised bands, and
the encoder that is kept and judged sees lightness alone.

**Defaults.** 3 x 3 tiles with the jigsaw's sizes; 100 orders, 64 colours and weights $\alpha = \beta = 1$ are chosen
here, for small images. The paper's own numbers were not at hand: the objective is put together from what its abstract
says and from the three tasks' papers.

**Left out, or different.** The adversary that judges the painted tile. Tiles keep their own mean and deviation, since
colours hang on them, and the empty place holds zeros, the mean of all images. Painted and coloured is at lower
resolution: 8 x 8 for the missing tile, a quarter of the tiles' for colours. Images are flipped and turned first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.colours import Bins, Colourless, colour_loss, painter, some_images
from refimpl.parts.heads import mlp
from refimpl.parts.maps import features_and_map
from refimpl.parts.orders import distant_orders
from refimpl.parts.precision import full, full_precision
from refimpl.parts.windows import cut, fitting, grid_corners

SIDE = 8  # of the painted tile


def without(tiles: Tensor, missing: Tensor) -> Tensor:
    """(B, N, ...) tiles with zeros for the one at the place `missing` (B,)."""
    empty = F.one_hot(missing, tiles.shape[1]).bool().view(*tiles.shape[:2], *(1,) * (tiles.dim() - 2))
    return tiles.masked_fill(empty, 0.0)


def others(tiles: Tensor, missing: Tensor) -> Tensor:
    """(B, N, ...) -> (B, N - 1, ...), all but the tile at the place `missing` (B,), in cyclic order."""
    count, image = tiles.shape[1], torch.arange(len(tiles), device=tiles.device)
    places = (missing[:, None] + torch.arange(1, count, device=tiles.device)) % count
    return tiles[image[:, None], places]


@full_precision
def painting_loss(painted: Tensor, tile: Tensor) -> Tensor:
    """Mean squared error of painted (B, C, s, s) against the true tile (B, C, h, w), averaged to that size."""
    return F.mse_loss(painted, F.adaptive_avg_pool2d(tile, painted.shape[2:]))


class CDJP(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {"backbone": "resnet50", "cell": 75, "colours": 313},  # what can be said of its tasks here
    }
    smoke = {"orders": 8, "width": 16, "hidden": 32, "colours": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 64, "lr": 4e-3, "grid": 2,
        "orders": 24, "cell": 20, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        grid: int = 3,
        orders: int = 100,
        cell: int = 0,
        width: int = 64,
        hidden: int = 512,
        colours: int = 64,
        alpha: float = 1.0,
        beta: float = 1.0,
        crop: float = 0.5,
    ):
        """cell: its pixels, 0 for a share of the image's own. width: of a tile's features, decoder and painter."""
        super().__init__(inputs, backbone)
        self.encoder = Colourless(self.encoder.name, self.encoder.input, [])
        self.grid, self.alpha, self.beta = grid, alpha, beta
        self.cell = cell or self.encoder.input.size // grid
        self.tile = fitting(self.encoder.network, self.cell * 64 // 75)
        self.view = View.geometric(size=grid * self.cell, scale=(crop, 1.0), ratio=(1.0, 1.0))
        self.register_buffer("orders", distant_orders(orders, grid * grid).clone())
        bands, joined = len(self.encoder.input.bands), grid * grid * width
        self.reduce = nn.Sequential(nn.Linear(self.encoder.width, width), nn.ReLU(inplace=True))
        self.head = mlp(joined, hidden, len(self.orders))
        self.decoder = nn.Sequential(
            nn.Linear(joined, width * (SIDE // 2) ** 2), nn.ReLU(inplace=True),
            nn.Unflatten(1, (width, SIDE // 2, SIDE // 2)), nn.ConvTranspose2d(width, bands, 4, 2, 1),
        )  # fmt: skip
        self.painter = painter(self.encoder.network, width, colours)
        self.bins = Bins(colours, bands)

    def before_epoch(self, epoch, data, tools):
        if epoch == 0:
            x = some_images(data, self.encoder, tools.generator)
            self.bins.find(self.encoder.colour(x), 0.5, tools.generator)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        gap = draws.integers(self.cell - self.tile + 1, self.grid**2, 2)
        tiles = cut(x, grid_corners(self.grid, self.cell, x.device) + gap, self.tile)
        y, missing = draws.integers(len(self.orders)), draws.integers(self.grid**2)
        shuffled = tiles[torch.arange(len(x), device=x.device)[:, None], self.orders[y]]
        return {"tiles": shuffled, "y": y, "missing": missing}

    def forward(self, batch, turn="all"):
        tiles, y, missing = batch["tiles"], batch["y"], batch["missing"]
        size = tiles.shape[:2]
        seen = without(self.encoder.light(tiles.flatten(0, 1)).unflatten(0, size), missing)
        h, places = features_and_map(self.encoder.network, seen.flatten(0, 1), -1)  # each tile alone
        joined = self.reduce(h).unflatten(0, size).flatten(1)
        logits = full(self.head(joined))
        tile = tiles[torch.arange(len(tiles), device=tiles.device), missing]
        side = math.isqrt(places.shape[1])
        named = self.painter(places.transpose(1, 2).unflatten(2, (side, side))).permute(0, 2, 3, 1)
        colours = F.adaptive_avg_pool2d(self.encoder.colour(tiles.flatten(0, 1)), named.shape[1:3]).permute(0, 2, 3, 1)
        named, colours = (others(m.unflatten(0, size), missing).flatten(0, 1) for m in (named, colours))
        order, paint = F.cross_entropy(logits, y), painting_loss(self.decoder(joined), tile)
        colour = colour_loss(named, *self.bins.encode(colours, nearest=5), self.bins.w)
        solved = (logits.argmax(1) == y).float().mean()
        metrics = {"solved": solved, "paint": paint.detach(), "colour": colour.detach()}
        return Output(order + self.alpha * paint + self.beta * colour, metrics, embedding=h.unflatten(0, size).mean(1))
