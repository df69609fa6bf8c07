r"""PIRL: self-supervised learning of pretext-invariant representations.

Ishan Misra, Laurens van der Maaten. "Self-Supervised Learning of Pretext-Invariant Representations." CVPR 2020.
arXiv 1912.01991.

**Idea.** A jigsaw asks in which order the tiles of an image lie, so its features must keep that. PIRL asks the
opposite: the features of an image and of its shuffled tiles shall be the same, and unlike those of other images. What
they are compared with waits in a memory bank that holds one vector for every image of the archive.

**Objective.** For the projections $f(v_I)$ of the image and $g(v_{I^t})$ of its tiles, the memory $m_I$ and the
memories of $N$ other images $D_N$, with cosine similarity $s$ (Eq. 3 to 5):

$$h(m, v) = \frac{\exp(s(m, v) / \tau)}{\exp(s(m_I, v) / \tau) + \sum_{I' \in D_N} \exp(s(m_{I'}, v) / \tau)}, \qquad
L(v) = -\log h(m_I, v) - \sum_{I' \in D_N} \log\left(1 - h(m_{I'}, v)\right)$$

$$\mathcal{L} = \lambda L(g(v_{I^t})) + (1 - \lambda) L(f(v_I)), \qquad
m_I \leftarrow \text{moving average of } f(v_I)$$

With unrelated vectors $L$ is about $\ln(N + 1) + 1$. The authors' code trains something else: its denominator is a
constant, estimated once, and $h$ the chance that a memory is the right one and not one of $N$ drawn (`"estimated"`, the
loss of InstDisc); or only the first term of $L$ (`"cross_entropy"`, which is InfoNCE). Trained is `"nce"`, as written.

**Defaults.** $\tau = 0.07$, $\lambda = 0.5$, 128 outputs, memory momentum 0.5 (section 3.3). $N$ is 32,000 of 1.3
million images in the paper, 1,024 here. Tiles come from a crop of at least 60 % of the image and leave gaps, and the
image's own crop is drawn apart (the authors' code); colour and grey as for SimCLR, no blur. $f$ is linear; $g$ is
linear on each tile and once more on all nine, in their shuffled order.

**Left out, or different.** Hue; colour is drawn once for all tiles of an image, not for each. The tiles are cells of
the image's own size cut in three, where the paper enlarges the image to 255 pixels first (`cell=85`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.memory_bank import MemoryBank
from refimpl.parts.nce import log_mean_exp, nce_loss
from refimpl.parts.precision import full, full_precision
from refimpl.parts.windows import cut, fitting, grid_corners

GRID = 3


@full_precision
def memory_loss(
    v: Tensor,
    bank: Tensor,
    index: Tensor,
    negatives: Tensor,
    tau: float,
    loss: str = "nce",
    log_mean: Tensor | None = None,
) -> Tensor:
    """L of the objective, the mean over the batch.

    Args:
        v: (B, D) projections. bank: (samples, D) memories of unit length, through which no gradient goes.
        index: (B,) which memory is each one's own. negatives: (B, N) others; one's own, if drawn, is passed over.
        loss: "nce", "cross_entropy" for its first term alone, or "estimated" with the constant log_mean of `nce_loss`.
    """
    cosine = F.normalize(v, dim=1) @ bank.detach().T  # with every memory: one product costs less than B gathers
    own, others = cosine.gather(1, index[:, None]), cosine.gather(1, negatives)
    if loss == "estimated":
        return nce_loss(own[:, 0], others, log_mean, tau)
    others = others.masked_fill(negatives == index[:, None], float("-inf"))
    log_h = F.log_softmax(torch.cat([own, others], dim=1) / tau, dim=1)
    found = -log_h[:, 0].mean()
    if loss == "cross_entropy":
        return found
    return found - torch.log(-torch.expm1(log_h[:, 1:].clamp(max=-1e-6))).sum(1).mean()


class PIRL(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 3.3 and the authors' configuration
            "backbone": "resnet50", "epochs": 800, "batch": 1024, "optimiser": "sgd", "lr": 0.03, "warmup": 0.0,
            "negatives": 32000, "crop": 0.08, "cell": 85,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "negatives": 32}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 4e-3, "negatives": 512,
        "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        samples: int = 1000,
        dim: int = 128,
        negatives: int = 1024,
        temperature: float = 0.07,
        weight: float = 0.5,
        momentum: float = 0.5,
        loss: str = "nce",
        cell: int = 0,
        crop: float = 0.2,
    ):
        """samples: rows of the bank. weight: lambda. cell: pixels of a tile's cell, 0 for a third of the image."""
        super().__init__(inputs, backbone)
        self.negatives, self.temperature, self.weight, self.loss = negatives, temperature, weight, loss
        self.cell = cell or self.encoder.input.size // GRID
        self.tile = fitting(self.encoder, self.cell * 64 // 85)
        self.views = [View(scale=(crop, 1.0), blur=0.0), View(size=GRID * self.cell, scale=(0.6, 1.0), blur=0.0)]
        self.image_head = nn.Linear(self.encoder.width, dim)
        self.tile_head = nn.Linear(self.encoder.width, dim)
        self.join = nn.Linear(GRID**2 * dim, dim)
        self.bank = MemoryBank(samples, dim, momentum)
        self.register_buffer("log_mean", torch.zeros(()))  # of exp(s / tau), for "estimated" alone
        self.fresh: list[tuple[Tensor, Tensor]] = []  # which images this step saw, and what it made of them

    @classmethod
    def settings_for(cls, data):
        return {"samples": len(data)}

    def before_epoch(self, epoch, data, tools):
        if epoch or self.loss != "estimated":
            return
        with torch.no_grad():
            f = F.normalize(self.image_head(tools.features()[:256].to(self.image_head.weight)), dim=1)
            self.log_mean.copy_(log_mean_exp(f @ self.bank.rows.T, self.temperature))

    def draw(self, data, index, draws):
        train = torch.as_tensor(data.splits["train"], device=index.device)
        negatives = train[draws.integers(len(train), self.negatives).to(index.device)]
        return {"image": data.take("image", index), "index": index, "negatives": negatives}

    def prepare(self, batch, draws):
        image, x = random_views(batch["image"], self.views, self.encoder, draws)
        gap = draws.integers(self.cell - self.tile + 1, GRID**2, 2)
        tiles = cut(x, grid_corners(GRID, self.cell, x.device) + gap, self.tile)
        order = draws.permutation(GRID**2)
        tiles = tiles[torch.arange(len(x), device=x.device)[:, None], order]
        return {"image": image, "tiles": tiles, "index": batch["index"], "negatives": batch["negatives"]}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["image"])
        f = self.image_head(h)
        pieces = self.tile_head(self.encoder(batch["tiles"].flatten(0, 1)))
        g = self.join(pieces.unflatten(0, (len(h), -1)).flatten(1))
        self.fresh.append((gather(batch["index"]), gather(full(f).detach())))
        common = (self.bank.rows, batch["index"], batch["negatives"], self.temperature, self.loss, self.log_mean)
        of_image, of_tiles = memory_loss(f, *common), memory_loss(g, *common)
        loss = self.weight * of_tiles + (1 - self.weight) * of_image
        return Output(loss, {"tiles": of_tiles.detach(), "image": of_image.detach()}, embedding=h)

    def after_step(self, progress):
        for index, rows in self.fresh:
            self.bank.put(index, rows)
        self.fresh.clear()
