r"""DINO: emerging properties in self-supervised vision transformers.

Mathilde Caron, Hugo Touvron, Ishan Misra, Hervé Jégou, Julien Mairal, Piotr Bojanowski, Armand Joulin. "Emerging
Properties in Self-Supervised Vision Transformers." ICCV 2021. arXiv 2104.14294.

**Idea.** Self-distillation without labels: a student, who sees small crops too, matches the output distribution of a
teacher, a moving average of itself, who sees only large ones. The teacher's outputs are centred (so that no unit wins
always) and sharpened (so that not all units are equal): the two pull against each other and neither collapse happens.

**Objective.** With $P(x) = \mathrm{softmax}(g(x) / \tau)$, a centre $c$ for the teacher and views $x$ (large only) and
$x'$ (all) of an image (Eq. 1 to 3):

$$\mathcal{L} = \frac{1}{\#} \sum_{x} \sum_{x' \neq x} -P_t(x) \cdot \log P_s(x'), \qquad
P_t(x) = \mathrm{softmax}\left(\frac{g_t(x) - c}{\tau_t}\right)$$

The centre follows the mean of the teacher's outputs, $c \leftarrow m c + (1 - m) \frac{1}{B} \sum_i g_t(x_i)$ (Eq. 4).
With uniform outputs the loss is $\ln K$.

**Defaults.** $\tau_s = 0.1$, $\tau_t$ from 0.04 to 0.07 over the first tenth of the run (the paper: 30 of its epochs),
$m = 0.9$, teacher momentum 0.996 to 1, last layer of the student frozen in the first epoch, weight decay 0.04 to 0.4,
head of three layers with a bottleneck of unit vectors and a weight-normalised last layer (section 3.1, appendix C and
the authors' code). 65,536 outputs in the paper, 1,024 here; `crops` small views.

**Left out, or different.** Hue and solarisation; drop path. The last layer's rows are always of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import mean_over_processes
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.distillation import LARGE, Head, distillation_loss
from refimpl.parts.precision import full
from refimpl.parts.teacher import Teacher, rising_momentum


class DINO(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4, clip=3.0)
    presets = {
        "paper": {  # appendix C
            "backbone": "vit_small_patch16_224", "epochs": 800, "batch": 1024, "lr": 5e-4, "warmup": 0.0125,
            "outputs": 65536, "hidden": 2048, "bottleneck": 256, "crops": 10,
        },
    }  # fmt: skip
    smoke = {"outputs": 32, "hidden": 32, "bottleneck": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 20, "batch": 64, "lr": 2e-3, "crops": 2,
        "outputs": 256, "momentum": 0.98, "margin": 3.0,
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
        tau_s: float = 0.1,
        tau_t: float = 0.07,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        freeze: int = 1,
    ):
        """freeze: epochs during which the student's last layer stays."""
        super().__init__(inputs, backbone)
        self.tau_s, self.tau_t, self.momentum = tau_s, tau_t, momentum
        self.centre_momentum, self.freeze = centre_momentum, freeze
        size = self.encoder.input.size
        large, small = View(scale=(0.4, 1.0)), View(size=max(8, size // 2), scale=(0.05, 0.4))
        self.views = [large] * LARGE + [small] * crops
        self.head = Head(self.encoder.width, hidden, bottleneck, outputs)
        self.teacher = Teacher(self.encoder, self.head)
        self.register_buffer("centre", torch.zeros(outputs))
        self.register_buffer("warm", torch.tensor(0.04))  # the teacher's temperature now
        self.fresh: list[Tensor] = []  # mean outputs of the teacher on this step's batches

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        prepared = {"large": torch.cat(views[:LARGE])}
        return {**prepared, "small": torch.cat(views[LARGE:])} if len(views) > LARGE else prepared

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["large"])  # one pass for each size
        features = [h, self.encoder(batch["small"])] if "small" in batch else [h]
        student = self.head(torch.cat(features)).unflatten(0, (len(self.views), -1))
        teacher = self.teacher(batch["large"]).unflatten(0, (LARGE, -1))
        self.fresh.append(mean_over_processes(full(teacher).mean((0, 1))))
        loss = distillation_loss(student, teacher, self.centre, self.tau_s, self.warm)
        return Output(loss, embedding=h)

    def before_update(self, turn, progress):
        if progress.epoch < self.freeze:
            self.head.last.grad = None

    def after_step(self, progress):
        self.teacher.follow(rising_momentum(self.momentum, progress.fraction), self.encoder, self.head)
        self.centre.lerp_(torch.stack(self.fresh).mean(0).to(self.centre), 1 - self.centre_momentum)
        self.fresh.clear()
        self.warm.fill_(0.04 + (self.tau_t - 0.04) * min(1.0, progress.fraction / 0.1))
