r"""DeepCluster: deep clustering for unsupervised learning of visual features.

Mathilde Caron, Piotr Bojanowski, Armand Joulin, Matthijs Douze. "Deep Clustering for Unsupervised Learning of Visual
Features." ECCV 2018. arXiv 1807.05520.

**Idea.** Even a random convolutional network groups images better than chance. So cluster its features, train it to
predict the clusters as if they were labels, and begin again with the better features: once per epoch.

**Objective.** With features $f_\theta(x_n)$, $k$-means first finds centroids $C$ and assignments $y_n$ (Eq. 2)

$$\min_{C} \frac{1}{N} \sum_n \min_{y_n} \lVert f_\theta(x_n) - C y_n \rVert_2^2$$

on features that are reduced by PCA, whitened and L2-normalised (section 3.3); then a fresh linear classifier $g_W$ and
the network are trained to predict the assignments with the cross entropy $\ell$ (Eq. 1)

$$\min_{\theta, W} \frac{1}{N} \sum_n \ell(g_W(f_\theta(x_n)), y_n)$$

At the first step of an epoch the loss is about $\ln k$.

**Trivial solutions** (section 3.2): an empty cluster takes a centroid near a non-empty one, and images are sampled
uniformly over clusters, so that a few large clusters cannot rule.

**Defaults.** SGD with momentum 0.9, weight decay 1e-5, rate 0.05 (section 3.3), 20 k-means iterations, PCA to 256
dimensions (the authors' code). $k$ is ten times the number of classes expected (the paper's finding for ImageNet,
section 4.1): 100. Clusters are renewed every epoch; a small data set, whose epoch is too short for a fresh classifier
to learn anything, wants `reassign` epochs with one clustering (an option of the authors' code, too).

**Left out.** The Sobel filter in front of the network (a remedy for colour-only clusters in RGB), and AlexNet and VGG.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.k_means import k_means
from refimpl.parts.precision import full


def whiten(features: Tensor, dims: int) -> Tensor:
    """PCA, unit variance in each dimension, then L2-normalised rows: (N, D) -> (N, at most `dims`)."""
    centred = features.double() - features.double().mean(0)
    _, values, basis = torch.linalg.svd(centred, full_matrices=False)
    keep = min(dims, int((values > 1e-6 * values[0]).sum()))
    scores = centred @ basis[:keep].T / values[:keep] * len(features) ** 0.5
    return F.normalize(scores, dim=1).to(features.dtype)


def uniform_over_clusters(assignment: Tensor, samples: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) sample numbers such that every non-empty cluster occurs equally often (up to rounding), shuffled.

    Args:
        assignment: (N,) cluster of each of `samples` (N,).
    """
    clusters = assignment.unique()
    share = -(-len(samples) // len(clusters))
    chosen = []
    for cluster in clusters:
        members = samples[assignment == cluster]
        rounds = -(-share // len(members))
        order = torch.cat([torch.randperm(len(members), generator=generator) for _ in range(rounds)])
        chosen.append(members[order[:share]])
    pool = torch.cat(chosen)
    return pool[torch.randperm(len(pool), generator=generator)[: len(samples)]]


class DeepCluster(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, optimiser="sgd", lr=0.05, weight_decay=1e-5)
    presets = {"paper": {"backbone": "vgg16_bn", "k": 10000, "epochs": 500}}  # section 4.1; without the Sobel filter
    smoke = {"k": 8, "pca": 16}
    proof = {
        "samples": 2000, "size": 32, "bands": "B03", "backbone": "resnet10t", "epochs": 40, "batch": 64,
        "optimiser": "adamw", "lr": 4e-3, "k": 20, "reassign": 5, "margin": 3.0,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, k: int = 100, pca: int = 256, reassign: int = 1, crop: float = 0.2):
        super().__init__(inputs, backbone)
        self.k, self.pca, self.reassign = k, pca, reassign
        self.view = View.geometric(scale=(crop, 1.0))
        self.classifier = nn.Linear(self.encoder.width, k)
        # Pseudo-label of every sample of the data set, -1 where it has none; sized by the data at the first epoch.
        self.register_buffer("assignment", torch.empty(0, dtype=torch.int64))

    def before_epoch(self, epoch, data, tools):
        if epoch % self.reassign:
            return
        train = torch.as_tensor(data.splits["train"], device=self.classifier.weight.device)
        x = whiten(tools.features(), self.pca)
        _, nearest = k_means(x, min(self.k, len(x)), tools.generator)
        nearest = from_main(nearest)  # sums on a GPU may differ in the last bit, and so a label between processes
        self.assignment = torch.full((len(data),), -1, device=train.device)
        self.assignment[train] = nearest
        # Clusters of two epochs have nothing in common, so the classifier and its momentum start afresh.
        with torch.no_grad():
            weight = 0.01 * torch.randn(self.classifier.weight.shape, generator=tools.generator)
            self.classifier.weight.copy_(weight)
            self.classifier.bias.zero_()
        tools.forget(self.classifier.parameters())

    def order(self, epoch, train, generator):
        return uniform_over_clusters(self.assignment.cpu()[train], train, generator)

    def draw(self, data, index, draws):
        return {"image": data.take("image", index), "y": self.assignment[index.to(self.assignment.device)]}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "y": batch["y"]}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        return Output(F.cross_entropy(full(self.classifier(h)), batch["y"]), embedding=h)
