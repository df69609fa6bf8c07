r"""EsViT: self-distillation of whole views and of their regions, for transformers with several stages.

Chunyuan Li, Jianwei Yang, Pengchuan Zhang, Mei Gao, Bin Xiao, Xiyang Dai, Lu Yuan, Jianfeng Gao. "Efficient
Self-supervised Vision Transformers for Representation Learning." ICLR 2022. arXiv 2106.09785.

**Idea.** Transformers with several stages, such as Swin, are cheaper than plain ones, but trained as DINO does their
regions no longer find their counterparts in another view. So ask for it: each region of the student's view takes the
most similar of all regions of the teacher's view as its own, and gives the same distribution as the teacher there.

**Objective.** With DINO's outputs $P_s$, $P_t$ (centred, sharpened), pairs of different views, the $T$ regions of the
student's view with features $z_i$ and outputs $p_i$, and those of the teacher's view, $z'_j$ and $p'_j$ (section 3.2):

$$\mathcal{L}_V = -P_t \cdot \log P_s, \qquad
\mathcal{L}_R = -\frac{1}{T} \sum_{i=1}^{T} p'_{j^*} \cdot \log p_i, \quad
j^* = \operatorname{argmax}_j \frac{z_i \cdot z'_j}{\lVert z_i \rVert \lVert z'_j \rVert}, \qquad
\mathcal{L} = \mathcal{L}_V + \mathcal{L}_R$$

The authors' code takes half of each, which is what is trained here; `as_printed` takes the sum. Features are compared
as they leave the backbone, before any head; small views take part with fewer regions. With uniform outputs either loss
is $\ln K$.

**Defaults.** Those of DINO, with a head and a centre of its own for regions: $\tau_s = 0.1$, $\tau_t$ from 0.04 to 0.07
over the first tenth of a run, centres of momentum 0.9, teacher momentum 0.996 to 1, weight decay 0.04 to 0.4, last
layers frozen in the first epoch (the authors' commands). 65,536 outputs in the paper, 1,024 here. The paper's regions
are those of the last stage, 7 x 7 of 224 pixels; of the small images here that stage has few, so by default they are
those of the `stage` before the last. Any network with feature maps will do, as the paper shows for a ResNet-50.

**Left out, or different.** Hue and solarisation; drop path. Swin reads one size only, so its small views have the size
of the large ones. The last layer's rows are always of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import mean_over_processes
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.distillation import LARGE, Head, distillation_loss
from refimpl.parts.maps import features_and_map, map_width
from refimpl.parts.precision import full, full_precision
from refimpl.parts.teacher import Teacher, rising_momentum


@torch.no_grad()
@full_precision
def best_match(ours: Tensor, theirs: Tensor) -> Tensor:
    """j*: (B, T) for each of our regions (B, T, D) the most similar of theirs (B, T', D)."""
    return (F.normalize(ours, dim=2) @ F.normalize(theirs, dim=2).transpose(1, 2)).argmax(2)


@full_precision
def region_loss(
    student: Tensor, teacher: Tensor, match: Tensor, centre: Tensor, tau_s: float, tau_t: float | Tensor
) -> Tensor:
    """L_R of one pair of views, the mean over images and regions.

    Args:
        student: (B, T, K) outputs. teacher: (B, T', K). match: (B, T) which of the teacher's regions. centre: (K,).
    Returns:
        scalar. No gradient goes into teacher and centre.
    """
    p = F.softmax((teacher.detach() - centre) / tau_t, dim=2)
    p = p.gather(1, match[:, :, None].expand(-1, -1, p.shape[2]))
    return -(p * F.log_softmax(student / tau_s, dim=2)).sum(2).mean()


class EsViT(Method):
    needs = ("image",)
    backbone = "swin_tiny_patch4_window7_224"
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4, clip=3.0)
    presets = {
        "paper": {  # section 4.1 and the authors' commands
            "epochs": 300, "batch": 512, "lr": 5e-4, "warmup": 0.033, "outputs": 65536, "hidden": 2048,
            "bottleneck": 256, "crops": 8, "stage": -1,
        },
    }  # fmt: skip
    smoke = {"backbone": "resnet10t", "outputs": 32, "hidden": 32, "bottleneck": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 4e-3, "crops": 2,
        "stage": -3, "outputs": 64, "hidden": 128, "bottleneck": 64, "momentum": 0.98, "margin": 4.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        outputs: int = 1024,
        hidden: int = 512,
        bottleneck: int = 128,
        crops: int = 4,
        stage: int = -2,
        tau_s: float = 0.1,
        tau_t: float = 0.07,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        freeze: int = 1,
        as_printed: bool = False,
    ):
        """stage: whose map has the regions, -1 for the last. freeze: epochs during which the last layers stay."""
        super().__init__(inputs, backbone)
        places = map_width(self.encoder, stage)
        self.stage, self.tau_s, self.tau_t, self.momentum = stage, tau_s, tau_t, momentum
        self.centre_momentum, self.freeze, self.scale = centre_momentum, freeze, 1.0 if as_printed else 0.5
        size, patches = self.encoder.input.size, getattr(self.encoder.net, "patch_embed", None)
        small = size if getattr(patches, "strict_img_size", False) else max(8, size // 2)
        self.views = [View(scale=(0.4, 1.0))] * LARGE + [View(size=small, scale=(0.05, 0.4))] * crops
        self.head = Head(self.encoder.width, hidden, bottleneck, outputs)
        self.region_head = Head(places, hidden, bottleneck, outputs)
        self.teacher = Teacher(self.encoder, self.head, self.region_head)
        self.register_buffer("centre", torch.zeros(2, outputs))  # of views, of regions
        self.register_buffer("warm", torch.tensor(0.04))  # the teacher's temperature now
        self.fresh: list[Tensor] = []  # mean outputs of the teacher on this step's batches, (2, K)

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        prepared = {"large": torch.cat(views[:LARGE])}
        return {**prepared, "small": torch.cat(views[LARGE:])} if len(views) > LARGE else prepared

    def outputs(self, networks, x: Tensor, views: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(views * B, C, H, W) -> features; outputs (views, B, K); regions (views, B, T, D) and their outputs."""
        encoder, head, region_head = networks
        h, regions = features_and_map(encoder, x, self.stage)
        return h, *(z.unflatten(0, (views, -1)) for z in (head(h), regions, region_head(regions)))

    def forward(self, batch, turn="all"):
        networks = self.encoder, self.head, self.region_head
        sizes = {"large": LARGE, "small": len(self.views) - LARGE}
        seen = [self.outputs(networks, batch[name], count) for name, count in sizes.items() if count]
        # One entry for each view, since small views have fewer regions.
        views, regions, answers = ([view for part in seen for view in part[kind]] for kind in (1, 2, 3))
        with torch.no_grad():
            _, t_views, t_regions, t_answers = self.outputs(self.teacher.networks, batch["large"], LARGE)
        means = torch.stack([full(t_views).mean((0, 1)), full(t_answers).mean((0, 1, 2))])
        self.fresh.append(mean_over_processes(means))

        view_centre, region_centre = self.centre
        whole = distillation_loss(torch.stack(views), t_views, view_centre, self.tau_s, self.warm)
        pairs = [(i, j) for i in range(LARGE) for j in range(len(views)) if i != j]
        matches = [best_match(regions[j], t_regions[i]) for i, j in pairs]
        losses = [
            region_loss(answers[j], t_answers[i], match, region_centre, self.tau_s, self.warm)
            for (i, j), match in zip(pairs, matches, strict=True)
        ]
        part = torch.stack(losses).mean()
        return Output(self.scale * (whole + part), {"views": whole, "regions": part}, embedding=seen[0][0])

    def before_update(self, turn, progress):
        if progress.epoch < self.freeze:
            self.head.last.grad = self.region_head.last.grad = None

    def after_step(self, progress):
        momentum = rising_momentum(self.momentum, progress.fraction)
        self.teacher.follow(momentum, self.encoder, self.head, self.region_head)
        self.centre.lerp_(torch.stack(self.fresh).mean(0).to(self.centre), 1 - self.centre_momentum)
        self.fresh.clear()
        self.warm.fill_(0.04 + (self.tau_t - 0.04) * min(1.0, progress.fraction / 0.1))
