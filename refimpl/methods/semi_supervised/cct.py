r"""CCT (cross-consistency training): decoders that see disturbed features must agree with the one that sees them whole.

Yassine Ouali, Céline Hudelot, Myriam Tami. "Semi-Supervised Semantic Segmentation With Cross-Consistency Training."
CVPR 2020. arXiv 2003.09005.

**Idea.** Pixels of one class often differ more from one another than from those across a border, so disturbing images
does not separate classes; in the features of an encoder borders lie where they should. So disturb the features: each
auxiliary decoder gets them spoiled in its own way and has to say what the main decoder says, on images without labels.

**Objective.** With the encoder's features $z = h(x)$, the main decoder $g$, $K$ auxiliary decoders $g_a^k$ and their
disturbed features $\tilde z^k$ (section 3.2):

$$\mathcal{L}_s = \frac{1}{|\mathcal{D}_l|} \sum_{x_i \in \mathcal{D}_l} H(y_i, g(h(x_i))), \qquad
\mathcal{L}_u = \frac{1}{|\mathcal{D}_u|} \frac{1}{K} \sum_{x_i \in \mathcal{D}_u} \sum_{k=1}^{K}
d(g(z_i), g_a^k(\tilde z_i^k)), \qquad \mathcal{L} = \mathcal{L}_s + \omega_u \mathcal{L}_u$$

where $d$ is the mean squared difference of the probabilities. Only the encoder and the auxiliary decoders learn from
$\mathcal{L}_u$; no gradient goes into $g(z_i)$.

**Disturbances** (section 3.3), one decoder each. Noise: $z + z \odot n$, $n$ uniform in $\pm 0.3$. Dropped features:
the most active places, those above 0.7 to 0.9 of the greatest mean activation. Dropout of whole channels, half of them.
Hidden context and hidden objects: what the main decoder takes for background, or for anything else, becomes 0.

**Defaults.** $\omega_u$ rises to 30 over the first tenth of a run as $e^{-5 (1 - t)^2}$; ranges as above (the authors'
configuration). `labels` images keep their land cover, chosen once by `choice`; the commonest cover is the background.

**Left out, or different.** Guided Cutout, which needs the contours of objects, and virtual adversarial noise, which
needs a gradient of its own; several decoders of one kind. Decoders are a linear layer at each place, enlarged
bilinearly, not by sub-pixel convolutions; they are compared before that. In place of a dilated ResNet with pyramid
pooling the last `maps` feature maps are joined, at the size of the largest. Bootstrapped cross entropy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.labelled import Few
from refimpl.parts.landcover import commonest_cover, turned
from refimpl.parts.maps import map_width
from refimpl.parts.precision import full, full_precision

DISTURBANCES = ("noise", "dropped", "dropout", "context", "objects")
THRESHOLDS = 0.7, 0.9  # of dropped features


def without_most_active(z: Tensor, threshold: Tensor) -> Tensor:
    """(B, D, h, w) features, 0 where their mean over channels is at least `threshold` (B,) of its maximum."""
    activity = z.mean(1, keepdim=True)
    return z * (activity < threshold.view(-1, 1, 1, 1) * activity.amax((2, 3), keepdim=True))


@full_precision
def disagreement(main: Tensor, auxiliary: Tensor) -> Tensor:
    """d: mean squared difference of the class probabilities of two decoders, (B, K, h, w) logits each.

    No gradient goes into `main`.
    """
    return (main.detach().softmax(1) - auxiliary.softmax(1)).square().mean()


def rise(fraction: float, length: float = 0.1) -> float:
    """The share of omega_u that has been reached when `fraction` of a run is done."""
    return math.exp(-5 * max(0.0, 1 - fraction / length) ** 2)


class CCT(Method):
    needs = ("image", "landcover")
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=64, lr=2e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4.1 and the authors' configuration: batches of 10 + 10, rate 1e-2
            "backbone": "resnet50", "epochs": 80, "batch": 10, "optimiser": "sgd", "lr": 0.256, "warmup": 0.0,
            "width": 512, "labels": 1464,
        },
    }  # fmt: skip
    smoke = {"batch": 16, "width": 32}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 12, "batch": 32, "lr": 8e-3, "labels": 100,
        "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        classes: int = 11,
        background: int = 0,
        labels: int = 100,
        choice: int = 0,
        maps: int = 3,
        width: int = 128,
        weight: float = 30.0,
        noise: float = 0.3,
        dropout: float = 0.5,
    ):
        """labels: images with land cover. maps: last feature maps that are read. width: of z. weight: omega_u's end."""
        super().__init__(inputs, backbone)
        self.background, self.weight, self.noise = background, weight, noise
        self.labelled = Few(labels, choice)
        self.stages = list(range(-maps, 0))
        widths = sum(map_width(self.encoder, stage) for stage in self.stages)
        self.join = nn.Sequential(nn.Conv2d(widths, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.grid = -(-self.encoder.input.size // self.encoder.net.feature_info[-maps]["reduction"])
        self.decoder = nn.Conv2d(width, classes, 1)
        self.auxiliary = nn.ModuleDict({name: nn.Conv2d(width, classes, 1) for name in DISTURBANCES})
        self.dropout = nn.Dropout2d(dropout)
        self.view = View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False, blur=0.0)
        self.register_buffer("share", torch.tensor(rise(0.0)))  # of omega_u's end

    @classmethod
    def settings_for(cls, data):
        classes, background = commonest_cover(data)
        return {"classes": classes, "background": background}

    def draw(self, data, index, draws):
        # Each sample of the batch brings itself as unlabelled and one labelled image.
        labelled = self.labelled.of(data).to(index)
        known = labelled[draws.integers(len(labelled)).to(index.device)]
        images = {"image": data.take("image", known), "unlabelled": data.take("image", index)}
        return {**images, "landcover": data.take("landcover", known)}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        (u,) = random_views(batch["unlabelled"], [self.view], self.encoder, draws)
        way, other = draws.integers(8), draws.integers(8)
        return {
            "x": torch.cat([turned(x, way), turned(u, other)]),
            "cover": turned(batch["landcover"].long(), way),
            "noise": draws.uniform(self.decoder.in_channels, self.grid, self.grid, low=-self.noise, high=self.noise),
            "threshold": draws.uniform(low=THRESHOLDS[0], high=THRESHOLDS[1]),
        }

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> features of the images (B, width of the encoder), and z (B, width, grid, grid)."""
        last, maps = self.encoder.net.forward_intermediates(x, indices=self.stages)
        maps = [F.interpolate(m, maps[0].shape[2:], mode="bilinear") for m in maps]
        return self.encoder.pool(last), self.join(torch.cat(maps, 1))

    def disturbed(self, z: Tensor, main: Tensor, batch) -> dict[str, Tensor]:
        """z (B, D, h, w) in each of the ways of `DISTURBANCES`; main: (B, K, h, w) logits of the main decoder."""
        thing = main.argmax(1, keepdim=True) != self.background
        return {
            "noise": z * (1 + batch["noise"]),
            "dropped": without_most_active(z, batch["threshold"]),
            "dropout": self.dropout(z),
            "context": z * thing,
            "objects": z * ~thing,
        }

    def forward(self, batch, turn="all"):
        n = len(batch["cover"])
        h, z = self.features(batch["x"])
        main = self.decoder(z)
        whole = F.interpolate(full(main[:n]), batch["cover"].shape[1:], mode="bilinear")
        supervised = F.cross_entropy(whole, batch["cover"])
        disturbed = self.disturbed(z[n:], main[n:], batch)
        parts = {name: disagreement(main[n:], self.auxiliary[name](part)) for name, part in disturbed.items()}
        unsupervised = torch.stack(list(parts.values())).mean()
        loss = supervised + self.weight * self.share * unsupervised
        return Output(loss, {"supervised": supervised, "unsupervised": unsupervised, **parts}, embedding=h)

    def after_step(self, progress):
        self.share.fill_(rise(progress.fraction))
