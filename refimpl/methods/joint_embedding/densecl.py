r"""DenseCL: dense contrastive learning, place against place on the feature map.

Xinlong Wang, Rufeng Zhang, Chunhua Shen, Tao Kong, Lei Li. "Dense Contrastive Learning for Self-Supervised Visual
Pre-Training." CVPR 2021. arXiv 2011.09157.

**Idea.** Contrast of whole images makes features for whole images. So contrast places as well: each vector of one
view's feature map is paired with the vector of the other view's map whose backbone feature is most alike, and told from
the means of other images. Where the crops lie to each other need not be known.

**Objective.** MoCo's loss twice, once for images and once for the $S^2$ places of the map (Eq. 1 to 4):

$$\mathcal{L}_r = \frac{1}{S^2} \sum_s -\log
\frac{\exp(r^s \cdot t_+^s / \tau)}{\exp(r^s \cdot t_+^s / \tau) + \sum_{t_-} \exp(r^s \cdot t_- / \tau)}, \qquad
\mathcal{L} = (1 - \lambda) \mathcal{L}_q + \lambda \mathcal{L}_r$$

with the dense projections $r^s$ of the query and $t^{c(s)} = t_+^s$ of the key, where
$c(s) = \operatorname{argmax}_j \cos(f^s, f'^j)$ compares the *backbone's* features (Eq. 4). The
negatives $t_-$ wait in a second queue: each is the mean over the
map of one image's dense projections. With unrelated keys both losses are $\ln(K + 1)$.

**Defaults.** Those of MoCo v2 but for $\lambda = 0.5$ (section 3.3): $\tau = 0.2$, $m = 0.999$, heads with a hidden
layer and 128 outputs. Two queues of 65,536 in the paper, 4,096 here. The paper takes the map of the last stage, 7 x 7
of 224 pixels; of the small images here that map has a place or four, so by default it is the `stage` before the last.

**Left out, or different.** As in MoCo here, the key encoder normalises with running statistics, in place of shuffling
the batch; hue. The optional pooling of the map to a fixed grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.info_nce import info_nce
from refimpl.parts.maps import features_and_map, map_width
from refimpl.parts.precision import full, full_precision
from refimpl.parts.queue import Queue
from refimpl.parts.teacher import Teacher


@torch.no_grad()
@full_precision
def correspondence(query: Tensor, key: Tensor) -> Tensor:
    """Eq. 4: (B, S) for each place of the query's map the place of the key's that is most alike.

    query, key: (B, S, D) backbone features of the two views of each image.
    """
    return (F.normalize(query, dim=2) @ F.normalize(key, dim=2).transpose(1, 2)).argmax(2)


def dense_loss(queries: Tensor, keys: Tensor, match: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Eq. 2, the mean over images and places.

    Args:
        queries, keys: (B, S, D) dense projections. match: (B, S) the place of the positive in `keys`.
        negatives: (K, D) means of other images. Rows need not be normalised; no gradient goes into keys and negatives.
    """
    positives = keys.gather(1, match[:, :, None].expand_as(keys))
    return info_nce(queries.flatten(0, 1), positives.flatten(0, 1), negatives, temperature)


class DenseCL(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4.1: that of MoCo v2
            "backbone": "resnet50", "epochs": 200, "batch": 256, "optimiser": "sgd", "lr": 0.03, "warmup": 0.0,
            "queue": 65536, "stage": -1,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "queue": 64}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 64, "momentum": 0.98,
        "queue": 1024, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 128,
        queue: int = 4096,
        momentum: float = 0.999,
        temperature: float = 0.2,
        dense: float = 0.5,
        stage: int = -2,
        crop: float = 0.2,
    ):
        """dense: lambda, the weight of places against images. stage: whose map is contrasted, -1 for the last."""
        super().__init__(inputs, backbone)
        self.momentum, self.temperature, self.dense, self.stage = momentum, temperature, dense, stage
        self.view = View(scale=(crop, 1.0))
        width, places = self.encoder.width, map_width(self.encoder, stage)
        self.head = mlp(width, width, dim, norm=False)
        self.dense_head = mlp(places, places, dim, norm=False)  # the same at every place: 1 x 1 convolutions
        self.teacher = Teacher(self.encoder, self.head, self.dense_head, batch_statistics=False)
        self.queue, self.dense_queue = Queue(queue, dim), Queue(queue, dim)
        self.fresh: list[tuple[Tensor, Tensor]] = []  # keys of this step's batches, which no loss of the step has seen

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"query": x1, "key": x2}

    @torch.no_grad()
    def keys(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The key encoder's map (B, S, D'), projections (B, D) of the images and (B, S, D) of their places."""
        encoder, head, dense_head = self.teacher.networks
        h, places = features_and_map(encoder, x, self.stage)
        return places, head(h), dense_head(places)

    def forward(self, batch, turn="all"):
        h, places = features_and_map(self.encoder, batch["query"], self.stage)
        key_places, keys, dense_keys = self.keys(batch["key"])
        one = info_nce(self.head(h), keys, self.queue.rows, self.temperature)
        match = correspondence(places, key_places)
        many = dense_loss(self.dense_head(places), dense_keys, match, self.dense_queue.rows, self.temperature)
        self.fresh.append(tuple(gather(F.normalize(full(rows), dim=1)) for rows in (keys, dense_keys.mean(1))))
        loss = (1 - self.dense) * one + self.dense * many
        return Output(loss, {"images": one, "places": many}, embedding=h)

    def after_step(self, progress):
        for queue, rows in zip((self.queue, self.dense_queue), zip(*self.fresh), strict=True):
            queue.put(torch.cat(rows))
        self.fresh.clear()
        self.teacher.follow(self.momentum, self.encoder, self.head, self.dense_head)
