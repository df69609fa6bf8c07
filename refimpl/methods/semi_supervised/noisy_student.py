r"""Noisy Student: self-training in which the teacher sees clearly and the student is disturbed.

Qizhe Xie, Minh-Thang Luong, Eduard Hovy, Quoc V. Le. "Self-Training With Noisy Student Improves ImageNet
Classification." CVPR 2020. arXiv 1911.04252.

**Idea.** A network trained on the few labels labels all other images; a new one learns from both and becomes the next
teacher. What makes the student better than its teacher is noise: the teacher labels clean images with all of its
network, the student must give the same answer for distorted ones with parts of its own dropped.

**Objective.** With labelled $(x_i, y_i)$, unlabelled $\tilde x_i$, the teacher $\theta_t$ and the student $\theta_s$
(Algorithm 1):

$$\tilde y_i = f(\tilde x_i, \theta_t), \qquad
\mathcal{L} = \frac{1}{n} \sum_{i=1}^{n} \ell(y_i, f^{noised}(x_i, \theta_s))
+ \frac{1}{m} \sum_{i=1}^{m} \ell(\tilde y_i, f^{noised}(\tilde x_i, \theta_s))$$

with the cross entropy $\ell$. The first teacher has the first term alone, with noise too. Images that the teacher is
unsure of are left out, and classes are balanced: of a frequent class the surest images stay, those of a rare one occur
several times.

**Defaults.** Soft labels (`soft=False`: the teacher's class), confidence 0.3 (section 3.1), dropout of a half before
the classifier, stochastic depth that rises to 0.2 in the last block. A new student begins every `generation` epochs
with fresh weights; the teacher remains only as its labels, which is all that is needed of it. `labels` images of each
class keep their label, chosen once by `choice`; `ratio` unlabelled images go with each (the paper: 14; the
authors' scripts for B0 to B7: 1 or 3).

**Left out, or different.** RandAugment is a chain of operations on RGB; its place is taken by the strong view that any
number of bands allows. Students are as large as teachers. The rate falls along a half cosine in every generation (a
warm-up is for the first only), not in steps; no last epochs at higher resolution. Unlabelled images are of the same
data, so the labelled ones are among them.
"""

from __future__ import annotations

import math

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import build_encoder
from refimpl.data.views import View, random_views
from refimpl.engine.distributed import from_main
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.labelled import Few
from refimpl.parts.precision import full_precision


