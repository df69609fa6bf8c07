r"""Context encoders: feature learning by inpainting.

Deepak Pathak, Philipp Krähenbühl, Jeff Donahue, Trevor Darrell, Alexei A. Efros. "Context Encoders: Feature Learning by
Inpainting." CVPR 2016. arXiv 1604.07379.

**Idea.** To fill a hole in an image one must understand what surrounds it. An encoder looks at the image with a region
taken out, a decoder paints the image, and an adversary judges whether the painting could be real, which makes the
decoder choose one plausible filling instead of the blurred mean of all.

**Objective.** With mask $\hat M$ (1 where pixels were taken out), image $x$, the network $F$ and discriminator $D$:

$$\mathcal{L}_{rec} = \lVert \hat M \odot (x - F((1 - \hat M) \odot x)) \rVert_2^2 \qquad (1)$$

$$\mathcal{L}_{adv} = \max_D \; \mathbb{E}[\log D(x) + \log(1 - D(F((1 - \hat M) \odot x)))] \qquad (2)$$

$$\mathcal{L} = \lambda_{rec} \mathcal{L}_{rec} + \lambda_{adv} \mathcal{L}_{adv} \qquad (3)$$

Eq. 1 is taken per missing value here, so that it does not grow with the image: answering the band means scores about 1.
The generator maximises $\log D(F(\cdot))$, the usual non-saturating form, as the authors' code does.

**Defaults.** $\lambda_{rec} = 0.999$, $\lambda_{adv} = 0.001$, Adam with beta 0.5 and a discriminator ten times slower
than the rest (section 3.2 and the authors' code); random smooth regions over a quarter of the image, which the paper
found to give better features than a central square (section 3.3); the channel-wise fully-connected layer (section 3.2).

**Left out.** AlexNet: any convolutional backbone can be the encoder. The discriminator has no batch normalisation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import BackboneError
from refimpl.data.views import View, random_views
from refimpl.engine.draws import Draws
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision


@full_precision
def reconstruction_loss(x: Tensor, painted: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1 per missing value. x, painted: (B, C, H, W); mask: (B, 1, H, W), 1 where pixels are missing."""
    error = mask * (x - painted).square()
    return error.sum() / (mask.sum() * x.shape[1]).clamp(min=1)


@full_precision
def discriminator_loss(real: Tensor, painted: Tensor) -> Tensor:
    """The negative of Eq. 2's value for logits (B,) of real and painted images."""
    return F.softplus(-real).mean() + F.softplus(painted).mean()


@full_precision
def generator_loss(painted: Tensor) -> Tensor:
    """-log D(F(.)), the non-saturating form of Eq. 2 for the generator, for logits (B,)."""
    return F.softplus(-painted).mean()


def random_region(draws: Draws, size: int, share: float = 0.25, coarseness: float = 0.06) -> Tensor:
    """(B, 1, size, size) masks of smooth random shape, each covering `share` of its image.

    A coarse random pattern, enlarged smoothly and cut at its quantile; the authors' code cuts windows from one large
    pattern instead. `coarseness` is the pattern's resolution relative to the image's (0.06 there).
    """
    grid = max(3, math.ceil(coarseness * size))
    smooth = F.interpolate(draws.uniform(1, grid, grid), size=(size, size), mode="bicubic", align_corners=False)
    threshold = smooth.flatten(1).kthvalue(max(1, round(share * size * size)), dim=1).values
    return (smooth <= threshold[:, None, None, None]).float()


class ChannelwiseLinear(nn.Module):
    """The paper's channel-wise fully-connected layer: every channel's map is mixed by a matrix of its own.

    (B, D, h, w) -> (B, D, h, w) with D matrices of (hw x hw) instead of one of (Dhw x Dhw). It carries information
    across the image, which convolutions of this depth cannot; the 1 x 1 convolution after it mixes channels.
    """

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        n = height * width
        self.weight = nn.Parameter(torch.randn(channels, n, n) / math.sqrt(n))
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        spread = torch.einsum("bdn,dmn->bdm", x.flatten(2), self.weight.to(x.dtype))
        return self.mix(spread.reshape(x.shape))


class ContextEncoder(Method):
    needs = ("image",)
    backbone = "resnet18"
    turns = ("generator", "discriminator")
    recipe = Recipe(epochs=50, batch=128, optimiser="adam", lr=4e-3, betas=(0.5, 0.999), weight_decay=0.0)
    smoke = {"decoder_width": 16}
    proof = {
        "samples": 2000, "size": 32, "bands": "B03", "backbone": "resnet10t", "epochs": 40, "batch": 64,
        "lr": 1e-2, "decoder_width": 16, "share": 0.3, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        weight_rec: float = 0.999,
        weight_adv: float = 0.001,
        share: float = 0.25,
        decoder_width: int = 64,
    ):
        super().__init__(inputs, backbone)
        self.weight_rec, self.weight_adv, self.share = weight_rec, weight_adv, share
        self.view = View.geometric(scale=(0.5, 1.0))
        size, bands = self.encoder.input.size, len(self.encoder.input.bands)
        # In evaluation mode, so that asking for the shape does not touch the running statistics.
        with torch.no_grad():
            shape = self.encoder.eval().map(torch.zeros(1, bands, size, size)).shape
        self.encoder.train()
        if len(shape) != 4 or shape[2] > size:
            raise BackboneError(
                f"context_encoder needs a convolutional backbone such as {self.backbone}, not {backbone}"
            )
        self.bottleneck = ChannelwiseLinear(*shape[1:])
        self.decoder = self._decoder(shape[1], decoder_width, bands, doublings=round(math.log2(size / shape[2])))
        self.discriminator = self._discriminator(bands, decoder_width)

    @staticmethod
    def _decoder(channels: int, width: int, bands: int, doublings: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(doublings):
            after = width * 2 ** max(0, min(3, doublings - 2 - i))
            layers += [nn.ConvTranspose2d(channels, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            channels = after
        return nn.Sequential(*layers, nn.Conv2d(channels, bands, 3, 1, 1))

    @staticmethod
    def _discriminator(bands: int, width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        before = bands
        for after in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            before = after
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1), nn.Flatten(0))

    def parameters_of(self, turn):
        judges = {id(p) for p in self.discriminator.parameters()}
        return [(n, p) for n, p in self.named_parameters() if (id(p) in judges) == (turn == "discriminator")]

    def rate_of(self, turn):
        return 0.1 if turn == "discriminator" else 1.0

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "mask": random_region(draws, x.shape[2], self.share)}

    def paint(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """F((1 - M) x) and the encoder's features; a missing pixel becomes the band mean, which is 0 here."""
        features = self.encoder.map(x * (1 - mask))
        return self.decoder(self.bottleneck(features)), features

    def forward(self, batch, turn="generator"):
        x, mask = batch["x"], batch["mask"]
        if turn == "discriminator":
            with torch.no_grad():
                painted, _ = self.paint(x, mask)
            return Output(discriminator_loss(self.discriminator(x), self.discriminator(painted)))
        painted, features = self.paint(x, mask)
        rec, adv = reconstruction_loss(x, painted, mask), generator_loss(self.discriminator(painted))
        loss = self.weight_rec * rec + self.weight_adv * adv
        return Output(loss, {"rec": rec, "adv": adv}, embedding=self.encoder.pool(features))
