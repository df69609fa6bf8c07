r"""MSN: a masked view must be assigned to the prototypes of the unmasked one.

Mahmoud Assran, Mathilde Caron, Ishan Misra, Piotr Bojanowski, Florian Bordes, Pascal Vincent, Armand Joulin, Michael
Rabbat, Nicolas Ballas. "Masked Siamese Networks for Label-Efficient Learning." ECCV 2022. arXiv 2204.07141.

**Idea.** Patches of one view are dropped, and what is left must fall to the same prototypes as another view that is
whole: invariance to masking, without restoring anything. Since dropped patches are not computed, masks make it cheaper.

**Objective.** With the $M$ masked (anchor) views $z_{i,m}$ of image $i$, the target view $z_i^+$ of a teacher and
prototypes $q$, all of unit length, $p = \mathrm{softmax}(z \cdot q / \tau)$ and $p^+ = \mathrm{softmax}(z^+ \cdot q /
\tau^+)$, where $\tau^+ < \tau$ sharpens the targets (Eq. 1):

$$\mathcal{L} = \frac{1}{MB} \sum_{i=1}^{B} \sum_{m=1}^{M} H(p_i^+, p_{i,m}) - \lambda H(\bar p), \qquad
\bar p = \frac{1}{MB} \sum_{i=1}^{B} \sum_{m=1}^{M} p_{i,m}$$

$H(p, q) = -\sum p \log q$; the entropy $H(\bar p)$ of the mean prediction keeps all prototypes in use. As in the
authors' code $\lambda \ln K$ is added, so that no loss is below zero; uniform predictions then give $\ln K$.

**Defaults.** $\tau = 0.1$, $\tau^+ = 0.025$, $\lambda = 1$, targets balanced by Sinkhorn, one large anchor and ten
small ones ("focal masks"), 15 % of the patches dropped, as for a ViT-Small (70 % for a ViT-Large), momentum 0.996 that
grows linearly to 1 (section 4, appendix and the authors' configuration, where sharpening is a power of $1 / 0.25$: the
same). 1,024 prototypes there, 256 here, and two small anchors.

**Left out, or different.** Each image has its own patches dropped (a batch shares them in the authors' code). Features
are the mean of the patch tokens, as everywhere here, not the class token; ReLU in the head for GELU. Hue.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full_precision
from refimpl.parts.sinkhorn import sinkhorn
from refimpl.parts.teacher import Teacher
from refimpl.parts.tokens import embed_tokens, pick, plain_vit, transform


def log_assignments(z: Tensor, prototypes: Tensor, tau: float) -> Tensor:
    """(B, D) features, (K, D) prototypes, of any length -> (B, K) logarithms of p."""
    return F.log_softmax(F.normalize(z, dim=1) @ F.normalize(prototypes, dim=1).T / tau, dim=1)


@torch.no_grad()
@full_precision
def sharp_targets(z: Tensor, prototypes: Tensor, tau_plus: float, balanced: bool = True) -> Tensor:
    """(B, K) distributions p+ of the target views; balanced: Sinkhorn makes them use all prototypes alike."""
    log_target = log_assignments(z, prototypes, tau_plus)
    return sinkhorn(log_target, temperature=1.0) if balanced else log_target.exp()


@full_precision
def msn_terms(anchors: Tensor, targets: Tensor, prototypes: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """The mean of H(p+, p), and ln K - H(mean of p).

    anchors: (M * B, D), view by view, of any length. targets: (B, K) distributions. prototypes: (K, D).
    """
    log_p = log_assignments(anchors, prototypes, tau)
    agree = -(targets.repeat(len(anchors) // len(targets), 1) * log_p).sum(1).mean()
    mean = gather(log_p.exp().mean(0, keepdim=True)).mean(0)  # over all processes
    return agree, (mean * mean.log()).sum() + math.log(len(mean))


class MSN(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    couples_samples = True
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4, clip=3.0)
    presets = {
        "paper": {  # the authors' configuration for ViT-S/16
            "backbone": "vit_small_patch16_224", "epochs": 800, "batch": 1024, "lr": 2.5e-4, "warmup": 0.02,
            "prototypes": 1024, "hidden": 2048, "dim": 256, "crops": 10,
        },
    }  # fmt: skip
    smoke = {"prototypes": 16, "hidden": 32, "dim": 16, "crops": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 15, "batch": 64, "lr": 2e-3, "crops": 1,
        "prototypes": 64, "hidden": 128, "dim": 64, "drop": 0.5, "momentum": 0.98, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        prototypes: int = 256,
        hidden: int = 512,
        dim: int = 128,
        crops: int = 2,
        drop: float = 0.15,
        tau: float = 0.1,
        tau_plus: float = 0.025,
        weight: float = 1.0,
        balanced: bool = True,
        momentum: float = 0.996,
    ):
        """crops: small anchors beside the large one. drop: share of patches dropped. weight: lambda."""
        super().__init__(inputs, backbone)
        plain_vit(self.encoder)
        self.drop, self.tau, self.tau_plus = drop, tau, tau_plus
        self.weight, self.balanced, self.momentum = weight, balanced, momentum
        size = self.encoder.input.size
        large, small = View(scale=(0.3, 1.0)), View(size=max(8, size // 2), scale=(0.05, 0.3))
        self.views = [large, large] + [small] * crops
        self.head = mlp(self.encoder.width, hidden, hidden, dim)
        self.prototypes = nn.Parameter(torch.empty(prototypes, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.teacher = Teacher(self.encoder, self.head)

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        prepared = {"target": views[0], "large": views[1], "large_kept": self.kept(views[1], 1, draws)}
        if len(views) > 2:
            kept = self.kept(views[2], len(views) - 2, draws)
            prepared.update(small=torch.cat(views[2:]), small_kept=kept)
        return prepared

    def kept(self, x: Tensor, views: int, draws) -> Tensor:
        """(views * B, n) numbers of the patches that stay, of views of the size of x (B, C, H, W)."""
        patches = (x.shape[-1] // self.encoder.net.patch_embed.patch_size[0]) ** 2
        n = max(1, int(patches * (1 - self.drop)))
        return torch.cat([draws.permutation(patches)[:, :n] for _ in range(views)])

    def encode(self, x: Tensor, kept: Tensor) -> Tensor:
        """(B, width) features of the patches `kept` (B, n) alone."""
        vit, prefix = self.encoder.net, self.encoder.net.num_prefix_tokens
        tokens = embed_tokens(vit, x)
        tokens = torch.cat([tokens[:, :prefix], pick(tokens[:, prefix:], kept)], 1)
        return self.encoder.pool(transform(vit, tokens))

    def forward(self, batch, turn="all"):
        sizes = [name for name in ("large", "small") if name in batch]
        h = torch.cat([self.encode(batch[name], batch[f"{name}_kept"]) for name in sizes])
        targets = sharp_targets(self.teacher(batch["target"]), self.prototypes, self.tau_plus, self.balanced)
        agree, unused = msn_terms(self.head(h), targets, self.prototypes, self.tau)
        metrics = {"agreement": agree, "unused": unused}
        return Output(agree + self.weight * unused, metrics, embedding=h[: len(batch["large"])])

    def after_step(self, progress):
        momentum = self.momentum + (1 - self.momentum) * progress.fraction
        self.teacher.follow(momentum, self.encoder, self.head)
