r"""Colorization: colorful image colorization.

Richard Zhang, Phillip Isola, Alexei A. Efros. "Colorful Image Colorization." ECCV 2016. arXiv 1603.08511.

**Idea.** Show a network an image without its colours and let it name the colour of every place: water, meadow and roof
have theirs, so it must see what they are. Many colours are possible, and squared error would answer with their greyish
mean; so colours are classes, and rare ones count more.

**Objective.** With $Z_{h,w,q}$ the true colour of a place as shares of the nearest of $Q$ bins, $\hat Z$ the
prediction and $\tilde p$ the distribution of colours in the data, smoothed (Eq. 2 to 4):

$$\mathcal{L} = -\sum_{h,w} v(Z_{h,w}) \sum_q Z_{h,w,q} \log \hat Z_{h,w,q}, \qquad v(Z_{h,w}) = w_{q^*}, \quad
q^* = \operatorname{argmax}_q Z_{h,w,q}$$

$$w \propto \left((1 - \lambda) \tilde p + \tfrac{\lambda}{Q}\right)^{-1}, \qquad \sum_q \tilde p_q w_q = 1$$

the mean over places here. A guess costs about $\ln Q$. To paint, the prediction is sharpened and averaged (Eq. 5),
between the mean ($T = 1$) and the most likely colour ($T \to 0$):

$$\mathcal{H}(Z_{h,w}) = \mathbb{E}\left[f_T(Z_{h,w})\right], \qquad
f_T(z) = \frac{\exp(\log z / T)}{\sum_q \exp(\log z_q / T)}$$

**For any bands.** The Lab space of the paper belongs to the eye and to screens. Here lightness is the mean of all
standardised bands and colour is what is left of each, which for red, green and blue is a plane, as ab is. Or `bands`
names what is shown, such as "B08,B11,B12", and the other bands are the colour. In more than two dimensions a grid of
bins has too many cells: the bins are k-means centres of training pixels, found before the first step, and the
Gaussian's deviation is half of their mean distance from the nearest other (5 for a grid of 10 in the paper).

**What is kept and judged** has never seen colours: the encoder reads lightness, or the bands shown, of any image. A
single band has no colour, and nothing can be learned from it.

**Defaults.** $\lambda = 1/2$, $T = 0.38$, shares of the 5 nearest bins (section 2; 10 in the authors' code: `nearest`),
predictions at a quarter of the resolution. The code counts no photograph that is nearly grey, and logs the loss
unweighted while its gradient is weighted; neither is done here. 313 bins there, 64 here.

**Left out, or different.** Features have 1/8 of the resolution in the paper, by dilation; `stride` does that for
ResNets, at a few times the cost. The true colour of a place is the mean of its 4 x 4 pixels, one of them in the code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.colours import Bins, Colourless, colour_loss, painter, some_images
from refimpl.parts.maps import features_and_map


def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """Eq. 5: (..., Q) -> (..., d). As softmax(logits) is z, f_T(z) is softmax(logits / T)."""
    return F.softmax(logits / temperature, dim=-1) @ centres


class Colorization(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' solver: Adam, 500,000 steps of 40 images, rate 3e-5, and its falls
            "backbone": "resnet50", "epochs": 15, "batch": 40, "optimiser": "adam", "lr": 1.9e-4, "betas": (0.9, 0.99),
            "weight_decay": 1e-3, "warmup": 0.0, "colours": 313, "width": 256, "stride": 8,
        },
    }  # fmt: skip
    smoke = {"colours": 16, "width": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 4e-3, "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        bands: str = "",
        colours: int = 64,
        nearest: int = 5,
        mix: float = 0.5,
        temperature: float = 0.38,
        width: int = 64,
        stride: int = 0,
        crop: float = 0.5,
    ):
        """bands: that are shown, joined by commas. colours: Q. mix: lambda. stride: of a ResNet, 0 for its own."""
        super().__init__(inputs, backbone)
        field = self.encoder.input
        shown = [name for name in bands.split(",") if name]
        unknown = sorted(set(shown) - set(field.bands))
        if unknown or len(shown) == len(field.bands):
            wrong = f"no band {unknown[0]!r}" if unknown else "no band is left to predict"
            raise DataError(f"{wrong}; show some of {', '.join(field.bands)}")
        self.encoder = Colourless(self.encoder.name, field, [field.bands.index(name) for name in shown], stride)
        self.nearest, self.mix, self.temperature = nearest, mix, temperature
        self.view = View.geometric(scale=(crop, 1.0))
        self.painter = painter(self.encoder.network, width, colours)
        self.bins = Bins(colours, len(self.encoder.hidden))

    def before_epoch(self, epoch, data, tools):
        if epoch == 0:
            x = some_images(data, self.encoder, tools.generator)
            self.bins.find(self.encoder.colour(x), self.mix, tools.generator)

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x}

    def forward(self, batch, turn="all"):
        x = batch["x"]
        h, places = features_and_map(self.encoder.network, self.encoder.light(x), -1)
        side = math.isqrt(places.shape[1])
        logits = self.painter(places.transpose(1, 2).unflatten(2, (side, side))).permute(0, 2, 3, 1)
        with torch.no_grad():
            colours = F.adaptive_avg_pool2d(self.encoder.colour(x), logits.shape[1:3]).permute(0, 2, 3, 1)
            index, share = self.bins.encode(colours, self.nearest)
            painted = annealed_mean(logits.to(colours.dtype), self.bins.centres, self.temperature)
            error = (painted - colours).square().mean()
        return Output(colour_loss(logits, index, share, self.bins.w), {"error": error}, embedding=h)
