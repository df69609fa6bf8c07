r"""DINOv2: DINO and iBOT together, made to scale: two heads, balanced targets, and features spread apart.

Maxime Oquab, Timothée Darcet, Théo Moutakanni, Huy V. Vo, Marc Szafraniec, Vasil Khalidov, Pierre Fernandez, Daniel
Haziza, Francisco Massa, Alaaeldin El-Nouby, Mido Assran, Nicolas Ballas, Wojciech Galuba, Russell Howes, Po-Yao Huang,
Shang-Wen Li, Ishan Misra, Michael Rabbat, Vasu Sharma, Gabriel Synnaeve, Hu Xu, Hervé Jégou, Julien Mairal, Patrick
Labatut, Armand Joulin, Piotr Bojanowski. "DINOv2: Learning Robust Visual Features without Supervision." TMLR 2024.
arXiv 2304.07193.

**Idea.** The losses of DINO on class tokens and of iBOT on hidden patches, each with a head of its own, since sharing
one holds back the patches at scale. In place of a centre that follows slowly, Sinkhorn balances the teacher's outputs
within the batch, and a third term, KoLeo, pushes each feature away from its nearest neighbour.

**Objective.** With the teacher's balanced outputs $p_t$ and the student's $p_s = \mathrm{softmax}(g_s / \tau_s)$, masks
$m$, and the unit vectors $x_i$ of the class tokens of a large view, before the head (section 4):

$$\mathcal{L}_\mathrm{DINO} = -\sum p_t \log p_s, \qquad
\mathcal{L}_\mathrm{iBOT} = -\sum_i m_i \, p_{t,i} \log p_{s,i}, \qquad
\mathcal{L}_\mathrm{KoLeo} = -\frac{1}{n} \sum_{i=1}^{n} \log \min_{j \neq i} \lVert x_i - x_j \rVert$$

and $\mathcal{L} = \mathcal{L}_\mathrm{DINO} + \mathcal{L}_\mathrm{iBOT} + 0.1 \, \mathcal{L}_\mathrm{KoLeo}$: means
over pairs of different views, over the hidden patches of a view, and, of KoLeo, the sum over the two large views,
within each of which only different images meet. With uniform outputs the first is $\ln K$, the second $\ln K$ times the
share of views that are masked.

**Defaults.** $\tau_s = 0.1$, the teacher's temperature from 0.04 to 0.07, three iterations of Sinkhorn, masks on half
of the large views with 10 to 50 % hidden, large views of at least 32 % of the area, momentum 0.992 to 1 (section 4 and
the authors' configuration). There 65,536 outputs and eight small views, here 1,024 and four.

**Left out, or different.** The curated data, the distillation and the high resolution at the end; untied patch size,
drop path, layer scale, rates by layer. Sinkhorn of patches balances over all patches of the batch; in the authors' code
over the hidden ones. KoLeo compares the images of all processes, there those of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.distillation import LARGE, Head
from refimpl.parts.precision import full_precision
from refimpl.parts.rectangles import random_masks
from refimpl.parts.sinkhorn import sinkhorn
from refimpl.parts.teacher import Teacher, rising_momentum
from refimpl.parts.tokens import embed_tokens, plain_vit, transform


@full_precision
def view_loss(student: Tensor, targets: Tensor, tau_s: float) -> Tensor:
    """Cross entropy, the mean over images and pairs of different views.

    student: (V, B, K) outputs for every view. targets: (L, B, K) distributions for the first L of them.
    """
    log_p = F.log_softmax(student / tau_s, dim=2)
    pairs = [(i, j) for i in range(len(targets)) for j in range(len(log_p)) if i != j]
    return torch.stack([-(targets[i] * log_p[j]).sum(1).mean() for i, j in pairs]).mean()


@full_precision
def hidden_loss(student: Tensor, targets: Tensor, hidden: Tensor, tau_s: float) -> Tensor:
    """Cross entropy, the mean over a view's hidden patches, then over views; 0 for a view with none.

    student: (B, N, K) outputs. targets: (B, N, K) distributions. hidden: (B, N) bool.
    """
    errors = -(targets * F.log_softmax(student / tau_s, dim=2)).sum(2)
    return ((errors * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()


@full_precision
def koleo(features: Tensor, tiny: float = 1e-8) -> Tensor:
    """(n, D) features of n different images, of any length -> minus the mean log distance to the nearest other one."""
    x = F.normalize(features, dim=1)
    with torch.no_grad():
        alike = (x @ x.T).fill_diagonal_(-2.0)
    distance = (x - x[alike.argmax(1)] + tiny).norm(dim=1)
    return -(distance + tiny).log().mean()


class DINOv2(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    couples_samples = True
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4, clip=3.0)
    presets = {
        "paper": {  # the authors' configuration for ImageNet-1k, with Sinkhorn; its rate goes by the batch's root
            "backbone": "vit_large_patch16_224", "epochs": 100, "batch": 2048, "lr": 7e-4, "outputs": 65536,
            "hidden": 2048, "bottleneck": 256, "crops": 8,
        },
    }  # fmt: skip
    smoke = {"outputs": 32, "hidden": 32, "bottleneck": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 6, "batch": 64, "lr": 8e-3, "crops": 2,
        "outputs": 64, "hidden": 128, "bottleneck": 64, "momentum": 0.95, "margin": 3.0,
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
        koleo_weight: float = 0.1,
        tau_s: float = 0.1,
        tau_t: float = 0.07,
        momentum: float = 0.992,
        freeze: int = 1,
    ):
        """masked: share of large views with hidden patches; least, most: what share of their patches. crops: small
        views. freeze: epochs during which the last layers of the student's heads stay."""
        super().__init__(inputs, backbone)
        vit = plain_vit(self.encoder, class_token=True)
        self.shares, self.koleo_weight, self.freeze = (masked, least, most), koleo_weight, freeze
        self.tau_s, self.tau_t, self.momentum = tau_s, tau_t, momentum
        size, self.grid = self.encoder.input.size, vit.patch_embed.grid_size[0]
        large, small = View(scale=(0.32, 1.0)), View(size=max(8, size // 2), scale=(0.05, 0.32))
        self.views = [large] * LARGE + [small] * crops
        width = self.encoder.width
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.head, self.patch_head = (Head(width, hidden, bottleneck, outputs) for _ in range(2))
        self.teacher = Teacher(self.encoder, self.head, self.patch_head)
        self.register_buffer("warm", torch.tensor(0.04))  # the teacher's temperature now

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        masks = torch.cat([random_masks(draws, self.grid, *self.shares) for _ in range(LARGE)])
        prepared = {"large": torch.cat(views[:LARGE]), "hidden": masks}
        return {**prepared, "small": torch.cat(views[LARGE:])} if len(views) > LARGE else prepared

    @torch.no_grad()
    def targets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) and (B, N, K): the teacher's balanced distributions for class tokens and for all patches."""
        encoder, head, patch_head = self.teacher.networks
        tokens = encoder.map(x)
        patches = patch_head(tokens[:, encoder.net.num_prefix_tokens :])
        balanced = sinkhorn(patches.flatten(0, 1), self.warm).view_as(patches)
        return sinkhorn(head(tokens[:, 0]), self.warm), balanced

    def forward(self, batch, turn="all"):
        vit, hidden = self.encoder.net, batch["hidden"]
        tokens = transform(vit, embed_tokens(vit, batch["large"], hidden, self.mask_token))
        classes, patches = tokens[:, 0], tokens[:, vit.num_prefix_tokens :]
        features = [classes]
        if "small" in batch:
            features.append(transform(vit, embed_tokens(vit, batch["small"]))[:, 0])
        whole, parts = self.targets(batch["large"])
        student, whole = (z.unflatten(0, (-1, len(hidden) // LARGE)) for z in (self.head(torch.cat(features)), whole))
        terms = {
            "views": view_loss(student, whole, self.tau_s),
            "patches": hidden_loss(self.patch_head(patches), parts, hidden, self.tau_s),
            "koleo": sum(koleo(gather(view)) for view in classes.chunk(LARGE)),
        }
        loss = terms["views"] + terms["patches"] + self.koleo_weight * terms["koleo"]
        return Output(loss, terms, embedding=classes)

    def before_update(self, turn, progress):
        if progress.epoch < self.freeze:
            self.head.last.grad = self.patch_head.last.grad = None

    def after_step(self, progress):
        momentum = rising_momentum(self.momentum, progress.fraction)
        self.teacher.follow(momentum, self.encoder, self.head, self.patch_head)
        self.warm.fill_(0.04 + (self.tau_t - 0.04) * min(1.0, progress.fraction / 0.1))
