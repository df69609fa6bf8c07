"""The tokens of a plain vision transformer: hidden, picked, or kept from one another's sight."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from refimpl.backbones import BackboneError, Encoder
from refimpl.parts.positions import sincos_2d


def plain_vit(encoder: Encoder, class_token: bool = False) -> VisionTransformer:
    """The transformer within an encoder. Raises BackboneError where there is none, or none with a class token."""
    if not getattr(encoder, "is_vit", False) or (class_token and encoder.net.cls_token is None):
        kind = "ViT with a class token" if class_token else "ViT"
        raise BackboneError(f"this method needs a plain {kind} such as vit_tiny_patch16_224, not {encoder.name}")
    return encoder.net


def fix_positions(vit: VisionTransformer) -> None:
    """Sines and cosines as positions, in place and for good; class and register tokens have none."""
    grid, width = vit.patch_embed.grid_size[0], vit.embed_dim
    zeros = torch.zeros(vit.pos_embed.shape[1] - grid * grid, width)
    vit.pos_embed.requires_grad_(False)
    vit.pos_embed.data = torch.cat([zeros, sincos_2d(grid, width)])[None]


def embed_tokens(vit: VisionTransformer, x: Tensor, hidden: Tensor | None = None, mask_token: Tensor | None = None):
    """(B, C, H, W) normalised -> (B, P + N, D): P class and register tokens, then N patches, all with positions.

    hidden: (B, N) bool; there stands `mask_token` (D,) in place of what the patch shows.
    """
    patches = vit.patch_embed(x)  # (B, N, D), or (B, h, w, D)
    if hidden is not None:
        patches = torch.where(hidden.view(*patches.shape[:-1], 1), mask_token.to(patches.dtype), patches)
    return vit.norm_pre(vit._pos_embed(patches))


def transform(vit: VisionTransformer, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
    """Blocks and last norm of (B, P + n, D) tokens. visible: (B, n) bool, which patch tokens the others may look at."""
    if visible is None:
        return vit.norm(vit.blocks(tokens))
    visible = F.pad(visible, (vit.num_prefix_tokens, 0), value=True)[:, None, None, :]
    for block in vit.blocks:
        tokens = block(tokens, attn_mask=visible)
    return vit.norm(tokens)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """(B, N, D) tokens, (B, n) numbers of some of them -> (B, n, D)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
