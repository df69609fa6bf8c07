r"""data2vec: predicting what the upper layers of a teacher, which sees everything, make of hidden patches.

Alexei Baevski, Wei-Ning Hsu, Qiantong Xu, Arun Babu, Jiatao Gu, Michael Auli. "data2vec: A General Framework for
Self-supervised Learning in Speech, Vision and Language." ICML 2022. arXiv 2202.03555.

**Idea.** One recipe for pictures, speech and text, of which this file is that for pictures: the student sees an image
with most patches hidden and predicts, at the hidden places, features that a slow copy of itself makes of the whole
image. The targets are means over the copy's upper blocks and so know their surroundings, unlike pixels or words.

**Objective.** With the outputs $a^l$ of the teacher's $L$ blocks at a hidden patch, normalised without gain to
$\hat a^l$, and the student's prediction $f$ (section 3.3):

$$y = \frac{1}{K} \sum_{l=L-K+1}^{L} \hat a^l, \qquad \mathcal{L}(y, f) =
\begin{cases} (y - f)^2 / 2 \beta & |y - f| \le \beta \\ |y - f| - \beta / 2 & \text{else} \end{cases}$$

the mean over features, hidden patches and images. The authors' code for pictures averages the blocks first and
normalises the mean (`normalise="mean"`); by default each block is normalised, as in the paper. Answering zero always
gives about $1 / 2 \beta$ or less, since the targets' variance is at most 1.

**Defaults.** 60 % of the patches are hidden, in blocks as in BEiT of at least 16 of 196; $\beta = 2$, the $K = 6$ upper
blocks (section 4.1), crops, flips and quarter turns, and colour of strength 0.4; student and teacher see the same
picture. The teacher's momentum is 0.9998 for 800 epochs in the paper, 0.996 here. (The code's configuration leaves 75
of 196 patches hidden, and lets the momentum rise from 0.999.)

**Left out, or different.** Relative positions, layer scale and drop path of the paper's ViT. The momentum stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision
from refimpl.parts.rectangles import block_masks
from refimpl.parts.teacher import Teacher
from refimpl.parts.tokens import embed_tokens, plain_vit, transform


@torch.no_grad()
@full_precision
def mean_of_blocks(outputs: Tensor, normalise: str = "each") -> Tensor:
    """(K, B, N, D) outputs of K blocks -> (B, N, D) targets. normalise: "each" block, or the "mean"."""
    width = outputs.shape[-1:]
    if normalise == "each":
        return F.layer_norm(outputs, width).mean(0)
    return F.layer_norm(outputs.mean(0), width)


@full_precision
def regression_loss(prediction: Tensor, target: Tensor, hidden: Tensor, beta: float = 2.0) -> Tensor:
    """Smooth L1, the mean over features, then over an image's hidden patches, then over images.

    prediction, target: (B, N, D). hidden: (B, N) bool. beta: where the error turns from square to straight.
    """
    error = F.smooth_l1_loss(prediction, target, reduction="none", beta=beta).mean(2)
    return ((error * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()


class Data2Vec(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.05, clip=3.0)
    presets = {
        "paper": {  # section 4.1; rates of the authors' configuration
            "backbone": "vit_base_patch16_224", "epochs": 800, "batch": 2048, "lr": 2.5e-4, "warmup": 0.05,
            "momentum": 0.9998,
        },
    }  # fmt: skip
    smoke = {"top": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 20, "batch": 32, "lr": 4e-3, "momentum": 0.98,
        "top": 2, "crop": 0.3, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        mask_ratio: float = 0.6,
        top: int = 6,
        beta: float = 2.0,
        normalise: str = "each",
        momentum: float = 0.996,
        crop: float = 0.2,
    ):
        """top: K, how many of the teacher's upper blocks make the target (all of a network that has fewer)."""
        super().__init__(inputs, backbone)
        vit = plain_vit(self.encoder)
        if normalise not in ("each", "mean"):
            raise ValueError(f'normalise is "each" or "mean", not {normalise!r}')
        self.mask_ratio, self.top, self.beta = mask_ratio, top, beta
        self.normalise, self.momentum = normalise, momentum
        self.view = View(scale=(crop, 1.0), colour=1.0, grey=0.0, blur=0.0)
        self.grid = vit.patch_embed.grid_size[0]
        width = self.encoder.width
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.head = nn.Linear(width, width)
        self.teacher = Teacher(self.encoder)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        patches = self.grid**2
        wanted = torch.full((len(x),), round(self.mask_ratio * patches), device=x.device)
        return {"x": x, "hidden": block_masks(draws, self.grid, wanted, max(1, round(patches * 16 / 196)))}

    @torch.no_grad()
    def targets(self, x: Tensor) -> Tensor:
        """(B, N, width): the mean of the teacher's upper blocks, at every patch of the whole image."""
        vit = self.teacher.networks[0].net
        tokens, outputs = embed_tokens(vit, x), []
        for block in vit.blocks:
            tokens = block(tokens)
            outputs.append(tokens[:, vit.num_prefix_tokens :])
        return mean_of_blocks(torch.stack(outputs[-self.top :]), self.normalise)

    def forward(self, batch, turn="all"):
        x, hidden = batch["x"], batch["hidden"]
        vit = self.encoder.net
        patches = transform(vit, embed_tokens(vit, x, hidden, self.mask_token))[:, vit.num_prefix_tokens :]
        loss = regression_loss(self.head(patches), self.targets(x), hidden, self.beta)
        return Output(loss, embedding=patches.mean(1))

    def after_step(self, progress):
        self.teacher.follow(self.momentum, self.encoder)
