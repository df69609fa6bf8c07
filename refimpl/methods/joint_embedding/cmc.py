r"""CMC: contrastive multiview coding, groups of bands as views of one scene.

Yonglong Tian, Dilip Krishnan, Phillip Isola. "Contrastive Multiview Coding." ECCV 2020. arXiv 1906.05849.

**Idea.** What several sensors say of one scene in common is what matters about it. So each view, here a group of bands,
has an encoder of its own, and the encoders have to agree on which views belong together: no colour augmentation, the
bands themselves are the alteration.

**Objective.** With features $z^i$ of view $V_i$ and $f^j_k$ stored for view $V_j$ of image $k$, all of unit length, an
image's other view is told from those of $m$ images drawn at random. As noise-contrastive estimation (appendix, Eq. 12)

$$\ell(V_i, V_j) = -\log h(z^i, f^j) - \sum_{k \sim P_n} \log(1 - h(z^i, f^j_k)), \qquad
h(z, f) = \frac{e^{z \cdot f / \tau} / Z}{e^{z \cdot f / \tau} / Z + m / n}$$

or, with `softmax`, as the cross entropy of the true one among the $m + 1$ (section 3). Both ways are added, and all
pairs of views (the full graph) or those with the first (the core view). With unrelated features the
softmax costs $\ln(m + 1)$ a way. After the step the stored features follow.

**Defaults.** $\tau = 0.07$, 128 numbers, momentum 0.5 of what is stored (the authors' code). `softmax` is on, which
the notes beside it expect to do better than the noise-contrastive form of the released weights; 4,096 negatives there,
512 here. The paper splits colour photographs into L and ab; here
bands are split into `groups` halves in their order, or as `bands` says, such as "B02,B03,B04 B08". A single band is its
own partner. What is kept and judged are the features of all views side by side, as in section 4.

**Left out, or different.** Two sensors are groups of bands of one stack of images. The constant $Z$ comes from 256
images and the whole memory. Flips and quarter turns are added.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import Encoder, build_encoder
from refimpl.data.dataset import DataError, Input
from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main, gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.memory_bank import MemoryBank
from refimpl.parts.nce import log_mean_exp, nce_loss, sampled_softmax
from refimpl.parts.precision import full


def band_groups(names: tuple[str, ...], groups: int, bands: str = "") -> list[list[int]]:
    """Band numbers of each view. bands: names joined by commas, views by blanks; empty for `groups` equal parts."""
    if bands:
        unknown = sorted(set(bands.replace(" ", ",").split(",")) - set(names))
        if unknown:
            raise DataError(f"no band {unknown[0]!r} to make a view of; there are {', '.join(names)}")
        return [[names.index(name) for name in view.split(",")] for view in bands.split()]
    parts = (
        torch.arange(len(names)).tensor_split(groups) if len(names) >= groups else [torch.arange(len(names))] * groups
    )
    return [part.tolist() for part in parts]


class BandGroups(Encoder):
    """One network for each group of bands; (B, C, H, W) -> (B, sum of widths), their features side by side."""

    def __init__(self, name: str, field: Input, groups: list[list[int]]):
        super().__init__(name, field)
        self.groups = groups

        def part(values: tuple, group: list[int]) -> tuple:
            return tuple(values[i] for i in group)

        inputs = [Input(part(field.bands, g), field.size, part(field.mean, g), part(field.std, g)) for g in groups]
        self.views = nn.ModuleList(build_encoder(name, each) for each in inputs)
        self.width = sum(view.width for view in self.views)

    def each(self, x: Tensor) -> list[Tensor]:
        """Features (B, width) of each view."""
        return [view(x[:, group]) for view, group in zip(self.views, self.groups, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.each(x), dim=1)


class CMC(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' code and notes on the released weights; the rate falls in steps there
            "backbone": "resnet50", "epochs": 240, "batch": 128, "optimiser": "sgd", "lr": 0.06, "warmup": 0.0,
            "noise": 4096, "softmax": False,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "noise": 32}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 30, "batch": 64, "lr": 2e-3,
        "temperature": 0.15, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        samples: int = 1000,
        groups: int = 2,
        bands: str = "",
        core: bool = False,
        softmax: bool = True,
        dim: int = 128,
        noise: int = 512,
        temperature: float = 0.07,
        momentum: float = 0.5,
        crop: float = 0.2,
    ):
        """samples: of the whole data set. groups, bands: the views. core: contrast only with the first view."""
        super().__init__(inputs, backbone)
        field = inputs[self.needs[0]]
        self.encoder = BandGroups(self.encoder.name, field, band_groups(field.bands, groups, bands))
        views = range(len(self.encoder.views))
        self.pairs = [(i, j) for i, j in permutations(views, 2) if not core or 0 in (i, j)]
        self.softmax, self.noise, self.temperature = softmax, noise, temperature
        self.view = View.geometric(scale=(crop, 1.0))
        self.heads = nn.ModuleList(nn.Linear(view.width, dim) for view in self.encoder.views)
        self.banks = nn.ModuleList(MemoryBank(samples, dim, momentum) for _ in views)
        self.register_buffer("log_mean", torch.zeros(len(views), len(views)))  # log of Z / n for each pair of views
        self.fresh: list[tuple[Tensor, ...]] = []  # numbers and features of this step's batches

    @classmethod
    def settings_for(cls, data):
        return {"samples": len(data)}

    def features(self, h: list[Tensor]) -> list[Tensor]:
        """Each view's features (B, width) -> (B, D) of unit length."""
        return [F.normalize(full(head(each)), dim=1) for head, each in zip(self.heads, h, strict=True)]

    def before_epoch(self, epoch, data, tools):
        if epoch or self.softmax:
            return
        train = torch.as_tensor(data.splits["train"])
        self.eval()
        with torch.no_grad():
            x = self.encoder.normalise(data.take("image", train[:256]).to(self.log_mean.device))
            z = self.features(self.encoder.each(x.to(self.heads[0].weight.dtype)))
            for i, j in self.pairs:
                bank = self.banks[j].rows[train.to(x.device)]
                self.log_mean[i, j] = from_main(log_mean_exp(z[i] @ bank.T, self.temperature))
        self.train()

    def draw(self, data, index, draws):
        train = torch.as_tensor(data.splits["train"])
        noise = train[draws.integers(len(train), self.noise).cpu()]
        return {"image": data.take("image", index), "index": index, "noise": noise.to(index.device)}

    def prepare(self, batch, draws):
        # One view of the whole stack, so that all groups of bands show the same piece of ground.
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "index": batch["index"], "noise": batch["noise"]}

    def contrast(self, i: int, j: int, z: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """l(V_i, V_j) for features z (B, D) of view i, the image's numbers (B,) and those of the noise (B, m)."""
        rows = self.banks[j].rows
        own, drawn = (z * rows[index]).sum(1), torch.bmm(rows[noise], z[:, :, None])[:, :, 0]
        if self.softmax:
            return sampled_softmax(own, drawn, self.temperature)
        return nce_loss(own, drawn, self.log_mean[i, j], self.temperature)

    def forward(self, batch, turn="all"):
        h = self.encoder.each(batch["x"])
        z, index = self.features(h), batch["index"]
        loss = sum(self.contrast(i, j, z[i], index, batch["noise"]) for i, j in self.pairs)
        self.fresh.append((gather(index), *(gather(each.detach()) for each in z)))
        return Output(loss, embedding=torch.cat(h, dim=1))

    def after_step(self, progress):
        index, *features = (torch.cat(parts) for parts in zip(*self.fresh, strict=True))
        for bank, rows in zip(self.banks, features, strict=True):
            bank.put(index, rows)
        self.fresh.clear()
