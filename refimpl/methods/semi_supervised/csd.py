r"""CSD: a detector that must find the same things in an image and in its mirror image.

Jisoo Jeong, Seungeui Lee, Jeesoo Kim, Nojun Kwak. "Consistency-based Semi-supervised Learning for Object Detection."
NeurIPS 2019.

**Idea.** Mirror an image, and what a detector says of every cell of its maps must be mirrored too: the same class, the
same box with its shift to the side reversed. That needs no labels, so images without them help. Nearly every cell is
background and agrees anyway; such cells are left out, or they would drown the rest.

**Objective.** With the class probabilities $p^k$ and boxes $(\Delta cx, \Delta cy, w, h)^k$ of cell $k$, those of the
mirrored cell of the mirror image with a hat, and $m^k = 1$ where $\operatorname{argmax} p^k$ is not background
(section 3: consistency for classification, for localisation, and background elimination):

$$\mathcal{L}_{con} = \frac{1}{\sum m^k} \sum_k m^k \left[ \mathrm{JS}(p^k, \hat p^k) + \tfrac{1}{4} \left(
(\Delta cx^k + \Delta \hat{cx}^k)^2 + (\Delta cy^k - \Delta \hat{cy}^k)^2 + (w^k - \hat w^k)^2 + (h^k - \hat h^k)^2
\right) \right], \qquad \mathcal{L} = \mathcal{L}_c + \mathcal{L}_l + w(t) \, \mathcal{L}_{con}$$

on all images, with the usual losses of class and box, $\mathcal{L}_c$ and $\mathcal{L}_l$, on those with labels. For
JS, the Jensen-Shannon divergence, the authors' code has the mean of the two Kullback-Leibler divergences, each with a
target that gets no gradient: `as_coded=True`.

**Defaults.** $w(t)$ rises over the first 27 % of a run as $e^{-5 (1 - t)^2}$ and falls over the last 17 % as
$e^{-12.5 t^2}$ (the authors' code: 32,000 and 20,000 of 120,000 steps). As in SSD, a 3 x 3 convolution reads each of
the last `maps` feature maps. `labels` images keep their labels, chosen once by `choice`.

**Left out, or different.** There are no boxes in land cover, so they are made of it: the class of a cell is its
commonest cover, its box is what that class fills of a window twice as large, and the commonest cover of all counts as
background. One box for each cell, not six; background cells are weighed as others, not mined. Images are turned any
way and coloured, not cropped. The two-stage detector of the paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import mean_over_processes
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.labelled import Few
from refimpl.parts.landcover import commonest_cover, turned
from refimpl.parts.maps import map_width
from refimpl.parts.precision import full, full_precision


@full_precision
def disagreement(ours: Tensor, mirrored: Tensor, as_coded: bool = False) -> tuple[Tensor, Tensor]:
    """Of each cell: divergence of classes (B, S), and mean squared difference of boxes (B, S).

    ours, mirrored: (B, S, K + 4) logits of K classes, then the box; `mirrored` has the cells put back in place already.
    """
    log_p, log_q = (F.log_softmax(x[:, :, :-4], dim=2) for x in (ours, mirrored))

    def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
        return (log_a.exp() * (log_a - log_b)).sum(2)

    if as_coded:
        classes = (kl(log_p.detach(), log_q) + kl(log_q.detach(), log_p)) / 2
    else:
        log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
        classes = (kl(log_p, log_mean) + kl(log_q, log_mean)) / 2
    side = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=ours.device)  # a shift to the right becomes one to the left
    return classes, (ours[:, :, -4:] - side * mirrored[:, :, -4:]).square().mean(2)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of `values` where `chosen` (bool, same shape), over all processes; 0 where nothing is."""
    count = mean_over_processes(chosen.to(values.dtype).sum())  # of a process, on average
    return (values * chosen).sum() / count.clamp(min=1e-6)


