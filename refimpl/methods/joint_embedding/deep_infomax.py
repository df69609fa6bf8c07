r"""Deep InfoMax: learning deep representations by mutual information estimation and maximization.

R Devon Hjelm, Alex Fedorov, Samuel Lavoie-Marchildon, Karan Grewal, Phil Bachman, Adam Trischler, Yoshua Bengio.
"Learning deep representations by mutual information estimation and maximization." ICLR 2019. arXiv 1808.06670. With
views and scales (AMDIM): Philip Bachman, R Devon Hjelm, William Buchwalter. "Learning Representations by Maximizing
Mutual Information Across Views." NeurIPS 2019. arXiv 1906.00910.

**Idea.** The feature of a whole image should tell as much as possible about every place of it: a small network scores
whether a global feature and the feature of a place belong to one image, and the encoder is trained to make that easy.
What all places share is worth most, so noise and detail of a single place are not what is kept.

**Objective.** With the global feature $y = E(x)$, the features $c^{(i)}$ of $M^2$ places and the score $T$, the
information $\hat{I}$ is bounded by one of two estimators, where $x'$ are other images (Eq. 4 and 5; $\mathrm{sp}$ is
the softplus):

$$\hat{I}^{\mathrm{JSD}} = \mathbb{E}\left[-\mathrm{sp}(-T(x, y))\right] - \mathbb{E}\left[\mathrm{sp}(T(x', y))\right],
\qquad \hat{I}^{\mathrm{NCE}} = \mathbb{E}\left[T(x, y) - \log \sum_{x'} e^{T(x', y)}\right]$$

All together (Eq. 8), the first term over the map as one, the second over its places; the third, with a discriminator
$D$, makes $y$ distributed as a prior, noise that is uniform in each number (Eq. 7):

$$\max_E \; \alpha \hat{I}(c; y) + \frac{\beta}{M^2} \sum_i \hat{I}(c^{(i)}; y)
  \; + \; \min_E \max_D \; \gamma \left( \mathbb{E} \log D(u) + \mathbb{E} \log(1 - D(y)) \right)$$

With scores of 0 an estimator costs $2 \ln 2$ and $\ln((N - 1) M^2 + 1)$ for $N$ images.

**AMDIM** (`--preset amdim`) is the same with two random views: the global feature of one against the places of the
other, in maps of several `stages`; and, with `across`, a random place of the finest map against all places of the
other view's (in the authors' code of the coarser of its two maps). Scores are held in $\pm$ `clip` by a tanh and have a
`penalty` on their squares.

**Defaults.** DIM(L), the paper's for classification: $\alpha = 0$, $\beta = 1$, $\gamma = 0.1$ (DIM(G): 1, 0, 1), $y$
of 64 numbers, scores as products of embedded features, negatives from all places of all other images (appendix A and
the authors' code; 2,048 `units` there, 256 here). InfoNCE, which the paper finds best where negatives are many; the
authors' code starts with `estimator=jsd`. The map is the network's first: there a place sees about 10 pixels, as in the
paper, and in later maps of a ResNet nearly all of a small image. Of large maps `places` are drawn, as in that code.

**Left out, or different.** Products are divided by $\sqrt{\mathrm{units}}$, as AMDIM's, in place of a layer norm. $D$
learns in the same step as the encoder, as in the authors' code, and the encoder maximises $\log D(y)$ rather than
minimise $\log(1 - D(y))$. Occluded views, prediction of coordinates, the bound of Donsker and Varadhan; of AMDIM its
encoder without padding and its mixture of features. Crops, flips and turns are added.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import ModuleList
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.maps import map_width
from refimpl.parts.pairs import own_and_others, own_rows
from refimpl.parts.precision import full, full_precision

GRID = 4  # the map as one is read on a grid of this many places a side


@full_precision
def products(sources: Tensor, places: Tensor) -> Tensor:
    """Scores T (B, N, S) of embedded global features (B, U) and the embedded places of all images (N, S, U)."""
    return torch.einsum("bu,nsu->bns", sources, places) / places.shape[2] ** 0.5


@full_precision
def jsd(scores: Tensor, own: Tensor) -> Tensor:
    """Eq. 4, negated: positives and negatives count the same, however many they are.

    Args:
        scores: (B, N, S), T of each image's global feature and the S places of all N images.
        own: (B,) which of the N each image is.
    Returns:
        scalar, the mean over images and places.
    """
    positive, others = own_and_others(scores, own)
    return F.softplus(-positive).mean() + F.softplus(others).sum() / (scores.numel() - positive.numel())


@full_precision
def infonce(scores: Tensor, own: Tensor) -> Tensor:
    """Eq. 5, negated; arguments and result as of `jsd`. Each place is told from all places of all other images."""
    positive, others = own_and_others(scores, own)
    every = torch.logaddexp(positive, others.flatten(1).logsumexp(1, keepdim=True))
    return (every - positive).mean()


ESTIMATORS = {"jsd": jsd, "infonce": infonce}


class DeepInfoMax(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=40, batch=64, optimiser="adam", lr=1e-3, weight_decay=0.0)
    presets = {
        "paper": {  # DIM(L): rate 1e-4 for a batch of 64, the authors' code; its own networks of 3 to 5 layers
            "epochs": 1000, "batch": 64, "lr": 4e-4, "warmup": 0.0, "units": 2048, "crop": 1.0,
        },
        "amdim": {  # its section 4 and the authors' code; the encoder is its own there
            "epochs": 150, "batch": 1008, "lr": 5e-5, "views": 2, "stages": (-3, -2), "across": True, "clip": 20.0,
            "penalty": 0.04, "prior": 0.0, "units": 2048, "dim": 1024,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "units": 32}
    proof = {
        "samples": 2000, "size": 32, "bands": "B03", "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 4e-3,
        "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        estimator: str = "infonce",
        whole: float = 0.0,
        local: float = 1.0,
        prior: float = 0.1,
        dim: int = 64,
        units: int = 256,
        stages: tuple = (-5,),
        places: int = 256,
        views: int = 1,
        across: bool = False,
        clip: float = 0.0,
        penalty: float = 0.0,
        crop: float = 0.3,
    ):
        """whole, local, prior: alpha, beta, gamma. dim: of y. units: whose products are scores. places: at most."""
        super().__init__(inputs, backbone)
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator is {' or '.join(ESTIMATORS)}, not {estimator!r}")
        self.information = ESTIMATORS[estimator]
        self.whole, self.local, self.prior = whole, local, prior
        self.across, self.clip, self.penalty, self.places = across, clip, penalty, places
        first = -len(getattr(getattr(self.encoder, "net", None), "feature_info", []))
        self.stages = sorted({max(stage, first) for stage in stages})
        self.views = [View(scale=(crop, 1.0)) if views > 1 else View.geometric(scale=(crop, 1.0))] * views
        widths = [map_width(self.encoder, stage) for stage in self.stages]
        self.to_y = mlp(self.encoder.width, dim)
        self.embed_y = mlp(dim, units, units)
        self.embed_places = ModuleList(mlp(width, units, units) for width in widths if local or across)
        self.embed_whole = ModuleList(mlp(width * GRID**2, units, units) for width in widths if whole)
        for network in (*self.embed_places, *self.embed_whole):
            network[-1].register_parameter("bias", None)  # the same for every place: InfoNCE would not notice it
        self.discriminator = mlp(dim, 1000, 200, 1, norm=False) if prior else None

    def prepare(self, batch, draws):
        x = torch.cat(random_views(batch["image"], self.views, self.encoder, draws))
        dim = self.to_y[-1].out_features
        random = draws.uniform(len(self.views), dim + self.places).transpose(0, 1).flatten(0, 1)
        return {"x": x, "prior": random[:, :dim], "at": random[:, dim:]}

    def prior_losses(self, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator minimises, and what the encoder does; y: (V * B, dim), noise: likewise, uniform."""
        y = torch.sigmoid(full(y))
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        real, fake = full(self.discriminator(noise)), full(self.discriminator(y.detach()))
        fooled = full(functional_call(self.discriminator, frozen, (y,)))
        return F.softplus(-real).mean() + F.softplus(fake).mean(), F.softplus(-fooled).mean()

    def some(self, feature_map: Tensor, at: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, S, D), its places in order, or those `at` (B, places) in [0, 1) if these are fewer."""
        every = feature_map.flatten(2).transpose(1, 2)
        if every.shape[1] <= self.places:
            return every
        return every.gather(1, (at * every.shape[1]).long()[:, :, None].expand(-1, -1, every.shape[2]))

    def embedded(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Views (V * B, C, H, W) -> h, y, and for each stage its places (V * B, S, U) and it as one (V * B, 1, U)."""
        last, maps = self.encoder.net.forward_intermediates(x, indices=self.stages)
        h = self.encoder.pool(last)
        places = [self.some(m, at) for m in maps]
        local = [net(p.flatten(0, 1)).unflatten(0, p.shape[:2]) for net, p in zip(self.embed_places, places)]
        whole = [net(F.adaptive_avg_pool2d(m, GRID).flatten(1))[:, None] for net, m in zip(self.embed_whole, maps)]
        return h, self.to_y(h), local, whole

    def forward(self, batch, turn="all"):
        h, y, local, whole = self.embedded(batch["x"], batch["at"])
        count, source = len(self.views), self.embed_y(y)
        own = own_rows(h.chunk(count)[0])
        terms = [(self.local, source, places) for places in local if self.local]
        terms += [(self.whole, source, places) for places in whole]
        if self.across:
            pick = (batch["at"][:, 0] * local[0].shape[1]).long()
            terms.append((1.0, local[0][torch.arange(len(h), device=h.device), pick], local[0]))
        bound = squares = 0.0
        for weight, sources, places in terms:
            for a, b in zip(sources.chunk(count), reversed(places.chunk(count))):  # the other view, or the only one
                scores = products(a, gather(b))
                squares = squares + scores.square().mean() / count
                scores = self.clip * torch.tanh(scores / self.clip) if self.clip else scores
                bound = bound + weight * self.information(scores, own) / count
        loss, metrics = bound + self.penalty * squares, {"bound": bound.detach()}
        if self.discriminator is not None:
            judged, fooled = self.prior_losses(y, batch["prior"])
            loss, metrics = loss + judged + self.prior * fooled, {**metrics, "prior": judged.detach()}
        return Output(loss, metrics, embedding=h)
