r"""iBOT: self-distillation of whole images and of hidden patches, with a teacher as the tokenizer.

Jinghao Zhou, Chen Wei, Huiyu Wang, Wei Shen, Cihang Xie, Alan Yuille, Tao Kong. "iBOT: Image BERT Pre-Training with
Online Tokenizer." ICLR 2022. arXiv 2111.07832.

**Idea.** DINO, and masked prediction that needs no tokenizer made beforehand: the student sees a view with blocks of
patches hidden and gives for each of them the distribution that the teacher, who sees all of the view, gives there. The
class tokens of different views are compared as in DINO; both share one head, so that patches learn what is meant.

**Objective.** With the views $u, v$, masks $m$, the masked $\hat u$ and DINO's outputs $P_s$ and $P_t$ (Eq. 2 and 3):

$$\mathcal{L}_\mathrm{MIM} = -\sum_{i=1}^{N} m_i \, P_t^\mathrm{patch}(u_i) \cdot \log P_s^\mathrm{patch}(\hat u_i),
\qquad \mathcal{L}_\mathrm{[CLS]} = -P_t^\mathrm{[CLS]}(v) \cdot \log P_s^\mathrm{[CLS]}(\hat u)$$

and $\mathcal{L} = \mathcal{L}_\mathrm{[CLS]} + \mathcal{L}_\mathrm{MIM}$, over both views. Where Eq. 2 sums over the
hidden patches, the authors' code takes their mean (and counts an image without hidden patches as 0), and so does this
file by default; `as_printed` takes the sum. With uniform outputs the loss of class tokens is $\ln K$, that of patches
$\ln K$ times the share of views that are masked.

**Defaults.** Those of DINO, and: a view is masked with probability 0.5, 10 to 50 % of it then (section 3.2 and 4.1,
"random MIM"); blocks as in BEiT, of at least a third of the grid's side squared; class and patch tokens have centres of
their own, of momentum 0.9 (appendix A). 8,192 outputs in the paper, 1,024 here.

**Left out, or different.** Hue and solarisation; drop path. The last layer's rows are always of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import mean_over_processes
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.distillation import LARGE, Head, distillation_loss
from refimpl.parts.precision import full, full_precision
from refimpl.parts.rectangles import random_masks
from refimpl.parts.teacher import Teacher, rising_momentum
from refimpl.parts.tokens import embed_tokens, plain_vit, transform


@full_precision
def patch_loss(
    student: Tensor, teacher: Tensor, hidden: Tensor, centre: Tensor, tau_s: float, tau_t: float | Tensor,
    as_printed: bool = False,
) -> Tensor:  # fmt: skip
    """Eq. 2, the mean over images (and views).

    Args:
        student, teacher: (B, N, K) outputs for each patch of the same view, masked and whole. centre: (K,).
        hidden: (B, N) bool, which patches the student did not see.
        as_printed: sum over the hidden patches of an image, not mean.
    Returns:
        scalar. No gradient goes into teacher and centre.
    """
    p = F.softmax((teacher.detach() - centre) / tau_t, dim=2)
    errors = (-(p * F.log_softmax(student / tau_s, dim=2)).sum(2) * hidden).sum(1)
    return (errors if as_printed else errors / hidden.sum(1).clamp(min=1)).mean()


class IBOT(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4, clip=3.0)
    presets = {
        "paper": {  # section 4.1, appendix A and B
            "backbone": "vit_small_patch16_224", "epochs": 800, "batch": 1024, "lr": 5e-4, "warmup": 0.0125,
            "outputs": 8192, "hidden": 2048, "bottleneck": 256, "crops": 10,
        },
    }  # fmt: skip
    smoke = {"outputs": 32, "hidden": 32, "bottleneck": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 6, "batch": 64, "lr": 8e-3, "crops": 2,
        "outputs": 64, "hidden": 128, "bottleneck": 64, "momentum": 0.95, "margin": 2.0,
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
        masked: float = 0.5,
        least: float = 0.1,
        most: float = 0.5,
        tau_s: float = 0.1,
        tau_t: float = 0.07,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        freeze: int = 1,
        as_printed: bool = False,
    ):
        """masked: share of views with hidden patches; least, most: what share of their patches. Else as in DINO."""
        super().__init__(inputs, backbone)
        vit = plain_vit(self.encoder, class_token=True)
        self.tau_s, self.tau_t, self.momentum, self.as_printed = tau_s, tau_t, momentum, as_printed
        self.centre_momentum, self.freeze = centre_momentum, freeze
        self.shares = masked, least, most
        size, self.grid = self.encoder.input.size, vit.patch_embed.grid_size[0]
        large, small = View(scale=(0.4, 1.0)), View(size=max(8, size // 2), scale=(0.05, 0.4))
        self.views = [large] * LARGE + [small] * crops
        self.mask_token = nn.Parameter(torch.zeros(self.encoder.width))
        self.head = Head(self.encoder.width, hidden, bottleneck, outputs)
        self.teacher = Teacher(self.encoder, self.head)
        self.register_buffer("centre", torch.zeros(2, outputs))  # of class tokens, of patch tokens
        self.register_buffer("warm", torch.tensor(0.04))  # the teacher's temperature now
        self.fresh: list[Tensor] = []  # mean outputs of the teacher on this step's batches, (2, K)

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        masks = torch.cat([random_masks(draws, self.grid, *self.shares) for _ in range(LARGE)])
        prepared = {"large": torch.cat(views[:LARGE]), "hidden": masks}
        return {**prepared, "small": torch.cat(views[LARGE:])} if len(views) > LARGE else prepared

    def outputs(self, encoder, head, x, hidden=None) -> tuple[Tensor, Tensor, Tensor]:
        """Class tokens (B, D), and what the head makes of them (B, K) and of the patch tokens (B, N, K)."""
        vit = encoder.net
        tokens = transform(vit, embed_tokens(vit, x, hidden, self.mask_token))
        return tokens[:, 0], head(tokens[:, 0]), head(tokens[:, vit.num_prefix_tokens :])

    def forward(self, batch, turn="all"):
        hidden = batch["hidden"]
        h, student, patches = self.outputs(self.encoder, self.head, batch["large"], hidden)
        if "small" in batch:
            crops = transform(self.encoder.net, embed_tokens(self.encoder.net, batch["small"]))[:, 0]
            student = torch.cat([student, self.head(crops)])
        with torch.no_grad():
            _, teacher, teacher_patches = self.outputs(*self.teacher.networks, batch["large"])
        means = torch.stack([full(teacher).mean(0), full(teacher_patches).mean((0, 1))])
        self.fresh.append(mean_over_processes(means))
        student, teacher = (z.unflatten(0, (-1, len(hidden) // LARGE)) for z in (student, teacher))
        whole = distillation_loss(student, teacher, self.centre[0], self.tau_s, self.warm)
        parts = (patches, teacher_patches, hidden, self.centre[1], self.tau_s, self.warm)
        part = patch_loss(*parts, as_printed=self.as_printed)
        return Output(whole + part, {"class_token": whole, "patches": part}, embedding=h)

    def before_update(self, turn, progress):
        if progress.epoch < self.freeze:
            self.head.last.grad = None

    def after_step(self, progress):
        self.teacher.follow(rising_momentum(self.momentum, progress.fraction), self.encoder, self.head)
        self.centre.lerp_(torch.stack(self.fresh).mean(0).to(self.centre), 1 - self.centre_momentum)
        self.fresh.clear()
        self.warm.fill_(0.04 + (self.tau_t - 0.04) * min(1.0, progress.fraction / 0.1))
