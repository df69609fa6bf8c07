r"""PCL: prototypical contrastive learning of unsupervised representations.

Junnan Li, Pan Zhou, Caiming Xiong, Steven C.H. Hoi. "Prototypical Contrastive Learning of Unsupervised
Representations." ICLR 2021. arXiv 2005.04966.

**Idea.** MoCo tells every image from every other, also from those that look alike. PCL groups the images before each
epoch (the E step), several times with clusters of different sizes, and asks each image to be near its cluster's centre,
the prototype, and far from other prototypes (the M step).

**Objective.** MoCo's loss and, for $M$ clusterings with prototypes $c^m$ of unit length, assignments $s_m$ and a
concentration $\phi^m$ of each cluster (Eq. 11):

$$\mathcal{L} = \mathcal{L}_{\mathrm{InfoNCE}} + \frac{1}{M} \sum_m -\log
\frac{\exp(v \cdot c^m_{s_m} / \phi^m_{s_m})}{\sum_j \exp(v \cdot c^m_j / \phi^m_j)}$$

A tight cluster gets a low temperature. From its $Z$ members $v'_z$, features of the momentum encoder, and the centre
$c$ (Eq. 12, with $\alpha = 10$):

$$\phi = \frac{\sum_{z=1}^{Z} \lVert v'_z - c \rVert_2}{Z \log(Z + \alpha)}$$

scaled so that the mean of a clustering is $\tau$. At first, for `alone` epochs, MoCo's loss is trained by itself.

**Defaults.** $\tau = 0.2$ and the head of version 2 (the authors' code; version 1: 0.1, a linear layer), $m = 0.999$.
25,000, 50,000 and 100,000 clusters for 1.3 million images, 25, 50 and 100 here, which suits a thousand or two; 16,384
negatives in the queue there, 1,024 here. As in that code $\phi$ is cut at its 10th and 90th percentiles, and a cluster
of one image has the largest.

**Left out, or different.** All other prototypes are negatives, in place of a sample of them without those of the batch.
As in MoCo here, the key encoder normalises with running statistics; clustering is one run of $k$-means, not the best of
five. Hue.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main, gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.info_nce import info_nce
from refimpl.parts.k_means import k_means
from refimpl.parts.precision import full, full_precision
from refimpl.parts.queue import Queue
from refimpl.parts.teacher import Teacher


def concentration(features: Tensor, centres: Tensor, assignment: Tensor, temperature: float) -> Tensor:
    """phi of each cluster, Eq. 12, cut and scaled to the mean `temperature`.

    Args:
        features: (N, D) of unit length. centres: (K, D) means of the clusters. assignment: (N,) cluster of each.
    Returns:
        (K,).
    """
    distance = torch.linalg.vector_norm(features - centres[assignment], dim=1)
    sizes = torch.bincount(assignment, minlength=len(centres)).to(features.dtype)
    phi = torch.zeros_like(centres[:, 0]).index_add_(0, assignment, distance) / (sizes * torch.log(sizes + 10.0))
    phi = torch.where(sizes > 1, phi, 0.0)
    phi = torch.where(sizes > 1, phi, phi.max())
    phi = phi.clamp(torch.quantile(phi, 0.1), torch.quantile(phi, 0.9)).clamp(min=1e-6)
    return temperature * phi / phi.mean()


@full_precision
def proto_nce(features: Tensor, prototypes: Tensor, phi: Tensor, assignment: Tensor) -> Tensor:
    """The second term of Eq. 11 for one clustering; scalar, the mean over images.

    Args:
        features: (B, D). prototypes: (K, D). Rows need not be normalised. phi: (K,). assignment: (B,).
    """
    return F.cross_entropy(F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T / phi, assignment)


class PCL(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 4.1 and the authors' code, version 2
            "backbone": "resnet50", "epochs": 200, "batch": 256, "optimiser": "sgd", "lr": 0.03, "warmup": 0.0,
            "queue": 16384, "alone": 20, "clusters": (25000, 50000, 100000),
        },
    }  # fmt: skip
    smoke = {"dim": 16, "queue": 64, "alone": 0, "clusters": (4, 8)}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 64, "momentum": 0.98, "alone": 3,
        "queue": 1024, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        clusters: tuple = (25, 50, 100),
        alone: int = 2,
        dim: int = 128,
        queue: int = 1024,
        momentum: float = 0.999,
        temperature: float = 0.2,
        crop: float = 0.2,
    ):
        """clusters: how many in each clustering. alone: epochs with MoCo's loss only."""
        super().__init__(inputs, backbone)
        self.clusters, self.alone, self.momentum, self.temperature = clusters, alone, momentum, temperature
        self.view = View(scale=(crop, 1.0))
        width = self.encoder.width
        self.head = mlp(width, width, dim, norm=False)
        self.teacher = Teacher(self.encoder, self.head, batch_statistics=False)
        self.queue = Queue(queue, dim)
        # Cluster of every sample of the data set in each clustering, -1 where it has none; sized by the data.
        self.register_buffer("assignment", torch.empty(len(clusters), 0, dtype=torch.int64))
        for m in range(len(clusters)):
            self.register_buffer(f"prototypes_{m}", torch.empty(0, dim))
            self.register_buffer(f"phi_{m}", torch.empty(0))
        self.clustering = False
        self.fresh: list[Tensor] = []  # keys of this step's batches, which no loss of the step has seen

    def embed(self, stored):
        if self.clustering:  # what is clustered: the momentum encoder's projections of whole images
            return self.teacher(self.encoder.normalise(stored))
        return super().embed(stored)

    def before_epoch(self, epoch, data, tools):
        if epoch < self.alone:
            return
        self.clustering = True
        v = F.normalize(tools.features(), dim=1)
        self.clustering = False
        train = torch.as_tensor(data.splits["train"], device=v.device)
        self.assignment = torch.full((len(self.clusters), len(data)), -1, device=v.device)
        for m, k in enumerate(self.clusters):
            centres, nearest = (from_main(x) for x in k_means(v, min(k, len(v)), tools.generator))
            self.assignment[m, train] = nearest
            like = getattr(self, f"prototypes_{m}")
            setattr(self, f"prototypes_{m}", centres.to(like.dtype))
            setattr(self, f"phi_{m}", concentration(v, centres, nearest, self.temperature).to(like.dtype))

    def draw(self, data, index, draws):
        image = data.take("image", index)
        if not self.assignment.shape[1]:  # in the first epochs
            return {"image": image}
        return {"image": image, "clusters": self.assignment.T[index.to(self.assignment.device)]}

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {**batch, "query": x1, "key": x2}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["query"])
        v, keys = self.head(h), F.normalize(full(self.teacher(batch["key"])), dim=1)
        self.fresh.append(gather(keys))
        instance = loss = info_nce(v, keys, self.queue.rows, self.temperature)
        for m in range(len(self.clusters)) if "clusters" in batch else ():
            prototypes, phi = getattr(self, f"prototypes_{m}"), getattr(self, f"phi_{m}")
            loss = loss + proto_nce(v, prototypes, phi, batch["clusters"][:, m]) / len(self.clusters)
        return Output(loss, {"instance": instance}, embedding=h)

    def after_step(self, progress):
        self.queue.put(torch.cat(self.fresh))
        self.fresh.clear()
        self.teacher.follow(self.momentum, self.encoder, self.head)
