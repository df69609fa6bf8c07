r"""InstDisc: non-parametric instance discrimination with a memory bank (also NPID).

Zhirong Wu, Yuanjun Xiong, Stella X. Yu, Dahua Lin. "Unsupervised Feature Learning via Non-Parametric Instance-level
Discrimination." CVPR 2018. arXiv 1805.01978.

**Idea.** Every image is a class of its own. A classifier over millions of classes is spared by taking the images'
stored features (the memory bank) for its weights; the softmax over all of them is learned by telling the image's own
entry from some drawn at random (noise-contrastive estimation).

**Objective.** With the feature $v$ of a view and the bank's entries $f_j$, all of unit length (Eq. 4 to 7):

$$P(i \mid v) = \frac{\exp(v^\top f_i / \tau)}{Z}, \qquad h(i, v) = \frac{P(i \mid v)}{P(i \mid v) + m / n}$$

$$\mathcal{L} = -\log h(i, v) - \sum_{i' \sim P_n} \log(1 - h(i', v))$$

for $m$ entries $i'$ drawn uniformly from the $n$ training images. $Z$ is estimated once, before the first step, and
stays; at the start the loss is about $\ln(m + 1) + m \ln(1 + 1 / m)$. After the step the entry follows the feature.

**Two readings.** The paper holds each feature near its entry of the last epoch by a term $\lambda \lVert v_i -
f_i \rVert_2^2$ (Eq. 10) and then replaces the entry: trained by default. The authors' code has no such term; its
entries are moving averages, $f_i \leftarrow t f_i + (1 - t) v_i$ with $t = 0.5$: `proximal=0 momentum=0.5`. On the
small data here that diverged (a loss of 9 grew to 1,000), probably because the features of a fresh network are all
alike and move away together from where all have been; the term ties them to the bank's random entries first. With
`softmax` the image's entry is told from the drawn ones by a cross entropy among them, without a constant, as for the
weights that the authors released last.

**Defaults.** $\tau = 0.07$, 128 numbers, $m = 4096$ (section 5 and the authors' code; 1,024 here), $\lambda = 30$.

**Left out, or different.** Hue. The constant comes from 256 training images and the whole bank, in place of the first
batch and its noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main, gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.memory_bank import MemoryBank
from refimpl.parts.nce import log_mean_exp, nce_loss, sampled_softmax
from refimpl.parts.precision import full


class InstDisc(Method):
    needs = ("image",)
    backbone = "resnet18"
    recipe = Recipe(epochs=20, batch=256, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # section 5: 200 epochs of SGD; the rate falls in steps there
            "backbone": "resnet50", "epochs": 200, "batch": 256, "optimiser": "sgd", "lr": 0.03, "warmup": 0.0,
            "noise": 4096,
        },
    }  # fmt: skip
    smoke = {"dim": 16, "noise": 32}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 40, "batch": 64, "margin": 2.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        samples: int = 1000,
        dim: int = 128,
        noise: int = 1024,
        temperature: float = 0.07,
        momentum: float = 0.0,
        proximal: float = 30.0,
        softmax: bool = False,
        crop: float = 0.2,
    ):
        """samples: of the whole data set. noise: m. momentum: of the bank. proximal: lambda."""
        super().__init__(inputs, backbone)
        self.noise, self.temperature, self.proximal, self.softmax = noise, temperature, proximal, softmax
        self.view = View(scale=(crop, 1.0), blur=0.0)
        self.head = nn.Linear(self.encoder.width, dim)
        self.bank = MemoryBank(samples, dim, momentum)
        self.register_buffer("log_mean", torch.zeros(()))  # log of Z / n
        self.fresh: list[
            tuple[Tensor, Tensor]
        ] = []  # of this step's batches, as the loss has not seen them in the bank

    @classmethod
    def settings_for(cls, data):
        return {"samples": len(data)}

    def before_epoch(self, epoch, data, tools):
        if epoch:
            return
        train = torch.as_tensor(data.splits["train"])
        self.eval()
        with torch.no_grad():
            stored = data.take("image", train[:256]).to(self.log_mean.device)
            v = F.normalize(full(self.head(self.embed(stored).to(self.head.weight.dtype))), dim=1)
            bank = self.bank.rows[train.to(v.device)]
            self.log_mean.copy_(from_main(log_mean_exp(v @ bank.T, self.temperature)))
        self.train()

    def draw(self, data, index, draws):
        train = torch.as_tensor(data.splits["train"])
        noise = train[draws.integers(len(train), self.noise).cpu()]  # uniform, the image itself not left out
        return {"image": data.take("image", index), "index": index, "noise": noise.to(index.device)}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        return {"x": x, "index": batch["index"], "noise": batch["noise"]}

    def forward(self, batch, turn="all"):
        h = self.encoder(batch["x"])
        v = F.normalize(full(self.head(h)), dim=1)
        own, drawn = self.bank.rows[batch["index"]], self.bank.rows[batch["noise"]]
        positive, negatives = (own * v).sum(1), torch.bmm(drawn, v[:, :, None])[:, :, 0]
        if self.softmax:
            loss = sampled_softmax(positive, negatives, self.temperature)
        else:
            loss = nce_loss(positive, negatives, self.log_mean, self.temperature)
        if self.proximal:
            loss = loss + self.proximal * (v - own).square().sum(1).mean()
        self.fresh.append((gather(batch["index"]), gather(v.detach())))
        return Output(loss, embedding=h)

    def after_step(self, progress):
        self.bank.put(*(torch.cat(parts) for parts in zip(*self.fresh)))
        self.fresh.clear()
