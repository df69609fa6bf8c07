r"""Audio-visual correspondence: look, listen and learn, here with two sensors.

Relja Arandjelović, Andrew Zisserman. "Look, Listen and Learn." ICCV 2017. arXiv 1705.08168. With a space in which both
can be compared (AVE-Net): Relja Arandjelović, Andrew Zisserman. "Objects that Sound." ECCV 2018. arXiv 1712.06651.

**Idea.** Two senses that tell of the same thing teach each other: a network is shown a frame and a second of sound and
has to say whether they belong together. It can only know by what is seen and what is heard. Seen from above the senses
are two sensors, such as an optical image and a radar image of one place.

**Objective.** With features $f$ of the first and $g$ of the second sense from networks of their own, and a small
network $T$ that sees both, the two classes "of one place" and "of two places" by cross entropy, each half of all cases:

$$\mathcal{L} = \frac{1}{2} \mathbb{E}_i\left[-\log p(f_i, g_i)\right]
+ \frac{1}{2} \mathbb{E}_{i \neq j}\left[-\log(1 - p(f_i, g_j))\right], \qquad p = \sigma(T)$$

The paper draws one wrong partner for each right pair. Here all others of the batch are wrong partners, which is what
the draw is on average, and cheap, since only $T$ has to look at the pairs. A guess costs $\ln 2$.

**Two forms.** In the paper $T$ is two layers on both features side by side, with 128 numbers between (`joined`), so
the senses meet in the network but need not agree on anything. In the later form (`distance`) each feature becomes 128
numbers of unit length and $T$ is a line in their distance, so that one sense can be searched by the other.

**Defaults.** `joined`, Adam, weight decay 1e-5, the same kind of network for both (the paper: section 3.2 and 3.3). The
two sensors are cropped, flipped and turned by themselves, as frame and sound are altered by themselves: pixels must not
be matched, but contents. The image's brightness and saturation are altered, too.

**Left out, or different.** Sound: no data set here has it, any second image of the place will do. Its loudness is
altered in the paper; radar backscatter stays as it is. What is judged and kept is the first sensor's encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import build_encoder
from refimpl.data.views import View, random_views
from refimpl.engine.distributed import gather
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.pairs import own_and_others, own_rows
from refimpl.parts.precision import full, full_precision


@full_precision
def correspondence(scores: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The objective above and the share of right answers, in which right and wrong pairs count half each.

    Args:
        scores: (B, N), T of each first feature and all N second ones. own: (B,) which of the N belongs to it.
    """
    together, others = own_and_others(scores, own)
    apart = scores.numel() - len(own)
    loss = F.softplus(-together).mean() + F.softplus(others).sum() / apart
    right = (together > 0).float().mean() + 1 - (others > 0).sum() / apart
    return loss / 2, right / 2


class Joined(nn.Module):
    """Two layers on both features side by side: (B, F) and (N, G) -> (B, N).

    The first layer of a pair is the sum of a part for each feature, so it is computed once for each and not for pairs.
    """

    def __init__(self, first: int, second: int, hidden: int):
        super().__init__()
        self.first, self.second = nn.Linear(first, hidden), nn.Linear(second, hidden, bias=False)
        self.last = nn.Linear(hidden, 1)

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        return self.last(F.relu(self.first(f)[:, None] + gather(self.second(g))[None]))[:, :, 0]


class Distance(nn.Module):
    """A line in the distance of two embeddings of unit length: (B, F) and (N, G) -> (B, N)."""

    def __init__(self, first: int, second: int, hidden: int):
        super().__init__()
        self.first, self.second = mlp(first, hidden, hidden, norm=False), mlp(second, hidden, hidden, norm=False)
        self.line = nn.Parameter(torch.tensor([-5.0, 5.0]))  # slope and offset: together at a distance of less than 1

    def forward(self, f: Tensor, g: Tensor) -> Tensor:
        u, v = (F.normalize(full(network(x)), dim=1) for network, x in ((self.first, f), (self.second, g)))
        distance = (2 - 2 * u @ gather(v).T).clamp(min=1e-6).sqrt()
        return self.line[0] * distance + self.line[1]


FORMS = {"joined": Joined, "distance": Distance}


class AudioVisualCorrespondence(Method):
    needs = ("image", "second")
    backbone = "resnet18"
    couples_samples = True
    recipe = Recipe(epochs=40, batch=128, optimiser="adam", lr=1e-3, weight_decay=1e-5)
    presets = {
        "paper": {  # section 3.3: batch 256 on 16 GPUs; its rate was searched for and is not given
            "backbone": "vgg11_bn", "batch": 256, "warmup": 0.0,
        },
        "distance": {"form": "distance"},
    }  # fmt: skip
    smoke = {"hidden": 16}
    proof = {
        "samples": 2000, "size": 32, "backbone": "resnet10t", "epochs": 20, "batch": 64, "lr": 2e-3, "margin": 3.5,
    }  # fmt: skip

    def __init__(self, inputs, backbone=None, *, form: str = "joined", hidden: int = 128, crop: float = 0.5):
        super().__init__(inputs, backbone)
        if form not in FORMS:
            raise ValueError(f"form is {' or '.join(FORMS)}, not {form!r}")
        self.second = build_encoder(self.encoder.name, inputs["second"])
        self.together = FORMS[form](self.encoder.width, self.second.width, hidden)
        self.views = View(scale=(crop, 1.0), contrast=0.0, grey=0.0, blur=0.0), View.geometric(scale=(crop, 1.0))

    def prepare(self, batch, draws):
        (x,) = random_views(batch["image"], self.views[:1], self.encoder, draws)
        (second,) = random_views(batch["second"], self.views[1:], self.second, draws)
        return {"x": x, "second": second}

    def forward(self, batch, turn="all"):
        f, g = self.encoder(batch["x"]), self.second(batch["second"])
        loss, right = correspondence(self.together(f, g), own_rows(f))
        return Output(loss, {"right": right.detach()}, embedding=f)
