r"""FixMatch: simplifying semi-supervised learning with consistency and confidence.

Kihyuk Sohn, David Berthelot, Chun-Liang Li, Zizhao Zhang, Nicholas Carlini, Ekin D. Cubuk, Alex Kurakin, Han Zhang,
Colin Raffel. "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence." NeurIPS 2020. arXiv
2001.07685.

**Idea.** A few images have labels, many have none. What the network says of a weakly altered image, if it is sure, is
the label of the same image strongly altered: it learns to be right where it was sure already, under harder conditions.

**Objective.** With labelled images $x_b$, unlabelled images $u_b$, weak and strong alterations $\alpha$ and
$\mathcal{A}$, the prediction $q_b = p_m(y \mid \alpha(u_b))$ and its class $\hat q_b = \operatorname{argmax} q_b$
(Eq. 3 and 4):

$$\ell_s = \frac{1}{B} \sum_{b=1}^{B} H(y_b, p_m(y \mid \alpha(x_b))), \qquad
\ell_u = \frac{1}{\mu B} \sum_{b=1}^{\mu B} 1[\max q_b \geq \tau] \, H(\hat q_b, p_m(y \mid \mathcal{A}(u_b)))$$

$$\mathcal{L} = \ell_s + \lambda_u \ell_u$$

No gradient goes through $q_b$. $\ell_u$ is divided by all unlabelled images, sure or not, so it grows as the network
becomes sure: no schedule for $\lambda_u$ is needed.

**Defaults.** $\tau = 0.95$, $\lambda_u = 1$, $\mu = 7$, SGD with rate 0.03 and weight decay 5e-4 (Table 4). `labels`
images of each class keep their label, chosen once by `choice`; classes are counted in the data. Weak: flips, quarter
turns and a shift by up to an eighth (section 2.3); strong: colour, blur, crops and a square that is cut out (Cutout).
All three batches pass through the network together, as in the authors' code.

**Left out, or different.** RandAugment and CTAugment are chains of operations on RGB; the strong view has what any
number of bands allows. The labelled images of a batch are drawn anew at each step. Nesterov's momentum; the schedule is
the engine's half cosine, not 7/16 of one; the moving average of the weights that the paper judges.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.data.dataset import DataError
from refimpl.data.views import View, random_views
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.precision import full, full_precision


@full_precision
def consistency(weak: Tensor, strong: Tensor, threshold: float = 0.95) -> tuple[Tensor, Tensor]:
    """Eq. 4: (loss, share of images that the network is sure of), from the logits (N, classes) of both views."""
    confidence, guess = weak.detach().softmax(1).max(1)
    sure = (confidence >= threshold).to(strong.dtype)
    return (sure * F.cross_entropy(strong, guess, reduction="none")).mean(), sure.mean()


def cut_out(x: Tensor, centre: Tensor, share: float) -> Tensor:
    """A square of `share` of the side of each (B, C, H, W) image becomes 0, the mean; centre: (B, 2) in [0, 1)."""
    size = x.shape[2]
    at = torch.arange(size, device=x.device)
    hidden = (at - (centre * size).floor()[:, :, None] + 0.5).abs() < share * size / 2  # (B, 2, size)
    return x.masked_fill((hidden[:, 0, :, None] & hidden[:, 1, None, :])[:, None], 0.0)


def choose_labelled(label: np.ndarray, train: np.ndarray, per_class: int, choice: int) -> Tensor:
    """Sample numbers of `per_class` random training samples of each class (all of a class that has fewer), sorted."""
    order = np.random.default_rng(choice).permutation(train)
    picked = [order[label[order] == c][:per_class] for c in np.unique(label[train]) if c >= 0]
    if not picked:
        raise DataError("FixMatch needs labels of some training images, but none is known")
    return torch.from_numpy(np.sort(np.concatenate(picked)))


class FixMatch(Method):
    needs = ("image", "label")
    backbone = "resnet18"
    recipe = Recipe(epochs=40, batch=64, optimiser="sgd", lr=0.12, weight_decay=5e-4)
    presets = {
        "paper": {  # Table 4: rate 0.03 for 64 labelled images, 2^20 steps; its Wide ResNet-28-2 is not in timm
            "backbone": "wide_resnet50_2", "epochs": 1024, "batch": 64, "lr": 0.12, "warmup": 0.0,
        },
    }  # fmt: skip
    smoke = {"ratio": 2, "batch": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 10, "batch": 32, "optimiser": "adamw",
        "lr": 8e-3, "ratio": 2, "labels": 20, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        classes: int = 10,
        labels: int = 25,
        choice: int = 0,
        threshold: float = 0.95,
        weight: float = 1.0,
        ratio: int = 7,
        cutout: float = 0.5,
    ):
        """labels: of each class. choice: which ones. weight: lambda_u. ratio: mu, unlabelled images per labelled."""
        super().__init__(inputs, backbone)
        self.labels, self.choice, self.threshold = labels, choice, threshold
        self.weight, self.ratio, self.cutout = weight, ratio, cutout
        self.weak = View.geometric(scale=(0.77, 1.0), ratio=(1.0, 1.0))  # sides of at least 7/8: shifts by up to 1/8
        self.strong = View(colour=1.0)
        self.classifier = nn.Linear(self.encoder.width, classes)
        self._labelled = (None, None)  # the data, and which of its samples keep their label

    @classmethod
    def settings_for(cls, data):
        return {"classes": 1 + int(data.take("label", torch.arange(len(data))).max())}

    def labelled(self, data) -> Tensor:
        """Chosen once per data set; depends on nothing that training changes."""
        if self._labelled[0] is not data:
            label = data.take("label", torch.arange(len(data))).cpu().numpy()
            train = np.asarray(data.splits["train"])
            self._labelled = (data, choose_labelled(label, train, self.labels, self.choice))
        return self._labelled[1]

    def draw(self, data, index, draws):
        # Each sample of the batch brings one labelled image, itself as unlabelled, and more unlabelled ones.
        labelled, train = self.labelled(data).to(index), torch.as_tensor(data.splits["train"]).to(index)
        known = labelled[draws.integers(len(labelled)).to(index.device)]
        more = train[draws.integers(len(train), self.ratio - 1).to(index.device)]
        unlabelled = torch.cat([index[:, None], more], dim=1)
        images = data.take("image", unlabelled.flatten())
        return {"image": data.take("image", known), "label": data.take("label", known), "unlabelled": images}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.weak], self.encoder, draws)
        each = draws.each(self.ratio)
        weak, strong = random_views(batch["unlabelled"], [self.weak, self.strong], self.encoder, each)
        return {
            "x": x,
            "y": batch["label"].long(),
            "weak": weak,
            "strong": cut_out(strong, each.uniform(2), self.cutout),
        }

    def forward(self, batch, turn="all"):
        n, m = len(batch["x"]), len(batch["weak"])
        h = self.encoder(torch.cat([batch["x"], batch["weak"], batch["strong"]]))
        logits, weak, strong = self.classifier(h).split([n, m, m])
        supervised = F.cross_entropy(full(logits), batch["y"])
        unsupervised, sure = consistency(weak, strong, self.threshold)
        metrics = {"supervised": supervised.detach(), "unsupervised": unsupervised.detach(), "sure": sure}
        return Output(supervised + self.weight * unsupervised, metrics, embedding=h[:n])
