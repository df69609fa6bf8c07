r"""Local Aggregation: close neighbours drawn nearer than all other neighbours.

Chengxu Zhuang, Alex Lin Zhai, Daniel Yamins. "Local Aggregation for Unsupervised Learning of Visual Embeddings." ICCV
2019. arXiv 1903.12355.

**Idea.** Telling every image from every other keeps those apart that show the same. So among the many images that are
near one in the embedding (its background neighbours), those that clustering puts with it, too (its close neighbours),
are drawn towards it and the rest pushed away. It is a local matter, so groups may be of any size and shape.

**Objective.** With the feature $v$ of a view and the memory's entries $f_j$, all of unit length, the probability that
an image is taken for one of a set (Eq. 1 and 2)

$$P(j \mid v) \propto \exp(f_j^\top v / \tau), \qquad P(A \mid v) = \sum_{j \in A} P(j \mid v)$$

and the loss for the $k$ nearest $\mathcal{B}_i$ and the close ones $\mathcal{C}_i$ (Eq. 3)

$$\mathcal{L} = -\log \frac{P(\mathcal{C}_i \cap \mathcal{B}_i \mid v_i)}{P(\mathcal{B}_i \mid v_i)}$$

$\mathcal{C}_i$ are the images that share the cluster of image $i$ in at least one of $H$ clusterings of the memory by
$k$-means, renewed before each epoch. With equal similarities the loss is $\ln(|\mathcal{B}| / |\mathcal{C} \cap
\mathcal{B}|)$. For the first epochs (`alone`) an image is its only close neighbour and all are background, which is
the softmax of instance discrimination. After the step the image's entry follows its feature.

**Defaults.** $\tau = 0.07$, 128 numbers, entries that keep half of what they were (section 3.3 and the authors' code).
There $k = 4096$ and $H = 10$ clusterings into 30,000 for 1.3 million images; here 512 and 3 into 50, groups of some
thirty images of the small data sets that come with this.

**Left out, or different.** The first epochs compare with the whole memory, in place of noise-contrastive estimation
with a constant $Z$. An image's own entry is always one of its neighbours, though it may not be among the $k$ nearest;
where none is close the authors' code takes the logarithm of a small constant. Hue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main, gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.k_means import k_means
from refimpl.parts.memory_bank import MemoryBank
from refimpl.parts.precision import full, full_precision


@full_precision
def aggregation_loss(similarity: Tensor, close: Tensor, temperature: float = 0.07) -> Tensor:
    """Eq. 3, the mean over images.

    Args:
        similarity: (B, K) of each image with its background neighbours, -inf for those that are none.
        close: (B, K) bool, which of them are close; at least one is.
    """
    s = similarity / temperature
    return (s.logsumexp(1) - s.masked_fill(~close, float("-inf")).logsumexp(1)).mean()


class LocalAggregation(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3.3 and the authors' code; the rate falls in steps there
            "backbone": "resnet50", "epochs": 200, "batch": 128, "optimiser": "sgd", "lr": 0.06, "warmup": 0.0,
            "alone": 10, "neighbours": 4096,
            "clusters": (30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000),
        },
    }  # fmt: skip
    smoke = {"dim": 16, "alone": 1, "neighbours": 16, "clusters": (4, 4)}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 64, "lr": 2e-3, "crop": 0.3,
        "alone": 8, "margin": 2.5,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        samples: int = 1000,
        dim: int = 128,
        neighbours: int = 512,
        clusters: tuple = (50, 50, 50),
        alone: int = 5,
        temperature: float = 0.07,
        momentum: float = 0.5,
        crop: float = 0.2,
    ):
        """samples: of the whole data set. neighbours: k. clusters: how many in each of the H clusterings."""
        super().__init__(inputs, backbone)
        self.neighbours, self.clusters, self.alone, self.temperature = neighbours, clusters, alone, temperature
        self.view = View(scale=(crop, 1.0), blur=0.0)
        self.head = nn.Linear(self.encoder.width, dim)
        self.bank = MemoryBank(samples, dim, momentum)
        self.register_buffer("known", torch.zeros(samples, dtype=torch.bool))  # the training samples
        # Cluster of every sample in each clustering, -1 where it has none; empty as long as images are alone.
        self.register_buffer("assignment", torch.empty(0, len(clusters), dtype=torch.int64))
        self.fresh: list[tuple[Tensor, Tensor]] = []  # numbers and features of this step's batches

    @classmethod
    def settings_for(cls, data):
        return {"samples": len(data)}

    def before_epoch(self, epoch, data, tools):
        train = torch.as_tensor(data.splits["train"], device=self.known.device)
        self.known[train] = True
        if epoch < self.alone:
            return
        entries = self.bank.rows[train]
        found = [k_means(entries, min(k, len(train)), tools.generator)[1] for k in self.clusters]
        self.assignment = torch.full((len(data), len(found)), -1, device=train.device)
        self.assignment[train] = from_main(torch.stack(found, dim=1))

    def draw(self, data, index, draws):
        return {"image": data.take("image", index), "index": index}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "index": batch["index"]}

    @full_precision
    def background(self, v: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and numbers (B,) of images -> (similarity, close), as `aggregation_loss` wants them."""
        every = (v @ self.bank.rows.T).masked_fill(~self.known, float("-inf"))
        own = index[:, None]
        if not len(self.assignment):
            return every, torch.zeros_like(every, dtype=torch.bool).scatter(1, own, True)
        # The image itself first, whatever its similarity.
        nearest = every.detach().scatter(1, own, float("inf")).topk(min(self.neighbours, every.shape[1])).indices
        close = (self.assignment[nearest] == self.assignment[own]).any(2)
        return every.gather(1, nearest), close & self.known[nearest]

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        v = F.normalize(full(self.head(h)), dim=1)
        similarity, close = self.background(v, batch["index"])
        self.fresh.append((gather(batch["index"]), gather(v.detach())))
        metrics = {"close": close.sum(1).float().mean()}
        return Output(aggregation_loss(similarity, close, self.temperature), metrics, embedding=h)

    def after_step(self, progress):
        self.bank.put(*(torch.cat(parts) for parts in zip(*self.fresh, strict=True)))
        self.fresh.clear()
