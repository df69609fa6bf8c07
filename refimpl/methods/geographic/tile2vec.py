r"""Tile2Vec: unsupervised representation learning for spatially distributed data.

Neal Jean, Sherrie Wang, Anshul Samar, George Azzari, David Lobell, Stefano Ermon. "Tile2Vec: Unsupervised
Representation Learning for Spatially Distributed Data." AAAI 2019. arXiv 1805.02855.

**Idea.** Places that are near are alike (Tobler's first law of geography), as words in one context are alike. So an
anchor tile should lie nearer, in feature space, to a tile from its neighbourhood than to one from far away.

**Objective.** For anchor, neighbour and distant tiles with features $z_a, z_n, z_d$ and a margin $m$:

$$\mathcal{L} = \left[ \lVert z_a - z_n \rVert_2 - \lVert z_a - z_d \rVert_2 + m \right]_+
  + \lambda \left( \lVert z_a \rVert_2 + \lVert z_n \rVert_2 + \lVert z_d \rVert_2 \right)$$

averaged over triplets. The second term keeps the network from satisfying the first by inflating its features. With
features that ignore the image the first term equals $m$.

**Defaults.** ResNet-18, flips and quarter turns only, Adam with betas (0.5, 0.999) and rate 1e-3 for a batch of 128.
The paper's neighbourhood is a radius in pixels of one scene; data sets here come as tiles, so by default the radius is
the distance within which half of all tiles have `neighbours` other tiles, and `radius` sets it in metres. A margin of 1
and a penalty of 0.01 suit the size of a ResNet's features (the loss in the authors' code defaults to 0.1 and 0).

**Left out.** Cutting tiles from scenes on the fly: neighbours are other tiles of the data set.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.dataset import Data, DataError
from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full_precision

CANDIDATES = 16  # random tiles tried for each distant one; the first outside the radius is taken


@full_precision
def triplet_loss(z_a: Tensor, z_n: Tensor, z_d: Tensor, margin: float = 1.0, penalty: float = 0.01) -> Tensor:
    """The objective above.

    Args:
        z_a, z_n, z_d: (B, D) features of anchors, neighbours and distant tiles.
        margin: m. penalty: lambda.
    Returns:
        scalar, the mean over triplets.
    """
    near = torch.linalg.vector_norm(z_a - z_n, dim=1)
    far = torch.linalg.vector_norm(z_a - z_d, dim=1)
    size = sum(torch.linalg.vector_norm(z, dim=1) for z in (z_a, z_n, z_d))
    return (F.relu(near - far + margin) + penalty * size).mean()


class Neighbourhood:
    """Which training tiles lie within a radius of each tile, as a padded table of the nearest `widest`.

    Attributes:
        radius: metres. table: (N, K) sample numbers, count: (N,) how many of them are valid.
    """

    def __init__(self, locations: np.ndarray, train: np.ndarray, radius: float, neighbours: int, widest: int = 64):
        if len(train) < 2:
            raise DataError("Tile2Vec needs at least two training tiles")
        tree = cKDTree(locations[train])
        wanted = min(max(widest, neighbours) + 1, len(train))
        distance, near = tree.query(locations[train], k=wanted)
        # A tile is not its own neighbour; it comes first unless another lies at the very same place.
        itself = near == np.arange(len(train))[:, None]
        itself[~itself.any(1), -1] = True
        distance, near = (a[~itself].reshape(len(train), wanted - 1) for a in (distance, near))
        if not radius:
            radius = float(np.median(distance[:, min(neighbours, wanted - 1) - 1]))
        self.radius = radius
        self.count = torch.zeros(len(locations), dtype=torch.int64)
        self.count[train] = torch.from_numpy((distance <= radius).sum(1))
        self.table = torch.zeros(len(locations), wanted - 1, dtype=torch.int64)
        self.table[train] = torch.from_numpy(train[near])
        if float((self.count[train] > 0).float().mean()) < 0.5:
            raise DataError(
                f"fewer than half of the tiles have a neighbour within {radius:.0f} m; set a larger --set radius=..."
            )


class Tile2Vec(Method):
    needs = ("image", "location")
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=128, optimiser="adam", lr=2e-3, betas=(0.5, 0.999), weight_decay=0.0)
    proof = {"samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "margin": 2.0}

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        margin: float = 1.0,
        penalty: float = 0.01,
        radius: float = 0.0,
        neighbours: int = 8,
    ):
        super().__init__(inputs, backbone)
        self.margin, self.penalty, self.radius, self.neighbours = margin, penalty, radius, neighbours
        self.view = View.geometric(scale=(1.0, 1.0), ratio=(1.0, 1.0))
        self._near: tuple[Data, Neighbourhood] | None = None

    def neighbourhood(self, data: Data) -> Neighbourhood:
        """Made once per data set; it depends on nothing that training changes, so no checkpoint needs it."""
        if self._near is None or self._near[0] is not data:
            places = data.take("location", torch.arange(len(data))).cpu().double().numpy()
            train = np.asarray(data.splits["train"])
            self._near = (data, Neighbourhood(places, train, self.radius, self.neighbours))
        return self._near[1]

    def draw(self, data, index, draws):
        near = self.neighbourhood(data)
        rows, device = index.cpu(), index.device
        # Neighbour: uniform among (the nearest 64 of) those within the radius; with none, the tile itself.
        count = near.count[rows]
        pick = (draws.uniform().cpu() * count).long().clamp(max=near.table.shape[1] - 1)
        neighbour = torch.where(count > 0, near.table[rows, pick], rows)
        # Distant: uniform among training tiles outside the radius (the farthest candidate if none is).
        train = torch.as_tensor(data.splits["train"])
        candidates = train[draws.integers(len(train), CANDIDATES).cpu()]
        here = data.take("location", index).double()
        there = data.take("location", candidates.flatten().to(device)).double().reshape(*candidates.shape, 2)
        distance = torch.linalg.vector_norm(there - here[:, None], dim=2).cpu()
        outside = distance > near.radius
        pick = torch.where(outside.any(1), outside.float().argmax(1), distance.argmax(1))
        distant = candidates.gather(1, pick[:, None])[:, 0]
        return {
            "anchor": data.take("image", index),
            "neighbour": data.take("image", neighbour.to(device)),
            "distant": data.take("image", distant.to(device)),
        }

    def prepare(self, batch, draws):
        return {name: random_views(batch[name], [self.view], self.encoder, draws)[0] for name in batch}

    def forward(self, batch, turn="all"):
        z = self.encoder(torch.cat([batch["anchor"], batch["neighbour"], batch["distant"]]))
        z_a, z_n, z_d = z.chunk(3)
        return Output(triplet_loss(z_a, z_n, z_d, self.margin, self.penalty), embedding=z_a)
