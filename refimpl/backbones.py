"""Encoders: any timm network for any number of bands, and the spectral networks that timm lacks.

An encoder carries its own normalisation (mean and deviation per band, as buffers), because weights without it are
weights that give wrong features: normalised = (stored - mean) / std.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from itertools import pairwise

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import Input


class BackboneError(ValueError):
    """A backbone that cannot be built as asked; the message is one line with the remedy."""


class Encoder(nn.Module):
    """A network from normalised input to one feature vector.

    Attributes: name, input (`Input`), width (feature length).
    """

    def __init__(self, name: str, field: Input):
        super().__init__()
        self.name, self.input = name, field
        self.register_buffer("mean", torch.tensor(field.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(field.std, dtype=torch.float32))

    def normalise(self, stored: Tensor) -> Tensor:
        """(B, C, ...) stored numbers of any type -> float32 with zero mean and unit deviation per band."""
        shape = (1, -1) + (1,) * (stored.dim() - 2)
        return (stored.float() - self.mean.view(shape)) / self.std.view(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) normalised -> (B, width)."""
        raise NotImplementedError


class _CentreConv2d(nn.Conv2d):
    """A padded 3 x 3 convolution that reads a map of one pixel with its centre alone.

    Deep networks make such maps of small images. The other eight weights meet nothing but padding there: the output is
    the same at a ninth of the work, and their gradient the zero that it ought to be. (With torch 2.15 on a CPU what lay
    in memory came back instead, now and then not a number, and spoiled the weights without ever showing in the loss.)
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] == (1, 1):
            return F.conv2d(x, self.weight[:, :, 1:2, 1:2], self.bias, groups=self.groups)
        return super().forward(x)


class TimmEncoder(Encoder):
    """Any network of timm, without its classifier, for `len(field.bands)` channels."""

    def __init__(self, name: str, field: Input, *, model: str = "", **options):
        """model: the timm name, if it differs from `name`; options go to timm.create_model."""
        super().__init__(name, field)
        model = model or name
        try:
            options = {"in_chans": len(field.bands), "num_classes": 0, **_size_options(model, field.size), **options}
            self.net = timm.create_model(model, pretrained=False, **options)
        except RuntimeError as error:
            if "Unknown model" not in str(error):
                raise BackboneError(f"backbone {name!r} cannot be built for {field.size} pixels: {error}") from error
            raise BackboneError(_unknown(name)) from None
        for module in self.net.modules():
            if type(module) is nn.Conv2d and module.kernel_size == (3, 3) and module.padding == (1, 1):
                module.__class__ = _CentreConv2d
        self.width = self.net.head_hidden_size  # of what leaves `pool`; some networks widen before their classifier

    @property
    def is_vit(self) -> bool:
        return isinstance(self.net, timm.models.vision_transformer.VisionTransformer)

    def map(self, x: Tensor) -> Tensor:
        """Features before pooling: (B, D, h, w) for convolutional networks, (B, tokens, D) for transformers."""
        return self.net.forward_features(x)

    def pool(self, features: Tensor) -> Tensor:
        """Pool the result of `map` to (B, width)."""
        return self.net.forward_head(features, pre_logits=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.map(x))


class SpectralEncoder(Encoder):
    """Pixel-wise spectral network: three linear layers (1x1 convolutions of an image), (B, C) -> (B, width)."""

    def __init__(self, name: str, field: Input, width: int = 64):
        super().__init__(name, field)
        bands = len(field.bands)
        self.width = width
        self.net = nn.Sequential(
            nn.Linear(bands, 128), nn.BatchNorm1d(128), nn.ReLU(),
            nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(),
            nn.Linear(128, width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1))


class SpectralFunnel(Encoder):
    """The encoder of EGU-Net's pixel-wise variant (Hong et al., arXiv 2105.10194; layer widths of the authors' code).

    Three linear layers with batch normalisation, (B, C) -> 256 tanh -> 128 tanh -> 32 ReLU.
    """

    hidden = 256  # width of the first layer, the one that is dropped out

    def __init__(self, name: str, field: Input):
        super().__init__(name, field)
        widths = (len(field.bands), self.hidden, 128, 32)
        self.width = widths[-1]
        self.linear = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))  # the norm has the bias
        self.norm = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:])
        for layer in self.linear:
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """keep: (B, 256) factors of the first layer, 0 where a unit is dropped and 1 / (1 - rate) elsewhere."""
        h = self.norm[0](self.linear[0](x.flatten(1)))
        h = torch.tanh(h if keep is None else h * keep)
        h = torch.tanh(self.norm[1](self.linear[1](h)))
        return torch.relu(self.norm[2](self.linear[2](h)))


# What timm lacks, and short names for settings that suit small satellite images.
OWN: dict[str, Callable[[str, Input], Encoder]] = {
    "spectral_mlp": SpectralEncoder,
    "spectral_funnel": SpectralFunnel,
    # A transformer for small images and short runs: 4 blocks of width 128, about 0.8 M parameters.
    "vit_micro": lambda name, field: TimmEncoder(
        name, field, model="vit_tiny_patch16_224", depth=4, embed_dim=128, num_heads=4
    ),
}


def build_encoder(name: str, field: Input) -> Encoder:
    """An encoder for one field.

    Args:
        name: a key of `OWN` or any timm model name.
        field: the bands, size and normalisation it reads.
    Raises:
        BackboneError: unknown name (with the nearest ones), or a network that cannot take this size.
    """
    if name in OWN:
        return OWN[name](name, field)
    return TimmEncoder(name, field)


def _size_options(name: str, size: int) -> dict:
    """Networks with a fixed grid must be told the image size; plain transformers get small patches for small images.

    At least 8 x 8 tokens remain then, and the features are the mean of the patch tokens after the last norm: good
    frozen features for any objective.
    """
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
    if known is None or not known.fixed_input_size:
        return {}
    if not name.startswith(("vit_", "deit", "beit", "eva")):
        return {"img_size": size}
    patch = 16 if size >= 128 else 8 if size >= 64 else 4
    options = {"img_size": size, "patch_size": patch, "global_pool": "avg"}
    if name.startswith(("beit", "eva")):
        return options
    return {**options, "fc_norm": False, "dynamic_img_size": True}  # crops of another size: positions are interpolated


def _unknown(name: str) -> str:
    known = [*OWN, *timm.list_models()]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists what exists"
    return f"unknown backbone {name!r}; {hint}"