def cells(cover: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Land cover (B, H, H) -> class (B, grid * grid) and box (B, grid * grid, 4) of each cell, row by row.

    A box is (shift of its centre to the right and down, logarithm of width and height), in sides of the window, which
    is twice as large as the cell and around it.
    """
    side = 2 * max(1, round(cover.shape[1] / grid / 2))  # of a cell in pixels: even
    cover = F.interpolate(cover[:, None].float(), (grid * side, grid * side), mode="nearest")
    window = F.pad(cover, [side // 2] * 4, value=-1.0)[:, 0].unfold(1, 2 * side, side).unfold(2, 2 * side, side)
    inner = slice(side // 2, side // 2 + side)
    kind = window[..., inner, inner].flatten(3).mode(3).values  # (B, grid, grid)
    inside = window == kind[..., None, None]

    def extent(seen: Tensor) -> tuple[Tensor, Tensor]:  # (..., 2 * side) bool, whether the class is there
        first, after = seen.float().argmax(3), 2 * side - seen.flip(3).float().argmax(3)
        return (first + after) / (4 * side) - 0.5, ((after - first) / (2 * side)).log()

    (cx, w), (cy, h) = extent(inside.any(3)), extent(inside.any(4))
    return kind.long().flatten(1), torch.stack([cx, cy, w, h], 3).flatten(1, 2)


def schedule(fraction: float, up: float = 0.267, down: float = 0.167) -> float:
    """w(t), for the fraction of a run that is done."""
    rising = math.exp(-5 * max(0.0, 1 - fraction / up) ** 2)
    return rising * math.exp(-12.5 * max(0.0, 1 - (1 - fraction) / down) ** 2)


class CSD(Method):
    needs = ("image", "landcover")
    backbone = "resnet18"
    couples_samples = True  # through the number of cells that are not background
    recipe = Recipe(epochs=40, batch=64, lr=2e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' code for SSD300: 120,000 steps of 32 images, rate 1e-3
            "backbone": "vgg16", "epochs": 230, "batch": 16, "optimiser": "sgd", "lr": 0.016, "weight_decay": 5e-4,
        },
    }  # fmt: skip
    smoke = {"batch": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 12, "batch": 32, "lr": 8e-3, "labels": 100,
        "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        classes: int = 11,
        background: int = 0,
        labels: int = 100,
        choice: int = 0,
        maps: int = 3,
        weight: float = 1.0,
        as_coded: bool = False,
    ):
        """labels: images with land cover. maps: last feature maps that are read. weight: of the consistency."""
        super().__init__(inputs, backbone)
        self.background, self.weight, self.as_coded = background, weight, as_coded
        self.labelled = Few(labels, choice)
        self.stages = list(range(-maps, 0))
        self.heads = nn.ModuleList(
            nn.Conv2d(map_width(self.encoder, stage), classes + 4, 3, padding=1) for stage in self.stages
        )
        self.view = View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False, blur=0.0)
        self.register_buffer("now", torch.zeros(()))  # w(t)

    @classmethod
    def settings_for(cls, data):
        classes, background = commonest_cover(data)
        return {"classes": classes, "background": background}

    def draw(self, data, index, draws):
        # Each sample of the batch brings itself as unlabelled and one labelled image.
        labelled = self.labelled.of(data).to(index)
        known = labelled[draws.integers(len(labelled)).to(index.device)]
        images = {"image": data.take("image", known), "unlabelled": data.take("image", index)}
        return {**images, "landcover": data.take("landcover", known)}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        (u,) = random_views(batch["unlabelled"], [self.view], self.encoder, draws)
        way, other = draws.integers(8), draws.integers(8)
        cover = turned(batch["landcover"].long(), way)
        return {"x": torch.cat([turned(x, way), turned(u, other)]), "cover": cover}

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """(B, C, H, W) -> features (B, width); (B, S, K + 4) of its cells, and of its mirror image's; map sizes."""
        last, maps = self.encoder.net.forward_intermediates(torch.cat([x, x.flip(-1)]), indices=self.stages)
        ours, mirrored = zip(*(head(m).chunk(2) for head, m in zip(self.heads, maps, strict=True)))
        ours, mirrored = (
            torch.cat([m.flatten(2) for m in part], 2).transpose(1, 2)
            for part in (ours, [m.flip(-1) for m in mirrored])
        )
        return self.encoder.pool(last)[: len(x)], ours, mirrored, [m.shape[-1] for m in maps]

    def forward(self, batch, turn="all"):
        n = len(batch["cover"])
        h, ours, mirrored, grids = self.detect(batch["x"])
        kind, box = (torch.cat(part, 1) for part in zip(*(cells(batch["cover"], grid) for grid in grids)))
        found = full(ours[:n])
        class_loss = F.cross_entropy(found[:, :, :-4].flatten(0, 1), kind.flatten())
        box_errors = F.smooth_l1_loss(found[:, :, -4:], box.to(found), reduction="none").sum(2)
        box_loss = mean_where(box_errors, kind != self.background)

        classes, boxes = disagreement(ours, mirrored, self.as_coded)
        thing = ours[:, :, :-4].argmax(2) != self.background
        consistency = mean_where(classes + boxes, thing)
        metrics = {"class": class_loss, "box": box_loss, "consistency": consistency, "things": thing.float().mean()}
        return Output(class_loss + box_loss + self.weight * self.now * consistency, metrics, embedding=h)

    def after_step(self, progress):
        self.now.fill_(schedule(progress.fraction))
