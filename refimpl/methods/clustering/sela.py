r"""SeLa: self-labelling via simultaneous clustering and representation learning.

Yuki M. Asano, Christian Rupprecht, Andrea Vedaldi. "Self-labelling via simultaneous clustering and representation
learning." ICLR 2020. arXiv 1911.05371.

**Idea.** Network and labels minimise one and the same cross entropy, in turn: first the network learns the labels as if
they had been given, then every image gets the label that the network finds likely, under the condition that all labels
are used equally often. Without that condition one label for all would be perfect.

**Objective.** With the network's $p(y \mid x)$ and labels $q(y \mid x_i) \in \{0, 1\}$ over $N$ images and $K$ labels
(Eq. 3):

$$\min_{p, q} -\frac{1}{N} \sum_i \sum_y q(y \mid x_i) \log p(y \mid x_i)
\quad \text{such that} \quad \sum_i q(y \mid x_i) = N / K$$

For a fixed network this is an optimal transport problem. With an entropic term of weight $1 / \lambda$ its solution has
the form (section 3.1)

$$Q = \mathrm{diag}(\alpha) \, P^\lambda \, \mathrm{diag}(\beta), \qquad P_{yi} = p(y \mid x_i) / N$$

where Sinkhorn's iterations find the scaling; each image takes its largest entry of $Q$. Several heads have labels of
their own, and the loss is their mean (section 3.3). With a fresh classifier it is about $\ln K$.

**Defaults.** $\lambda = 25$; SGD with momentum 0.9 and weight decay 1e-5 (the authors' code). 10 heads of 3,000 labels
there, 5 heads of 32 here. Labels are renewed before every epoch; the authors renew them 100 times, ever more rarely.

**Left out, or different.** Labels are found for whole images, not for augmented ones; the number of iterations is
fixed, in place of a test of convergence; the rate falls along a cosine, not in steps; hue.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision
from refimpl.parts.sinkhorn import sinkhorn


@torch.no_grad()
def equal_labels(logits: Tensor, sharpness: float = 25.0, iterations: int = 200) -> Tensor:
    """Q of section 3.1 and the rounding after it: (N,) labels of all images from logits (N, K); sharpness: lambda."""
    # P^lambda = exp(log p / (1 / lambda)); Sinkhorn's result is the same on every process that has all images.
    return sinkhorn(F.log_softmax(logits, dim=1), 1 / sharpness, iterations).argmax(1)


@full_precision
def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. 3 for fixed labels; scalar, the mean over images and heads. logits: (B, T, K). labels: (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


class SeLa(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, optimiser="sgd", lr=0.05, weight_decay=1e-5)
    presets = {
        "paper": {  # the authors' script for ResNet-50
            "backbone": "resnet50", "epochs": 400, "batch": 256, "lr": 0.08, "warmup": 0.0, "heads": 10, "labels": 3000,
            "relabel": 4,
        },
    }  # fmt: skip
    smoke = {"heads": 2, "labels": 8}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 64, "optimiser": "adamw",
        "lr": 2e-3, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        heads: int = 5,
        labels: int = 32,
        relabel: int = 1,
        sharpness: float = 25.0,
        iterations: int = 200,
        crop: float = 0.2,
    ):
        """labels: K, of each head. relabel: epochs from one labelling to the next. sharpness: lambda."""
        super().__init__(inputs, backbone)
        self.heads, self.labels, self.relabel = heads, labels, relabel
        self.sharpness, self.iterations = sharpness, iterations
        self.view = View(scale=(crop, 1.0), blur=0.0)
        self.classifier = nn.Linear(self.encoder.width, heads * labels)
        # Label of every sample of the data set by every head, -1 where it has none; sized by the data.
        self.register_buffer("assigned", torch.empty(0, heads, dtype=torch.int64))

    def classify(self, h: Tensor) -> Tensor:
        """(B, width) -> (B, T, K) logits."""
        return self.classifier(h).unflatten(1, (self.heads, self.labels))

    @torch.no_grad()
    def before_epoch(self, epoch, data, tools):
        if epoch % self.relabel:
            return
        logits = self.classify(tools.features().to(self.classifier.weight.dtype))
        train = torch.as_tensor(data.splits["train"], device=logits.device)
        self.assigned = torch.full((len(data), self.heads), -1, device=logits.device)
        labels = [equal_labels(logits[:, t], self.sharpness, self.iterations) for t in range(self.heads)]
        self.assigned[train] = from_main(torch.stack(labels, dim=1))

    def draw(self, data, index, draws):
        return {"image": data.take("image", index), "y": self.assigned[index.to(self.assigned.device)]}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "y": batch["y"]}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        return Output(label_loss(self.classify(h), batch["y"]), embedding=h)
