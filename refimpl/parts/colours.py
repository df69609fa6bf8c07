"""Colours as classes, and networks that do not see them (colorization, multi-task learning, damaged puzzles)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import BackboneError, Encoder, TimmEncoder, build_encoder
from refimpl.data.dataset import Data, Input
from refimpl.engine.distributed import from_main
from refimpl.parts.k_means import k_means
from refimpl.parts.maps import map_width
from refimpl.parts.precision import full_precision

QUARTER = 4  # a prediction is for so many pixels a side
PIXELS = 8192  # that the bins are made of


def soft_encode(colours: Tensor, centres: Tensor, sigma: Tensor, nearest: int) -> tuple[Tensor, Tensor]:
    """Z: (..., d) colours, (Q, d) centres -> numbers (..., n) of the nearest, the very nearest first, and their shares.

    Shares are Gaussian in the distance, of deviation sigma, and sum to 1.
    """
    distance, index = torch.cdist(colours.flatten(0, -2), centres).topk(min(nearest, len(centres)), largest=False)
    share = F.softmax(-distance.square() / (2 * sigma.square()), dim=1)
    return index.view(*colours.shape[:-1], -1), share.view(*colours.shape[:-1], -1)


def rarity(p: Tensor, centres: Tensor, sigma: Tensor, mix: float) -> Tensor:
    """w of Eq. 4 (Q,) from the distribution of colours p (Q,), smoothed by a Gaussian over the bins. mix: lambda."""
    smooth = torch.exp(-torch.cdist(centres, centres).square() / (2 * sigma.square())) @ p
    smooth = smooth / smooth.sum()
    w = 1 / ((1 - mix) * smooth + mix / len(p))
    return w / (smooth * w).sum()


@full_precision
def colour_loss(logits: Tensor, index: Tensor, share: Tensor, w: Tensor) -> Tensor:
    """Eq. 2, the mean over places.

    Args:
        logits: (B, h, w, Q). index, share: (B, h, w, n), Z of `soft_encode`. w: (Q,) how much each bin counts.
    """
    log_z = F.log_softmax(logits, dim=-1).gather(-1, index)
    return -(w[index[..., 0]] * (share * log_z).sum(-1)).mean()


class Bins(nn.Module):
    """Q colours that stand for all of a data set. Buffers, so that a checkpoint carries what was found.

    centres: (Q, d). sigma: deviation of the Gaussian, half of the mean distance from the nearest other. w: (Q,).
    """

    def __init__(self, bins: int, bands: int):
        super().__init__()
        self.register_buffer("centres", torch.zeros(bins, bands))
        self.register_buffer("sigma", torch.ones(()))
        self.register_buffer("w", torch.ones(bins))

    @torch.no_grad()
    def find(self, colours: Tensor, mix: float, generator: torch.Generator) -> None:
        """k-means of some pixels of colours (N, d, H, W); the same on every process. mix: lambda of `rarity`."""
        pixels = colours.transpose(0, 1).flatten(1).T
        some = torch.randperm(len(pixels), generator=generator)[:PIXELS]
        centres, own = k_means(pixels[some.to(pixels.device)], len(self.w), generator)
        apart = torch.cdist(centres, centres).fill_diagonal_(float("inf")).amin(1)
        self.centres.copy_(from_main(centres))
        self.sigma.copy_(from_main(apart.mean() / 2).clamp(min=1e-3))
        p = torch.bincount(own, minlength=len(centres)).to(centres.dtype) / len(own)
        self.w.copy_(from_main(rarity(p, self.centres, self.sigma, mix)))

    def encode(self, colours: Tensor, nearest: int) -> tuple[Tensor, Tensor]:
        return soft_encode(colours, self.centres, self.sigma, nearest)


class Colourless(Encoder):
    """A network for the bands `shown` of an image, or for the mean of all if none is; (B, C, H, W) -> (B, width)."""

    def __init__(self, name: str, field: Input, shown: list[int], stride: int = 0):
        super().__init__(name, field)
        self.shown, self.hidden = shown, [i for i in range(len(field.bands)) if i not in shown]
        seen = Input(tuple(field.bands[i] for i in shown) or ("lightness",), field.size)
        if stride and "resnet" not in name:
            raise BackboneError(f"the stride of a ResNet can be set, not that of {name}; set stride=0")
        self.network = TimmEncoder(name, seen, output_stride=stride) if stride else build_encoder(name, seen)
        self.width = self.network.width

    def light(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> what the network sees."""
        return x[:, self.shown] if self.shown else x.mean(1, keepdim=True)

    def colour(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> (B, d, H, W), what it has to predict."""
        return x[:, self.hidden] if self.shown else x - x.mean(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.light(x))


def some_images(data: Data, encoder: Encoder, generator: torch.Generator, count: int = 512) -> Tensor:
    """Normalised images (N, C, H, W) of the training split, at most `count`, the same on every process."""
    train = torch.as_tensor(data.splits["train"])
    index = train[torch.randperm(len(train), generator=generator)[:count]]
    return encoder.normalise(data.take("image", index).to(encoder.mean.device))


def painter(encoder: Encoder, width: int, outputs: int) -> nn.Sequential:
    """From the encoder's map (B, D, h, w) to a quarter of the image's resolution (B, outputs, H / 4, W / 4)."""
    channels, layers = map_width(encoder, -1), []
    for _ in range(round(math.log2(encoder.net.feature_info[-1]["reduction"] / QUARTER))):
        layers += [nn.ConvTranspose2d(channels, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))