@full_precision
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over rows of l(y, p): logits (B, K), targets (B, K) distributions."""
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def balanced(probability: Tensor, confidence: float) -> Tensor:
    """Rows of (N, K) predictions from which to learn, N or somewhat more: equally many of each class that is predicted.

    Rows below `confidence` are left out (unless all are). Of a class with too many, the surest; with too few, repeated.
    """
    sure, guess = probability.max(1)
    sure = torch.where((sure >= confidence).any() & (sure < confidence), -1.0, sure)
    classes = guess[sure >= 0].unique()
    share = -(-len(guess) // len(classes))
    rows = []
    for c in classes:
        members = ((guess == c) & (sure >= 0)).nonzero()[:, 0]
        surest_first = members[sure[members].argsort(descending=True, stable=True)]
        rows.append(surest_first.repeat(-(-share // len(members)))[:share])
    return torch.cat(rows)


def stochastic_depth(network: nn.Module, rate: float) -> None:
    """Blocks of a timm network are skipped at random, with a probability that rises evenly to `rate` in the last."""
    gates = ("drop_path", "drop_path1", "drop_path2")
    blocks = [block for block in network.modules() if any(hasattr(block, gate) for gate in gates)]
    for i, block in enumerate(blocks):
        for gate in gates:
            if hasattr(block, gate):
                setattr(block, gate, DropPath(rate * (i + 1) / len(blocks)))


def restarted(fraction: float, generations: float) -> float:
    """Rate of a half cosine that begins anew in every generation, relative to that of one over the whole run."""
    whole, own = (1 + math.cos(math.pi * f) for f in (fraction, fraction * generations % 1))
    return own / whole if fraction < 1 else 1.0


class NoisyStudent(Method):
    needs = ("image", "label")
    backbone = "resnet18"
    recipe = Recipe(epochs=60, batch=64, lr=4e-3, weight_decay=1e-4, warmup=0.0)
    presets = {
        "paper": {  # section 3.1: a teacher, three students, 350 epochs each; the authors' scripts: 700 for B0 to B4
            "backbone": "efficientnet_b4", "epochs": 1400, "generation": 350, "batch": 2048, "optimiser": "sgd",
            "lr": 0.016, "ratio": 14,
        },
    }  # fmt: skip
    smoke = {"generation": 1, "batch": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 18, "generation": 9, "batch": 32, "lr": 1.6e-2,
        "labels": 20, "ratio": 2, "margin": 3.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        classes: int = 10,
        labels: int = 25,
        choice: int = 0,
        generation: int = 20,
        ratio: int = 2,
        soft: bool = True,
        confidence: float = 0.3,
        dropout: float = 0.5,
        depth: float = 0.2,
    ):
        """labels: of each class. generation: epochs of a teacher or student. depth: of the last block to be skipped."""
        super().__init__(inputs, backbone)
        self.generation, self.ratio, self.soft, self.confidence = generation, ratio, soft, confidence
        self.labelled = Few(labels, choice, each="label")
        self.view = View(colour=1.0)
        stochastic_depth(self.encoder, depth)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.encoder.width, classes)
        # The teacher's answer for every sample of the data set, and the samples to learn from; none for the first one.
        self.register_buffer("answers", torch.empty(0, classes))
        self.register_buffer("chosen", torch.empty(0, dtype=torch.int64))
        self.register_buffer("rate", torch.ones((), dtype=torch.float64))
        self._rate: float | None = None  # the same where it can be read without waiting for a GPU

    @classmethod
    def settings_for(cls, data):
        return {"classes": 1 + int(data.take("label", torch.arange(len(data))).max())}

    def before_epoch(self, epoch, data, tools):
        if epoch == 0 or epoch % self.generation:
            return
        with torch.no_grad():
            # Features of clean images, without dropout: what the student has become is the teacher now.
            probability = from_main(self.classifier(tools.features()).softmax(1))
        train = torch.as_tensor(data.splits["train"], device=probability.device)
        self.chosen = train[balanced(probability, self.confidence)]
        answers = probability if self.soft else F.one_hot(probability.argmax(1), probability.shape[1]).float()
        self.answers = torch.zeros(len(data), answers.shape[1], device=train.device)
        self.answers[train] = answers
        self.begin_again(int(torch.randint(2**62, (), generator=tools.generator)))
        tools.forget(self.parameters())

    def begin_again(self, seed: int) -> None:
        """Fresh weights, the same on every process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder.load_state_dict(build_encoder(self.encoder.name, self.encoder.input).state_dict())
            self.classifier.load_state_dict(nn.Linear(*reversed(self.classifier.weight.shape)).state_dict())

    def order(self, epoch, train, generator):
        samples = self.chosen.cpu() if len(self.chosen) else train
        return samples[torch.randperm(len(samples), generator=generator)]

    def draw(self, data, index, draws):
        # Each sample of the batch brings one labelled image; for a student itself too, and more unlabelled ones.
        labelled = self.labelled.of(data).to(index)
        known = labelled[draws.integers(len(labelled)).to(index.device)]
        drawn = {"image": data.take("image", known), "label": data.take("label", known).long()}
        if not len(self.chosen):
            return drawn
        more = self.chosen.to(index)[draws.integers(len(self.chosen), self.ratio - 1).to(index.device)]
        unlabelled = torch.cat([index[:, None], more], dim=1).flatten()
        answers = self.answers[unlabelled.to(self.answers.device)]
        return {**drawn, "unlabelled": data.take("image", unlabelled), "answers": answers}

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], [self.view], self.encoder, draws)
        prepared = {"x": x, "y": F.one_hot(batch["label"], self.classifier.out_features).float()}
        if "unlabelled" in batch:
            (u,) = random_views(batch["unlabelled"], [self.view], self.encoder, draws.each(self.ratio))
            prepared.update(u=u, answers=batch["answers"])
        return prepared

    def forward(self, batch, turn="all"):
        n = len(batch["x"])
        h = self.encoder(torch.cat([batch["x"], batch["u"]]) if "u" in batch else batch["x"])
        logits = self.classifier(self.dropout(h))
        loss = labelled = cross_entropy(logits[:n], batch["y"])
        if "u" in batch:
            loss = labelled + cross_entropy(logits[n:], batch["answers"])
        return Output(loss, {"labelled": labelled}, embedding=h)

    def rate_of(self, turn):
        if self._rate is None:  # at first, and after resuming
            self._rate = float(self.rate)
        return self._rate

    def after_step(self, progress):
        self._rate = restarted(progress.fraction, progress.epochs / self.generation)
        self.rate.fill_(self._rate)
