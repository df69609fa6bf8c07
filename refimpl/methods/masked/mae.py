r"""MAE: masked autoencoders are scalable vision learners.

Kaiming He, Xinlei Chen, Saining Xie, Yanghao Li, Piotr Dollár, Ross Girshick. "Masked Autoencoders Are Scalable Vision
Learners." CVPR 2022. arXiv 2111.06377.

**Idea.** Hide most patches of an image, encode only the visible ones, and let a small decoder paint the hidden ones.
The encoder never sees a mask token, so it is cheap (it works on a quarter of the patches) and meets whole images
afterwards without a gap; at 75 % hidden the task cannot be solved by copying from neighbours.

**Objective.** With $M$ the hidden patches, $x_p$ the pixels of patch $p$ normalised by that patch's own mean and
deviation, and $\hat x_p$ the decoder's output:

$$\mathcal{L} = \frac{1}{|M|} \sum_{p \in M} \frac{1}{d} \lVert x_p - \hat x_p \rVert_2^2$$

A decoder that always answers zero scores about 1, since the targets have unit variance.

**Defaults.** 75 % hidden and normalised targets (Table 1), fixed sine-cosine positions, AdamW with betas (0.9, 0.95)
and weight decay 0.05, base rate 1.5e-4 there (appendix A.1) and higher here, for runs that are a hundredth as long;
random crops and flips only (Table 1e). The decoder is 2 blocks of width 128, as the encoder is a ViT-Tiny; the paper's
is 8 blocks of 512 for a ViT-Large.

**Left out.** Nothing of the method.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from refimpl.backbones import BackboneError
from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.positions import sincos_2d
from refimpl.parts.precision import full_precision
from refimpl.parts.tokens import fix_positions, pick


def patchify(x: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, H/patch * W/patch, patch * patch * C), patches row by row, pixels of a patch together."""
    b, c, height, width = x.shape
    x = x.reshape(b, c, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch * patch * c)


@full_precision
def mae_loss(prediction: Tensor, target: Tensor, hidden: Tensor, normalise: bool = True) -> Tensor:
    """Mean squared error on the hidden patches only.

    Args:
        prediction, target: (B, N, d) patches.
        hidden: (B, N), 1 where a patch was hidden, 0 where it was seen.
        normalise: standardise each target patch by its own mean and (unbiased) deviation first.
    Returns:
        scalar, the mean over all hidden patches of the batch.
    """
    if normalise:
        variance, mean = torch.var_mean(target, dim=2, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    error = (prediction - target).square().mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


class MAE(Method):
    needs = ("image",)
    backbone = "vit_tiny_patch16_224"
    recipe = Recipe(epochs=50, batch=256, lr=1.5e-3, weight_decay=0.05, betas=(0.9, 0.95), warmup=0.1)
    presets = {
        "paper": {  # appendix A.1 and Table 1
            "backbone": "vit_large_patch16_224", "decoder_width": 512, "decoder_depth": 8, "epochs": 800, "batch": 4096,
            "lr": 1.5e-4, "warmup": 0.05,
        },
    }  # fmt: skip
    smoke = {"decoder_width": 32, "decoder_depth": 1}
    proof = {
        "samples": 2000, "size": 32, "backbone": "vit_micro", "epochs": 20, "batch": 128, "lr": 4e-3, "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        mask_ratio: float = 0.75,
        decoder_width: int = 128,
        decoder_depth: int = 2,
        normalise_target: bool = True,
    ):
        super().__init__(inputs, backbone)
        if not getattr(self.encoder, "is_vit", False):
            raise BackboneError(f"mae hides tokens, so it needs a plain ViT such as {self.backbone}, not {backbone}")
        self.mask_ratio, self.normalise_target = mask_ratio, normalise_target
        self.view = View.geometric(scale=(0.2, 1.0))
        vit = self.encoder.net
        self.patch, grid = vit.patch_embed.patch_size[0], vit.patch_embed.grid_size[0]
        fix_positions(vit)

        bands = len(self.encoder.input.bands)
        self.decoder_embed = nn.Linear(self.encoder.width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("decoder_positions", sincos_2d(grid, decoder_width)[None])
        self.decoder = nn.Sequential(*(Block(decoder_width, num_heads=4, qkv_bias=True) for _ in range(decoder_depth)))
        self.decoder_norm = nn.LayerNorm(decoder_width)
        self.decoder_out = nn.Linear(decoder_width, self.patch**2 * bands)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        tokens = self.encoder.net.patch_embed.num_patches
        # A random order per image: the first part is seen, the rest hidden (appendix A.1, "masking by shuffling").
        return {"x": x, "order": draws.permutation(tokens)}

    def encode_visible(self, x: Tensor, seen: Tensor) -> Tensor:
        """The encoder on the tokens `seen` (B, n) of each image only; class and register tokens are dropped after."""
        vit = self.encoder.net
        tokens = vit._pos_embed(vit.patch_embed(x))
        prefix = vit.num_prefix_tokens
        tokens = vit.norm_pre(torch.cat([tokens[:, :prefix], pick(tokens[:, prefix:], seen)], dim=1))
        return vit.norm(vit.blocks(tokens))[:, prefix:]

    def decode(self, latent: Tensor, order: Tensor) -> Tensor:
        """(B, n, width) latents of the first n tokens of `order` (B, N) -> (B, N, d) predicted patches in place."""
        seen = self.decoder_embed(latent)
        hidden = self.mask_token.expand(len(latent), order.shape[1] - latent.shape[1], -1)
        shuffled = torch.cat([seen, hidden.to(seen.dtype)], dim=1)
        tokens = pick(shuffled, order.argsort(1))
        return self.decoder_out(self.decoder_norm(self.decoder(tokens + self.decoder_positions)))

    def forward(self, batch, turn="all"):
        x, order = batch["x"], batch["order"]
        count = max(1, round(order.shape[1] * (1 - self.mask_ratio)))
        latent = self.encode_visible(x, order[:, :count])
        prediction = self.decode(latent, order)
        hidden = torch.ones(order.shape, device=x.device).scatter_(1, order[:, :count], 0.0)
        loss = mae_loss(prediction, patchify(x, self.patch), hidden, self.normalise_target)
        return Output(loss, embedding=latent.mean(1))
