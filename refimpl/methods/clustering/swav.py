r"""SwAV: swapping assignments between multiple views of an image.

Mathilde Caron, Ishan Misra, Julien Mairal, Priya Goyal, Piotr Bojanowski, Armand Joulin. "Unsupervised Learning of
Visual Features by Contrasting Cluster Assignments." NeurIPS 2020. arXiv 2006.09882.

**Idea.** Cluster while learning: the cluster assignment (code) of one view has to be predicted from another view of the
image. Codes are made batch by batch, balanced over the clusters, so that not all images end up in one. Many small crops
(multi-crop) predict the codes of two large ones.

**Objective.** For a view's projection $z_t$ and the code $q_s$ of another, with prototypes $c_k$, all of unit length
(Eq. 2):

$$\ell(z_t, q_s) = -\sum_k q_s^{(k)} \log p_t^{(k)}, \qquad
p_t^{(k)} = \frac{\exp(z_t^\top c_k / \tau)}{\sum_{k'} \exp(z_t^\top c_{k'} / \tau)}$$

averaged over all pairs of a code from a large view and a prediction from any *other* view. Codes solve an optimal
transport problem that shares the batch equally among prototypes (Eq. 3), by a few Sinkhorn iterations; no gradient goes
into them. Small batches add the projections of earlier ones (a queue) before the balance is struck.

**Defaults.** $\tau = 0.1$, 3 iterations with $\varepsilon = 0.05$, prototypes frozen in the first epoch (appendix A.1
and the authors' code); 3,000 prototypes in the paper, 64 here; 2 large views and `crops` small ones of half the size.
The queue is off by default, as in the paper for large batches, and begins after `queue_from` of the run.

**Left out, or different.** LARS (in the preset), hue. Codes are computed from large views only, as in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather, rank
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full, full_precision
from refimpl.parts.queue import Queue
from refimpl.parts.sinkhorn import sinkhorn

LARGE = 2  # views whose codes are predicted


@full_precision
def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float = 0.1) -> Tensor:
    """Eq. 2, the mean over images and pairs of different views.

    Args:
        scores: (V, B, K) z . c of every view. codes: (L, B, K) of the first L of them.
    """
    log_p = F.log_softmax(scores / temperature, dim=2)
    losses = [
        -(codes[s].detach() * log_p[t]).sum(1).mean() for s in range(len(codes)) for t in range(len(scores)) if t != s
    ]
    return torch.stack(losses).mean()


class SwAV(Method):
    needs = ("image",)
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # appendix A.1: 2 x 224 + 6 x 96
            "backbone": "resnet50", "epochs": 800, "batch": 4096, "optimiser": "lars", "lr": 0.3, "weight_decay": 1e-6,
            "warmup": 0.0125, "prototypes": 3000, "crops": 6, "hidden": 2048,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "hidden": 32, "prototypes": 8, "crops": 1, "queue": 32, "queue_from": 0.0}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 128, "crops": 2, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        dim: int = 128,
        hidden: int = 512,
        prototypes: int = 64,
        crops: int = 4,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        queue: int = 0,
        queue_from: float = 0.25,
        freeze: int = 1,
    ):
        """freeze: epochs during which the prototypes stay. queue: projections kept for each large view."""
        super().__init__(inputs, backbone)
        self.temperature, self.epsilon, self.freeze, self.queue_from = temperature, epsilon, freeze, queue_from
        size = self.encoder.input.size
        # Of less than 24 pixels the last stage of a ResNet would see a single one.
        large, small = View(scale=(0.25, 1.0)), View(size=min(size, max(24, size // 2)), scale=(0.08, 0.25))
        self.views = [large] * LARGE + [small] * crops
        self.projector = mlp(self.encoder.width, hidden, dim)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.queues = nn.ModuleList(Queue(queue, dim) for _ in range(LARGE if queue else 0))
        self.register_buffer("queue_open", torch.zeros((), dtype=torch.bool))
        self.fresh: list[Tensor] = []
        self._renormalise()

    @torch.no_grad()
    def _renormalise(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def prepare(self, batch, draws):
        views = random_views(batch["image"], self.views, self.encoder, draws)
        prepared = {"large": torch.cat(views[:LARGE])}
        return {**prepared, "small": torch.cat(views[LARGE:])} if len(views) > LARGE else prepared

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["large"])  # one pass for each size
        features = [h, self.encoder(batch["small"])] if "small" in batch else [h]
        z = F.normalize(full(self.projector(torch.cat(features))), dim=1)
        scores = self.prototypes(z).unflatten(0, (len(self.views), -1))
        z = z.unflatten(0, (len(self.views), -1))
        self.fresh = [gather(view.detach()) for view in z[:LARGE]]
        codes = torch.stack([self.codes(scores[i], i) for i in range(LARGE)])
        return Output(swapped_prediction(scores, codes, self.temperature), embedding=h)

    @torch.no_grad()
    def codes(self, scores: Tensor, view: int) -> Tensor:
        """Codes (B, K) of one large view's scores, balanced together with its queue."""
        if not len(self.queues) or not self.queue_open:
            return sinkhorn(scores, self.epsilon)
        world = len(self.fresh[view]) // len(scores)
        # Each process balances its own share of the queue, so that it counts once in the whole.
        waiting = self.queues[view].rows.chunk(world)[rank()]
        both = torch.cat([scores.detach(), self.prototypes(waiting)])
        return sinkhorn(both, self.epsilon)[: len(scores)]

    def before_update(self, turn, progress):
        if progress.epoch < self.freeze:
            self.prototypes.weight.grad = None

    def after_step(self, progress):
        self._renormalise()
        for queue, rows in zip(self.queues, self.fresh):
            queue.put(rows)
        filled = all(int(queue.filled) == len(queue.rows) for queue in self.queues)
        self.queue_open.fill_(filled and progress.fraction >= self.queue_from)
