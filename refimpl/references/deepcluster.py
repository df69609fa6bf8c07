"""DeepCluster's clustering by loops and by another decomposition, from arXiv 1807.05520 section 3."""

from __future__ import annotations

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.method import EpochTools
from refimpl.methods.clustering import deepcluster
from refimpl.parts import k_means
from refimpl.references import Check


def slow_k_means(x: np.ndarray, centroids: np.ndarray, iterations: int) -> list[int]:
    for _ in range(iterations):
        assigned = [min(range(len(centroids)), key=lambda k: float(((row - centroids[k]) ** 2).sum())) for row in x]
        for k in range(len(centroids)):
            members = [row for row, a in zip(x, assigned) if a == k]
            centroids[k] = sum(members) / len(members)
    return [min(range(len(centroids)), key=lambda k: float(((row - centroids[k]) ** 2).sum())) for row in x]


def clusters() -> Check:
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.normal(size=(20, 3)) + 4 * centre for centre in rng.normal(size=(4, 3))])
    start = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(3))[:4].numpy()].copy()
    _, ours = deepcluster.k_means(torch.from_numpy(x), 4, torch.Generator().manual_seed(3), iterations=8)
    differ = np.mean(ours.numpy() != np.array(slow_k_means(x, start, 8)))
    return Check("share of points that k-means assigns otherwise than Lloyd's algorithm in loops", float(differ), 0.0)


def no_empty_cluster() -> Check:
    """Many copies of few points leave clusters empty unless they are given a new centroid."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    x[:150] = x[:1] + 1e-2 * x[:150]
    _, assigned = deepcluster.k_means(x, 12, torch.Generator().manual_seed(1))
    return Check("clusters left empty", float(12 - len(assigned.unique())), 0.0)


def whitening() -> Check:
    """Before rows are normalised their covariance is the identity; the covariance's eigenvectors give the same."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5)
    centred = x - x.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    largest = np.argsort(values)[::-1][:3]
    y = centred @ vectors[:, largest] / np.sqrt(values[largest])
    y /= np.sqrt((y**2).sum(1, keepdims=True))
    ours = deepcluster.whiten(torch.from_numpy(x), 3).numpy()
    # Axes may be mirrored, so products of rows are compared.
    return Check(
        "whitened features equal those of an eigendecomposition", float(np.abs(ours @ ours.T - y @ y.T).max()), 1e-8
    )


def uniform_sampling() -> Check:
    assignment = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    drawn = deepcluster.uniform_over_clusters(assignment, torch.arange(100), torch.Generator().manual_seed(0))
    shares = torch.bincount(assignment[drawn], minlength=3) / len(drawn)
    return Check("clusters of 90, 8 and 2 images are drawn equally often", float((shares - 1 / 3).abs().max()), 0.02)


def labels_follow_the_images() -> Check:
    """Images of two kinds must get pseudo-labels by kind, and `draw` must hand each image its own."""
    rng = np.random.default_rng(10)
    image = rng.normal(size=(40, 1, 32, 32)).astype(np.float32)
    data = Data("two kinds", {"image": image}, {"image": Input(("a",), 32)}, {"train": np.arange(40)[::-1].copy()})
    torch.manual_seed(0)
    method = deepcluster.DeepCluster(data.inputs, "resnet10t", k=2, pca=2)
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(2)) * 0.1
    # In no regular order, so that labels shifted by any number of images disagree with it.
    kind = torch.randint(2, (40,), generator=torch.Generator().manual_seed(5))
    features[:, 0] += 10.0 * kind.flip(0)  # in the order of the training split, which runs backwards
    tools = EpochTools(lambda: features, lambda parameters: None, torch.Generator().manual_seed(0))
    method.before_epoch(0, data, tools)
    y = method.draw(data, torch.arange(40), None)["y"]
    agreement = max(float((y == kind).float().mean()), float((y == 1 - kind).float().mean()))
    return Check("share of images whose pseudo-label is not their cluster", 1 - agreement, 0.0)


CASES = [clusters, no_empty_cluster, whitening, uniform_sampling, labels_follow_the_images]


def _shifted_labels(self, epoch, data, tools, original=deepcluster.DeepCluster.before_epoch):
    original(self, epoch, data, tools)
    self.assignment = self.assignment.roll(1)


KNOCKOUTS = {
    "each image's own pseudo-label": lambda patch: patch(deepcluster.DeepCluster, "before_epoch", _shifted_labels),
    "uniform sampling over clusters": lambda patch: patch(
        deepcluster, "uniform_over_clusters", lambda assignment, samples, generator: samples
    ),
    "pseudo-labels from the features": lambda patch: patch(
        k_means, "_assign", lambda x, centroids, chunk=0: torch.arange(len(x)) % len(centroids)
    ),
}
