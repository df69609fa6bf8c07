r"""MoCo v3: contrast without a queue, for vision transformers, with a first layer that never learns.

Xinlei Chen, Saining Xie, Kaiming He. "An Empirical Study of Training Self-Supervised Vision Transformers." ICCV 2021.
arXiv 2104.02057.

**Idea.** With a large batch MoCo's queue is superfluous: the keys of the other images are negatives enough, and either
view may be the query. Transformers trained so fail now and then without a sign in the loss, and it begins in the layer
that turns patches into tokens; left at its random start, that layer does no harm and costs no accuracy.

**Objective.** With the query $q$ of one view and the keys $k$ of the other view of all images, all of unit length
(Eq. 1 and Algorithm 1):

$$\mathrm{ctr}(q, k) = -2 \tau \log \frac{\exp(q \cdot k_+ / \tau)}{\exp(q \cdot k_+ / \tau) + \sum_{k_-}
\exp(q \cdot k_- / \tau)}, \qquad \mathcal{L} = \mathrm{ctr}(q_1, k_2) + \mathrm{ctr}(q_2, k_1)$$

The factor $2 \tau$ takes $\tau$ out of the size of the gradient. Queries come from backbone, projector and predictor;
keys from a copy of the first two, which follows as a moving average. With unrelated keys of $N$ images the loss is
about $4 \tau \ln N$.

**Defaults.** $\tau = 0.2$, momentum 0.99 rising to 1 on a half cosine, AdamW with weight decay 0.1 (the authors'
commands for transformers); a projector of three and a predictor of two layers, every one with batch normalisation, of
widths 4096 and 256 in the paper (section 4.1), 512 and 128 here; positions are sines and cosines; the frozen layer is
Xavier-uniform, as in the authors' code. One view is always blurred, the other seldom (BYOL's recipe). `freeze=False`
trains the first layer; a network that is no plain transformer has none to freeze and trains as the paper's ResNet-50
does (for which the authors have a shallower head).

**Left out, or different.** Hue and solarisation. Features are the mean of the patch tokens, where the paper takes the
class token. The other layers begin as timm's do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather, rank
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision
from refimpl.parts.teacher import Teacher, rising_momentum
from refimpl.parts.tokens import fix_positions


@full_precision
def contrast(queries: Tensor, keys: Tensor, temperature: float, first: int = 0) -> Tensor:
    """ctr of Algorithm 1, the mean over queries.

    Args:
        queries: (B, D). keys: (N, D), of which row `first` + i belongs to query i; the others are its negatives.
    Returns:
        scalar. No gradient goes into keys.
    """
    q, k = F.normalize(queries, dim=1), F.normalize(keys.detach(), dim=1)
    own = first + torch.arange(len(q), device=q.device)
    return 2 * temperature * F.cross_entropy(q @ k.T / temperature, own)


def freeze_patches(vit: nn.Module) -> None:
    """The layer that turns patches into tokens: a random projection for good (section 4.3)."""
    projection = vit.patch_embed.proj
    nn.init.xavier_uniform_(projection.weight.data.flatten(1))  # a view of the weights: (D, C * patch * patch)
    nn.init.zeros_(projection.bias)
    vit.patch_embed.requires_grad_(False)


class MoCoV3(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    couples_samples = True
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.1)
    presets = {
        "paper": {  # section 4.1 and the authors' commands for transformers
            "backbone": "vit_small_patch16_224", "epochs": 300, "batch": 4096, "lr": 1.5e-4, "warmup": 0.133,
            "hidden": 4096, "dim": 256, "crop": 0.08,
        },
    }  # fmt: skip
    smoke = {"hidden": 32, "dim": 16}
    proof = {"samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 8, "batch": 64, "lr": 4e-3, "margin": 5.0}

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.2,
        momentum: float = 0.99,
        freeze: bool = True,
        crop: float = 0.2,
    ):
        """freeze: whether the layer that makes the patches stays random."""
        super().__init__(inputs, backbone)
        self.temperature, self.momentum = temperature, momentum
        self.views = [View(scale=(crop, 1.0), blur=blur) for blur in (1.0, 0.1)]
        if getattr(self.encoder, "is_vit", False):
            fix_positions(self.encoder.net)
            if freeze:
                freeze_patches(self.encoder.net)
        self.projector = mlp(self.encoder.width, hidden, hidden, dim, last_norm=True)
        self.predictor = mlp(dim, hidden, dim, last_norm=True)
        self.teacher = Teacher(self.encoder, self.projector)

    def prepare(self, batch, draws):
        return {"x": torch.cat(random_views(batch["image"], self.views, self.encoder, draws))}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        q1, q2 = self.predictor(self.projector(h)).chunk(2)
        k1, k2 = self.teacher(batch["x"]).chunk(2)
        first = rank() * len(q1)  # keys come from all processes; where this one's begin
        loss = sum(contrast(q, gather(k), self.temperature, first) for q, k in ((q1, k2), (q2, k1)))
        return Output(loss, embedding=h)

    def after_step(self, progress):
        self.teacher.follow(rising_momentum(self.momentum, progress.fraction), self.encoder, self.projector)
