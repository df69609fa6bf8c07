r"""MoCo: momentum contrast for unsupervised visual representation learning.

Kaiming He, Haoqi Fan, Yuxin Wu, Saining Xie, Ross Girshick. "Momentum Contrast for Unsupervised Visual Representation
Learning." CVPR 2020. arXiv 1911.05722. Version 2: Xinlei Chen, Haoqi Fan, Ross Girshick, Kaiming He. "Improved
Baselines with Momentum Contrastive Learning." 2020. arXiv 2003.04297.

**Idea.** Contrast needs many negatives, but not a large batch: the keys of earlier batches wait in a queue. So that old
and new keys agree with one another, they come from a copy of the encoder that follows it slowly.

**Objective.** With the query $q$ of one view, the key $k_+$ of the other and the keys $k_i$ of the queue, all of unit
length (Eq. 1):

$$\mathcal{L}_q = -\log
\frac{\exp(q \cdot k_+ / \tau)}{\exp(q \cdot k_+ / \tau) + \sum_{i=1}^{K} \exp(q \cdot k_i / \tau)}$$

The key encoder follows as $\theta_k \leftarrow m \theta_k + (1 - m) \theta_q$ (Eq. 2). With unrelated keys the loss is
$\ln(K + 1)$. The keys of a batch enter the queue after its loss: before, each positive would be a negative too.

**Defaults.** Version 2, `version=1` for the first: a hidden layer in the head, blur, $\tau = 0.2$ (version 1: one
linear layer, no blur, $\tau = 0.07$); $m = 0.999$, 128 outputs. The queue holds 65,536 keys in the paper, for 1.3
million images; 4,096 here.

**Left out, or different.** Shuffled batch normalisation: a query must not recognise its key by the statistics of the
batch they share. Here the key encoder normalises with running statistics, which no batch has a part in (as EMAN, Cai et
al., arXiv 2101.08482). The momentum of short runs is lower in the proof. Hue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.info_nce import info_nce
from refimpl.parts.precision import full
from refimpl.parts.queue import Queue
from refimpl.parts.teacher import Teacher

TEMPERATURE = {1: 0.07, 2: 0.2}


class MoCo(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # version 2: 200 epochs, cosine schedule; the rest as section 3.3 of the first
            "backbone": "resnet50", "epochs": 200, "batch": 256, "optimiser": "sgd", "lr": 0.03, "warmup": 0.0,
            "queue": 65536, "crop": 0.2,
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
        version: int = 2,
        dim: int = 128,
        queue: int = 4096,
        momentum: float = 0.999,
        temperature: float = 0.0,
        crop: float = 0.2,
    ):
        """temperature: 0 for the version's own."""
        super().__init__(inputs, backbone)
        self.momentum, self.temperature = momentum, temperature or TEMPERATURE[version]
        self.view = View(scale=(crop, 1.0), blur=0.5 if version == 2 else 0.0)
        width = self.encoder.width
        self.head = mlp(width, width, dim, norm=False) if version == 2 else nn.Linear(width, dim)
        self.teacher = Teacher(self.encoder, self.head, batch_statistics=False)
        self.queue = Queue(queue, dim)
        self.fresh: list[Tensor] = []  # keys of this step's batches, which no loss of the step has seen

    def prepare(self, batch, draws):
        x1, x2 = random_views(batch["image"], [self.view, self.view], self.encoder, draws)
        return {"query": x1, "key": x2}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["query"])
        keys = F.normalize(full(self.teacher(batch["key"])), dim=1)
        self.fresh.append(gather(keys))
        return Output(info_nce(self.head(h), keys, self.queue.rows, self.temperature), embedding=h)

    def after_step(self, progress):
        self.queue.put(torch.cat(self.fresh))
        self.fresh.clear()
        self.teacher.follow(self.momentum, self.encoder, self.head)
