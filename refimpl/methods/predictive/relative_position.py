r"""Relative position: unsupervised visual representation learning by context prediction.

Carl Doersch, Abhinav Gupta, Alexei A. Efros. "Unsupervised Visual Representation Learning by Context Prediction." ICCV
2015. arXiv 1505.05192.

**Idea.** Cut two neighbouring patches from an image and ask in which of eight directions the second lies from the
first. One network looks at each patch alone and only a small head sees both, so what a patch shows must be found within
it.

**Objective.** With the encoder's features $f$ of patches $x_1, x_2$ and a head $g$ that classifies the position $y$ of
the second, 1 to 8 row by row round the first:

$$\mathcal{L} = -\log p_y, \qquad p = \mathrm{softmax}\, g\left(f(x_1), f(x_2)\right)$$

the mean over all ordered pairs of neighbours in a grid of patches; each patch goes through the encoder once and takes
part in up to 16 pairs. A guess costs $\ln 8$.

**Short cuts** (section 3.1 of the paper). A line that runs on from patch to patch gives the position away: so patches
keep a gap of half their width, and each is moved by chance. A bright and a dark side do too: each patch is brought to
zero mean and unit deviation. And a lens bends colours differently, green against magenta, the more the farther from
its axis: a network found by that where in the photograph a patch was. So either all bands but one of a patch, by
chance, become faint noise (`colour="drop"`; of a hundredth of the kept one's deviation, in the authors' code up to half
a grey level), or what lies on the green-magenta axis is taken out (`"project"`, which the code has not; for red, green
and blue in this or the reverse order).

**Seen from above** colours tell no position: a tile is a small part of a wide swath, geometrically corrected, and its
bands are shifted alike everywhere. Dropping bands would only keep the network from ever seeing a spectrum, so all are
kept (`"keep"`). What the task itself loses is more: there is no upright, so a position can be told by what runs on
across the gap and, if images are not turned, by shadows. Watch `placed`, the share of pairs that are named rightly. On
the land of the synthetic Earth the loss falls (from 2.02, a guess in a grid of 2 x 2, to 1.35 in 50 epochs on one
band), but the features of whole images tell land uses no better than an untrained network's. Things that have a front
and parts in their places are another matter: the proof runs on those.

**Defaults.** Patches of 96 pixels, gaps of 48, moves of up to 7 pixels in the paper, the same ratios of the image's own
size here; a normalisation of each patch's features by the batch, without scale and shift, without which all patches
got the same features (section 3.2). Heads are 4096 wide there, 128 for each patch and 512 for the pair here. By band,
as for jigsaw, patches are standardised; the authors' code does so over all bands at once.

**Left out, or different.** A third of the patches loses resolution by chance in the authors' code. Images are flipped
and turned before patches are cut, unless `upright`. The grid is 3 x 3 (there as large as the image allows). An image's
features are the mean over its patches, since a whole image is something that the network never saw.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.neighbours import POSITIONS, neighbours
from refimpl.parts.precision import full
from refimpl.parts.standardise import standardise
from refimpl.parts.tiles import mean_over_tiles
from refimpl.parts.windows import cut, fitting, grid_corners


def drop_bands(patches: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """All bands but one of each patch become noise of a hundredth of that band's deviation about its mean.

    patches: (B, N, C, h, w). kept: (B, N) band numbers. noise: standard normal, of the shape of the patches.
    """
    kept = kept[:, :, None, None, None]
    variance, mean = torch.var_mean(patches, dim=(-2, -1), keepdim=True, correction=0)
    faint = mean.take_along_dim(kept, 2) + 0.01 * variance.take_along_dim(kept, 2).sqrt() * noise
    band = torch.arange(patches.shape[2], device=patches.device)[:, None, None]
    return torch.where(band == kept, patches, faint)


def project(patches: Tensor) -> Tensor:
    """(..., 3, h, w) without what lies along a = (-1, 2, -1), green against magenta: (I - a a^T / a^T a) x."""
    a = torch.tensor([-1.0, 2.0, -1.0], device=patches.device, dtype=patches.dtype)[:, None, None] / 6**0.5
    return patches - a * (a * patches).sum(-3, keepdim=True)


class RelativePosition(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3.2; rate and optimiser: the authors' code, 1e-5 for the sum over some 2,500 pairs
            "backbone": "resnet50", "epochs": 100, "batch": 64, "optimiser": "sgd", "lr": 0.1, "weight_decay": 0.0,
            "warmup": 0.0, "patch": 96, "width": 4096, "hidden": 4096, "colour": "drop", "upright": True,
        },
    }  # fmt: skip
    smoke = {"width": 16, "hidden": 32}
    proof = {
        "data": "synthetic-objects", "samples": 2000, "size": 48, "backbone": "resnet10t", "epochs": 12, "batch": 64,
        "lr": 4e-3, "patch": 20, "gap": 0.1, "crop": 0.3, "upright": True, "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        grid: int = 3,
        patch: int = 0,
        gap: float = 0.5,
        jitter: float = 0.073,
        colour: str = "keep",
        standard: bool = True,
        width: int = 128,
        hidden: int = 512,
        crop: float = 0.5,
        upright: bool = False,
    ):
        """patch: its pixels, 0 for a share of the image's own. gap, jitter: in patches. colour: see above.

        width: of a patch's features before the head. standard: whether patches are standardised one by one. upright:
        whether images are left as they stand, neither flipped nor turned.
        """
        super().__init__(inputs, backbone)
        field = self.encoder.input
        if colour not in ("keep", "drop", "project"):
            raise ValueError(f'colour is "keep", "drop" or "project", not {colour!r}')
        if colour == "project" and len(field.bands) != 3:
            raise DataError(f'colour="project" needs red, green and blue, not {len(field.bands)} bands; use "keep"')
        self.grid, self.colour, self.standard = grid, colour, standard
        self.patch = fitting(self.encoder, patch or int(field.size / (grid + (grid - 1) * gap)))
        self.step, self.move = self.patch + round(gap * self.patch), max(1, round(jitter * self.patch))
        size = (grid - 1) * self.step + self.patch + 2 * self.move
        stands = {"flip": False, "transpose": False} if upright else {}
        self.view = View.geometric(size=size, scale=(crop, 1.0), ratio=(1.0, 1.0), **stands)
        self.register_buffer("pairs", neighbours(grid))
        self.reduce = nn.Sequential(mlp(self.encoder.width, width, last_norm=True), nn.ReLU(inplace=True))
        self.head = mlp(2 * width, hidden, hidden, len(POSITIONS))

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        moved = draws.integers(2 * self.move + 1, self.grid**2, 2)  # by -move to move, about a corner at (move, move)
        patches = cut(x, grid_corners(self.grid, self.step, x.device) + moved, self.patch)
        if self.standard:
            patches = standardise(patches)
        if self.colour == "drop":
            kept = draws.integers(patches.shape[2], patches.shape[1])
            patches = drop_bands(patches, kept, draws.normal(*patches.shape[1:]).to(patches.dtype))
        return {"patches": project(patches) if self.colour == "project" else patches}

    def forward(self, batch, turn="all"):
        patches = batch["patches"]
        first, second, y = self.pairs
        h = self.encoder(patches.flatten(0, 1))  # each patch alone, once for all its pairs
        z = self.reduce(h).unflatten(0, patches.shape[:2])
        logits = full(self.head(torch.cat([z[:, first], z[:, second]], dim=2).flatten(0, 1)))
        y = y.repeat(len(patches))
        placed = (logits.argmax(1) == y).float().mean()
        features = h.unflatten(0, patches.shape[:2]).mean(1)
        return Output(F.cross_entropy(logits, y), {"placed": placed}, embedding=features)

    def embed(self, stored):
        """(B, C, H, W) stored images -> (B, width), the mean over patches that were not moved."""
        corner = grid_corners(self.grid, self.step, stored.device) + self.move
        change = standardise if self.standard else None
        return mean_over_tiles(self.encoder, stored, self.view.size, corner, self.patch, change)
