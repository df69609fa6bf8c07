r"""MTL: multi-task self-supervised visual learning, with learned weights of the tasks.

Carl Doersch, Andrew Zisserman. "Multi-task Self-Supervised Visual Learning." ICCV 2017. arXiv 1708.07860. The weights:
Alex Kendall, Yarin Gal, Roberto Cipolla. "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics." CVPR 2018. arXiv 1705.07115.

**Idea.** Each pretext task passes over what it does not need, each something else: so several train one network at
once, with a head for each. How much a task counts is learned too: the less certain its answers remain, the less.

**Objective.** With task losses $\mathcal{L}_t$, all of them cross entropies, and for each a variance $\sigma_t^2$ that
is trained along (Eq. 10 of the second paper, for classification):

$$\mathcal{L} = \sum_t \frac{1}{\sigma_t^2} \mathcal{L}_t + \log \sigma_t$$

Learned is $s_t = \log \sigma_t^2$, 0 at first. Were the losses to stay as they are, $1 / \sigma_t^2$ would become
$1 / (2 \mathcal{L}_t)$: tasks are weighed by the size of their losses, not by their worth. With `learned=False` all
count 1. Guesses cost $\ln 4$, $\ln 8$, about $\ln Q$ of $Q$ colours, and $\ln(2B - 1)$ for a batch of $B$ images.

**Tasks.** Four questions about an image, each with crops of its own:

- rotation: by how many quarter turns is it turned? (Gidaris et al. 2018, arXiv 1803.07728; of four turns one is drawn)
- position: in which of eight directions does one patch lie from its neighbour? (Doersch et al. 2015, arXiv 1505.05192)
- colour: grey in all bands, of which colour is each place? (Zhang et al. 2016, arXiv 1603.08511)
- contrast: which two views among all of the batch are of one image? (SimCLR, arXiv 2002.05709)

The first paper has position and colour too; its third task, exemplars, is the forerunner of contrast, and its fourth,
motion, needs video. `position` and `colour` look at other inputs, patches without a mean and images without colour, so
that features may fall apart into one kind for each. The first paper's remedy is to show all tasks the same kind, grey
images (`harmonise`); then nothing is learned from spectra, and it is off.

**Defaults.** Those of the four papers, made small: a grid of 2 x 2 patches with gaps of half a patch, 64 colours,
temperature 0.5 and 128 outputs.

**Left out, or different.** The first paper trains one task on each machine and lets heads choose, sparsely, from which
blocks they read; here each image serves all tasks, and all heads read the last features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.colours import Bins, colour_loss, painter, some_images
from refimpl.parts.heads import mlp
from refimpl.parts.maps import features_and_map
from refimpl.parts.neighbours import POSITIONS, neighbours
from refimpl.parts.nt_xent import nt_xent
from refimpl.parts.precision import full, full_precision
from refimpl.parts.standardise import standardise
from refimpl.parts.windows import cut, fitting, grid_corners

TASKS = ("rotation", "position", "colour", "contrast")
GRID = 2


@full_precision
def weighed(losses: Tensor, s: Tensor) -> Tensor:
    """Eq. 10 for classification: losses (T,) and log variances s (T,) -> scalar. log sigma is s / 2."""
    return (torch.exp(-s) * losses + s / 2).sum()


def grey(x: Tensor) -> Tensor:
    """(B, C, H, W) normalised -> the same with the mean of its bands in every band."""
    return x.mean(1, keepdim=True).expand_as(x)


class MTL(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # of the first paper what can be said here: no learned weights, grey images, patches of 96 pixels
            "backbone": "resnet101", "learned": False, "harmonise": True, "patch": 96, "colours": 313,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "colours": 16, "hidden": 32, "width": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 10, "batch": 64, "lr": 4e-3, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        learned: bool = True,
        harmonise: bool = False,
        patch: int = 0,
        hidden: int = 256,
        colours: int = 64,
        width: int = 64,
        dim: int = 128,
        temperature: float = 0.5,
        crop: float = 0.5,
    ):
        """patch: its pixels, 0 for a share of the image's own. hidden: of the position head. width: of the painter."""
        super().__init__(inputs, backbone)
        self.harmonise, self.temperature = harmonise, temperature
        self.log_variance = nn.Parameter(torch.zeros(len(TASKS)), requires_grad=learned)
        features, field = self.encoder.width, self.encoder.input
        self.rotation = nn.Linear(features, 4)
        self.patch = fitting(self.encoder, patch or int(field.size / 2.5))
        self.register_buffer("pairs", neighbours(GRID))
        self.position = mlp(2 * features, hidden, len(POSITIONS))
        self.painter = painter(self.encoder, width, colours)
        self.bins = Bins(colours, len(field.bands))
        self.projector = mlp(features, features, dim)
        self.step, self.move = self.patch + self.patch // 2, max(1, self.patch // 14)
        span = (GRID - 1) * self.step + self.patch + 2 * self.move
        view = View(scale=(crop, 1.0))
        self.views = (
            View.geometric(scale=(crop, 1.0), flip=False, transpose=False),  # else no turn can be named
            View.geometric(size=span, scale=(crop, 1.0), ratio=(1.0, 1.0)),
            View.geometric(scale=(crop, 1.0)),
            view,
            view,
        )

    def before_epoch(self, epoch, data, tools):
        if epoch == 0:
            x = some_images(data, self.encoder, tools.generator)
            self.bins.find(x - grey(x), 0.5, tools.generator)

    def prepare(self, batch, draws):
        upright, whole, coloured, x1, x2 = random_views(batch["image"], self.views, self.encoder, draws)
        if self.harmonise:
            upright, whole, x1, x2 = (grey(x) for x in (upright, whole, x1, x2))
        turn = draws.integers(4)
        turns = torch.stack([torch.rot90(upright, y, (2, 3)) for y in range(4)], dim=1)
        moved = draws.integers(2 * self.move + 1, GRID**2, 2)
        patches = cut(whole, grid_corners(GRID, self.step, whole.device) + moved, self.patch)
        return {
            "turned": turns[torch.arange(len(turn), device=turn.device), turn],
            "turn": turn,
            "patches": standardise(patches),
            "coloured": coloured,
            "views": torch.stack([x1, x2]),
        }

    def rotation_loss(self, h: Tensor, turn: Tensor) -> Tensor:
        return F.cross_entropy(full(self.rotation(h)), turn)

    def position_loss(self, patches: Tensor) -> Tensor:
        first, second, y = self.pairs
        h = self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        logits = self.position(torch.cat([h[:, first], h[:, second]], dim=2).flatten(0, 1))
        return F.cross_entropy(full(logits), y.repeat(len(patches)))

    def colour_loss(self, places: Tensor, x: Tensor) -> Tensor:
        """places: (B, S, D) features of the grey images. x: (B, C, H, W) the coloured ones."""
        side = math.isqrt(places.shape[1])
        logits = self.painter(places.transpose(1, 2).unflatten(2, (side, side))).permute(0, 2, 3, 1)
        colours = F.adaptive_avg_pool2d(x - grey(x), logits.shape[1:3]).permute(0, 2, 3, 1)
        return colour_loss(logits, *self.bins.encode(colours, nearest=5), self.bins.w)

    def contrast_loss(self, h: Tensor) -> Tensor:
        z1, z2 = self.projector(h).chunk(2)
        return nt_xent(gather(z1), gather(z2), self.temperature)

    def forward(self, batch, turn="all"):
        position = self.position_loss(batch["patches"])
        # One pass for the other three, so that batch normalisation knows all kinds of images that it meets.
        n, views = len(batch["turn"]), batch["views"].flatten(0, 1)
        h, places = features_and_map(self.encoder, torch.cat([batch["turned"], grey(batch["coloured"]), views]), -1)
        rotation = self.rotation_loss(h[:n], batch["turn"])
        colour = self.colour_loss(places[n : 2 * n], batch["coloured"])
        losses = torch.stack([rotation, position, colour, self.contrast_loss(h[2 * n :])])  # as in TASKS
        weights = torch.exp(-self.log_variance.detach())
        metrics = dict(zip(TASKS, losses.detach())) | {f"{task}_weight": w for task, w in zip(TASKS, weights)}
        return Output(weighed(losses, self.log_variance), metrics, embedding=h[2 * n :])
