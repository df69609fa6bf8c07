r"""AudioCLIP: three modalities in one space, each pair of them contrasted.

Andrey Guzhov, Federico Raue, Jörn Hees, Andreas Dengel. "AudioCLIP: Extending CLIP to Image, Text and Audio." ICASSP
2022. arXiv 2106.13043.

**Idea.** CLIP brings an image near the words that go with it. A third modality joins: each has a network of its own,
and for every pair of modalities the two parts of one sample must find each other among the parts of all others.

**Objective.** With embeddings of unit length $a_i, b_i$ of sample $i$ in two modalities and a scale $s_{ab}$ that is
learned for each pair (CLIP's loss; section 3 and the authors' code):

$$\ell_{ab} = -\frac{1}{2N} \sum_{i} \left( \log \frac{e^{s_{ab} a_i \cdot b_i}}{\sum_j e^{s_{ab} a_i \cdot b_j}}
+ \log \frac{e^{s_{ab} a_i \cdot b_i}}{\sum_j e^{s_{ab} a_j \cdot b_i}} \right), \qquad
\mathcal{L} = \frac{1}{3} \left( \ell_{ab} + \ell_{ac} + \ell_{bc} \right)$$

With unrelated embeddings it is about $\ln N$. $1 / s$ is what other papers call temperature.

**The modalities.** The paper's are images, sounds and, as words, the names of their classes, which makes it a
supervised method. Here they are an image, a second sensor's image of the place and the place itself: its coordinates
come with every satellite image, so nothing is labelled. They are read as sines and cosines of wavelengths from the
extent of the data, halved `waves` - 1 times, by a network of two layers.

**Defaults.** Scales are held below 100, and start at 1 / 0.07 as CLIP's did; the paper's start at 100, where CLIP's had
ended. One linear layer for each modality, to 1,024 numbers there and 128 here. SGD with Nesterov's momentum in the
paper; AdamW here, as for CLIP.

**Left out, or different.** The paper begins with the weights of CLIP and of an audio network, and at first trains the
latter alone; here all begin at random. A scale that has reached its bound is set back to it after the step: the
authors' code clips it in the loss, where it gets no gradient any more. Images are cropped, flipped and turned, both of
a place by themselves. What is judged and kept is the first image's encoder.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import build_encoder
from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.pairs import own_rows
from refimpl.parts.precision import full, full_precision

LARGEST = 100.0  # of a scale


@full_precision
def pair_loss(a: Tensor, b: Tensor, every_a: Tensor, every_b: Tensor, own: Tensor, scale: Tensor) -> Tensor:
    """l_ab above for the samples of this process; scalar, the mean over them.

    Args:
        a, b: (B, D) of unit length. every_a, every_b: (N, D), those of the global batch. own: (B,) which of the N.
        scale: s_ab.
    """
    return (F.cross_entropy(scale * a @ every_b.T, own) + F.cross_entropy(scale * b @ every_a.T, own)) / 2


class LocationEncoder(nn.Module):
    """(B, 2) easting and northing in metres -> (B, width)."""

    def __init__(self, centre: tuple, span: float, waves: int, width: int):
        super().__init__()
        self.width = width
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float64))
        self.register_buffer("rates", 2 * math.pi / span * 2.0 ** torch.arange(waves, dtype=torch.float64))
        self.network = mlp(4 * waves, width, width)

    def code(self, location: Tensor) -> Tensor:
        """(B, 4 * waves): sines of all wavelengths of both coordinates, then cosines."""
        phase = ((location.double() - self.centre)[:, :, None] * self.rates).flatten(1)  # metres need many digits
        return torch.cat([phase.sin(), phase.cos()], dim=1)

    def forward(self, location: Tensor) -> Tensor:
        return self.network(self.code(location).to(self.network[0].weight.dtype))


class AudioCLIP(Method):
    needs = ("image", "second", "location")
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=40, batch=128, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4; its ResNet-50 is CLIP's, its rate falls from epoch to epoch
            "backbone": "resnet50", "epochs": 30, "batch": 64, "optimiser": "sgd", "lr": 2e-4, "weight_decay": 5e-4,
            "dim": 1024, "start": 100.0,
        },
    }  # fmt: skip
    smoke = {"dim": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 2e-3, "margin": 3.5,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 128,
        start: float = 1 / 0.07,
        centre: tuple = (0.0, 0.0),
        span: float = 1e5,
        waves: int = 8,
        crop: float = 0.5,
    ):
        """start: of the scales. centre, span: of the data, in metres. waves: wavelengths that a location is read by."""
        super().__init__(inputs, backbone)
        self.second = build_encoder(self.encoder.name, inputs["second"])
        self.location = LocationEncoder(centre, span, waves, 256)
        widths = {"image": self.encoder.width, "second": self.second.width, "location": self.location.width}
        self.project = nn.ModuleDict({name: nn.Linear(width, dim, bias=False) for name, width in widths.items()})
        self.pairs = list(combinations(widths, 2))
        self.log_scale = nn.Parameter(torch.full((len(self.pairs),), math.log(start)))
        self.view = View.geometric(scale=(crop, 1.0))

    @classmethod
    def settings_for(cls, data):
        places = data.take("location", torch.as_tensor(data.splits["train"])).double()
        low, high = places.amin(0), places.amax(0)
        return {"centre": tuple(((low + high) / 2).tolist()), "span": max(1.0, float((high - low).max()))}

    def prepare(self, batch, draws):
        (image,) = random_views(batch["image"], [self.view], self.encoder, draws)
        (second,) = random_views(batch["second"], [self.view], self.second, draws)
        return {"image": image, "second": second, "location": batch["location"]}

    def forward(self, batch, turn="all"):
        h = {name: network(batch[name]) for name, network in self.networks().items()}
        z = {name: F.normalize(full(self.project[name](each)), dim=1) for name, each in h.items()}
        every = {name: gather(each) for name, each in z.items()}
        own = own_rows(h["image"])
        losses = {
            f"{a}_{b}": pair_loss(z[a], z[b], every[a], every[b], own, scale)
            for (a, b), scale in zip(self.pairs, self.log_scale.exp(), strict=True)
        }
        metrics = {name: loss.detach() for name, loss in losses.items()}
        return Output(torch.stack(list(losses.values())).mean(), metrics, embedding=h["image"])

    def networks(self) -> dict[str, nn.Module]:
        return {"image": self.encoder, "second": self.second, "location": self.location}

    @torch.no_grad()
    def after_step(self, progress):
        self.log_scale.clamp_(max=math.log(LARGEST))
