r"""I-JEPA: predicting the features of hidden blocks of an image, not their pixels.

Mahmoud Assran, Quentin Duval, Ishan Misra, Piotr Bojanowski, Pascal Vincent, Michael Rabbat, Yann LeCun, Nicolas
Ballas. "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture." CVPR 2023. arXiv
2301.08243.

**Idea.** One encoder sees a large block of the image with holes, a slow copy of it sees everything. From the first's
tokens and the places of a hole, a small transformer predicts the second's features there. Texture that cannot be known
need not be predicted, and no augmentation has to say what does not matter.

**Objective.** With $M$ target blocks $B_i$, the target encoder's features $s_{y_j}$ of their patches and the
predictions $\hat s_{y_j}$ (Eq. 1):

$$\mathcal{L} = \frac{1}{M} \sum_{i=1}^{M} \sum_{j \in B_i} \lVert \hat s_{y_j} - s_{y_j} \rVert_2^2$$

The authors' code trains another loss, and so does this file by default: the targets are standardised within each token
(layer norm without gain), the error is the smooth L1, its mean over patches and features is taken. Answering zero
always then gives about 0.42, the mean of the smooth L1 of a standard normal number. `as_printed` trains Eq. 1.

**Defaults.** Four targets of 15 to 20 % of the patches with ratios of 0.75 to 1.5, a square context block of 85 to
100 % without what lies in a target (section 3), fixed positions, momentum 0.996 that grows linearly to 1, weight decay
0.04 to 0.4 (appendix A.1 and the authors' configuration). Crops only; here flips and quarter turns too. The predictor
is 4 blocks of width 96 beside a ViT-Tiny; the paper's has 12 of 384 beside a ViT-Huge.

**Left out, or different.** The authors' code gives all blocks of a batch one size and cuts every context to the
batch's shortest, so that tensors are rectangular. Here sizes are each block's own, places that a short block leaves
empty are hidden from attention, and of a context that is longer than half of the patches a random half is used. The
paper judges the target encoder; here the trained one is kept.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.positions import sincos_2d
from refimpl.parts.precision import full_precision
from refimpl.parts.rectangles import most_patches, rectangles
from refimpl.parts.teacher import Teacher
from refimpl.parts.tokens import embed_tokens, fix_positions, pick, plain_vit, transform

CONTEXT, TARGET, RATIO = (0.85, 1.0), (0.15, 0.2), (0.75, 1.5)


@full_precision
def jepa_loss(prediction: Tensor, target: Tensor, wanted: Tensor, as_printed: bool = False) -> Tensor:
    """The mean over images and target blocks.

    Args:
        prediction, target: (B, M, T, D) features of at most T patches of each block.
        wanted: (B, M, T) bool, false where a block has fewer.
        as_printed: Eq. 1; else the loss of the authors' code, the mean over a block's patches and features.
    """
    if as_printed:
        return ((prediction - target).square().sum(3) * wanted).sum(2).mean()
    target = F.layer_norm(target, target.shape[-1:])
    error = F.smooth_l1_loss(prediction, target, reduction="none").mean(3)
    return ((error * wanted).sum(2) / wanted.sum(2)).mean()


class Predictor(nn.Module):
    """A narrow transformer: from the context's tokens and the places of a block to the features there."""

    def __init__(self, width: int, inner: int, depth: int, grid: int):
        super().__init__()
        self.enter = nn.Linear(width, inner)
        self.register_buffer("positions", sincos_2d(grid, inner))
        self.mask_token = nn.Parameter(torch.randn(inner) * 0.02)
        self.blocks = nn.ModuleList(Block(inner, num_heads=4, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)

    def forward(self, z: Tensor, context: Tensor, seen: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
        """(B, K, width) tokens at `context` (B, K) -> (B, M, T, width) at `target` (B, M, T); blocks do not mix.

        seen, wanted: bool, of the shapes of context and target, false at places that are there to fill up only.
        """
        blocks = target.shape[1]
        z = (self.enter(z) + self.positions[context]).repeat_interleave(blocks, 0)
        asked = self.mask_token + self.positions[target.flatten(0, 1)]
        tokens = torch.cat([z, asked.to(z.dtype)], 1)
        visible = torch.cat([seen.repeat_interleave(blocks, 0), wanted.flatten(0, 1)], 1)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, attn_mask=visible)
        return self.leave(self.norm(tokens[:, z.shape[1] :])).unflatten(0, (-1, blocks))


class IJEPA(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    recipe = Recipe(epochs=50, batch=256, lr=1e-3, weight_decay=0.04, weight_decay_end=0.4)
    presets = {
        "paper": {  # appendix A.1 and the authors' configuration
            "backbone": "vit_huge_patch14_224", "epochs": 300, "batch": 2048, "lr": 1.25e-4, "warmup": 0.133,
            "predictor_width": 384, "predictor_depth": 12,
        },
    }  # fmt: skip
    smoke = {"predictor_width": 32, "predictor_depth": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 8, "batch": 64, "lr": 4e-3, "momentum": 0.98,
        "predictor_width": 64, "predictor_depth": 2, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        predictor_width: int = 96,
        predictor_depth: int = 4,
        targets: int = 4,
        momentum: float = 0.996,
        crop: float = 0.3,
        as_printed: bool = False,
    ):
        """targets: number of blocks to predict. as_printed: train Eq. 1, not the loss of the authors' code."""
        super().__init__(inputs, backbone)
        vit = plain_vit(self.encoder)
        fix_positions(vit)
        self.targets, self.momentum, self.as_printed = targets, momentum, as_printed
        self.view = View.geometric(scale=(crop, 1.0))
        self.grid = vit.patch_embed.grid_size[0]
        self.most = most_patches(self.grid, TARGET[1], RATIO)
        self.predictor = Predictor(self.encoder.width, predictor_width, predictor_depth, self.grid)
        self.teacher = Teacher(self.encoder)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, **self.masks(draws)}

    def masks(self, draws) -> dict[str, Tensor]:
        """Numbers of the context's patches (B, K) and of the targets' (B, M, T), and which of them are meant."""
        blocks = rectangles(draws, self.grid, self.targets, TARGET, RATIO)  # (B, M, N)
        context = rectangles(draws, self.grid, 1, CONTEXT, (1, 1))[:, 0] & ~blocks.any(1)
        first = context.float() + draws.uniform(context.shape[1])  # the context's own in random order, then the rest
        order = first.argsort(1, descending=True)[:, : context.shape[1] // 2]
        seen = context.gather(1, order)
        seen[:, 0] = True  # were all of the context block hidden, something must remain
        target = blocks.to(torch.uint8).argsort(dim=2, descending=True, stable=True)[:, :, : self.most]
        return {"context": order, "seen": seen, "target": target, "wanted": blocks.gather(2, target)}

    def encode_context(self, x: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        """(B, K, width): the encoder on the context's tokens only; class and register tokens are dropped after."""
        vit, prefix = self.encoder.net, self.encoder.net.num_prefix_tokens
        tokens = embed_tokens(vit, x)
        tokens = torch.cat([tokens[:, :prefix], pick(tokens[:, prefix:], context)], 1)
        return transform(vit, tokens, seen)[:, prefix:]

    @torch.no_grad()
    def target_features(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, M, T, width): features of the targets' patches by the teacher, which sees the whole image."""
        (teacher,) = self.teacher.networks
        patches = teacher.map(x)[:, teacher.net.num_prefix_tokens :]
        return pick(patches, target.flatten(1)).unflatten(1, target.shape[1:])

    def forward(self, batch, turn="all"):
        x, context, seen, target, wanted = (batch[k] for k in ("x", "context", "seen", "target", "wanted"))
        z = self.encode_context(x, context, seen)
        prediction = self.predictor(z, context, seen, target, wanted)
        loss = jepa_loss(prediction, self.target_features(x, target), wanted, self.as_printed)
        return Output(loss, embedding=(z * seen[:, :, None]).sum(1) / seen.sum(1, keepdim=True))

    def after_step(self, progress):
        self.teacher.follow(self.momentum + (1 - self.momentum) * progress.fraction, self.encoder)
