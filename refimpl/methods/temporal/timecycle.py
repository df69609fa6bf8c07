r"""TimeCycle: learning correspondence from the cycle-consistency of time.

Xiaolong Wang, Allan Jabri, Alexei A. Efros. "Learning Correspondence from the Cycle-Consistency of Time." CVPR 2019.
arXiv 1903.07593.

**Idea.** Follow a patch back in time, frame by frame, and forward again: it must end where it began. Where it was in
between nobody needs to know; the features that find it are what is learned.

**Objective.** With the map $x^I$ of a frame and that of the patch $x^p$, columns of unit length, each cell $i$ of the
patch looks for its like among the cells $j$ of the frame,

$$A(j, i) = \frac{\exp(x^I(j) \cdot x^p(i) / \tau)}{\sum_{j'} \exp(x^I(j') \cdot x^p(i) / \tau)}$$

a small network reads two shifts and a turn $\theta$ from $A$, and the frame's map is sampled there: that is the tracker
$\mathcal{T}(x^I, x^p)$, whose result is the patch to look for in the next frame. For each length $i$ up to $k$

$$\mathcal{L} = \sum_{i=1}^k \mathcal{L}^i_{sim} + \lambda \mathcal{L}^i_{skip} + \lambda \mathcal{L}^i_{long}$$

where $\mathcal{L}_{long}$ tracks back through $t-1, \dots, t-i$ and forward to $t$, and $\mathcal{L}_{skip}$ goes from
$t$ to $t-i$ and straight back. Both are the mean squared distance between where the points of the patch lay in frame
$t$ and where they were found again. $\mathcal{L}_{sim}$ is minus the share of $A$ that falls where $\theta$ says that
the patch is: a count of inliers (the authors' code). With `inliers=False` it is minus the mean cosine of the patch and
what was found (the paper), which features that are the same everywhere satisfy at once.

**What moves here.** Nothing: dates of a satellite series lie on one another, and a patch would be found without a look
where it was. So each date is cut with a registration error of its own, up to `shift` of the side in either
direction. Then a track stands for the ground and not for the pixel, and must see it through the seasons.

**What would be easier.** Convolutions that add zeros at the border tell every cell where it is, for in small maps no
cell is far from it. The count of inliers is then soon perfect: each cell of the patch is drawn to a place in the frame
that is always the same, whatever is there, and nobody comes back to the start; such features find places no better than
a guess. So a ResNet repeats its border here. The features then find places at another date, which is how they are
judged; land uses they tell about as well as an untrained network's.

**Defaults.** $k = 2$ (4 in the paper), $\lambda = 0.1$, $\tau$ one over the root of the features' number; the patch is
turned by up to 45 degrees, as in the paper, and has half the frame's side (a third there, of 30 x 30 cells). As in the
paper a ResNet ends before its last stage and shrinks the image eight times only.

**Left out, or different.** Patches are chosen anywhere, not where frames differ most. The code weighs long cycles by a
fifth of $\lambda$ and takes means, and fuses its correlations by convolutions; here two linear layers read them.
"""

from __future__ import annotations

import math

import torch
from timm.layers import AvgPool2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from refimpl.backbones import BackboneError, TimmEncoder
from refimpl.data.dataset import DataError
from refimpl.data.views import View
from refimpl.engine.method import Method, Output, Recipe
from refimpl.parts.heads import mlp
from refimpl.parts.precision import full
from refimpl.parts.series import in_time, mean_over_dates, one_view_of_all
from refimpl.parts.windows import fitting


def sample(maps: Tensor, theta: Tensor, zoom: float, size: int) -> Tensor:
    """(B, D, h, w) and (B, 3), shift in x and y and turn -> (B, D, size, size), the window at theta; 0 outside.

    Shifts are in halves of the side, from the centre. zoom: the window's side in the frame's.
    """
    x, y, turn = theta.unbind(1)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    affine = torch.stack([torch.stack([cos, -sin, x], 1), torch.stack([sin, cos, y], 1)], 1)
    grid = F.affine_grid(affine, [len(maps), 1, size, size], align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False)


def distance(found: Tensor, true: Tensor, zoom: float) -> Tensor:
    """Mean squared distance of the points of a square patch, placed by either theta (B, 3); (B,).

    Of points that fill [-1, 1]^2 evenly: |shift - shift'|^2 + zoom^2 |R - R'|^2 / 3, with |R - R'|^2 = 4 - 4 cos.
    """
    apart = (found - true)[:, :2].square().sum(1)
    return apart + zoom**2 / 3 * (4 - 4 * (found - true)[:, 2].cos())


def affinity(frame: Tensor, patch: Tensor) -> Tensor:
    """A: (B, D, n, n) and (B, D, m, m) of unit columns -> (B, n * n, m * m), which sums to 1 over the frame."""
    scores = frame.flatten(2).transpose(1, 2) @ patch.flatten(2)
    return F.softmax(scores * math.sqrt(frame.shape[1]), dim=1)


def inlier_share(a: Tensor, theta: Tensor, zoom: float) -> Tensor:
    """(B,): how much of A (B, n * n, m * m) lies where theta puts each cell of the patch, the mean over cells."""
    n, m = (math.isqrt(cells) for cells in a.shape[1:])
    cells = torch.eye(n * n, device=a.device, dtype=a.dtype).view(1, n * n, n, n).expand(len(a), -1, -1, -1)
    return (sample(cells, theta, zoom, m).flatten(2) * a).sum(1).mean(1)


def without_last_stage(encoder: TimmEncoder) -> TimmEncoder:
    """The same ResNet (new weights) up to its third stage, which keeps the resolution of the second: stride 8.

    It repeats the border, where zeros would tell a cell its place: in convolutions, and in the mean of 2 x 2 cells
    before some shortcuts, which is left out where nothing shrinks.
    """
    cut = TimmEncoder(encoder.name, encoder.input, output_stride=8)
    cut.net.layer4 = nn.Identity()
    for block in list(cut.net.modules()):
        for name, layer in block.named_children():
            if isinstance(layer, nn.Conv2d):
                layer.padding_mode = "replicate"
            elif isinstance(layer, AvgPool2dSame):
                setattr(block, name, nn.Identity())
    cut.width = cut.net.feature_info[-2]["num_chs"]
    return cut


class TimeCycle(Method):
    needs = ("series", "dates")
    backbone = "resnet18"
    protocol = "correspondence"
    recipe = Recipe(epochs=20, batch=64, lr=1e-3, weight_decay=1e-4)
    presets = {
        "paper": {  # the authors' code, for frames of 240 pixels
            "backbone": "resnet50", "epochs": 30, "batch": 36, "optimiser": "adam", "lr": 1.4e-3, "betas": (0.5, 0.999),
            "warmup": 0.0, "weight_decay": 0.0, "clip": 10.0, "steps": 4, "dim": 512, "zoom": 0.3333, "shift": 0.0,
        },
    }  # fmt: skip
    smoke = {"size": 64, "dim": 16, "epochs": 1}
    proof = {
        "samples": 2000, "size": 64, "backbone": "resnet10t", "epochs": 6, "batch": 32, "lr": 8e-3, "clip": 1.0,
        "margin": 5.0,
    }  # fmt: skip

    def __init__(
        self,
        inputs,
        backbone=None,
        *,
        steps: int = 2,
        zoom: float = 0.5,
        shift: float = 0.1,
        weight: float = 0.1,
        inliers: bool = True,
        dim: int = 128,
        hidden: int = 128,
    ):
        """steps: k, the longest way back. zoom: the patch's side in the frame's. weight: lambda."""
        super().__init__(inputs, backbone)
        self.steps, self.zoom, self.weight, self.inliers = steps, zoom, weight, inliers
        self.view = View.geometric(scale=((1 - shift) ** 2,) * 2, ratio=(1.0, 1.0))
        if hasattr(getattr(self.encoder, "net", None), "layer4"):
            self.encoder = without_last_stage(self.encoder)
        elif not getattr(self.encoder, "is_vit", False):
            raise BackboneError(f"tracking needs a ResNet or a plain ViT, not {self.encoder.name}")
        self.patch = fitting(self.encoder, round(zoom * self.encoder.input.size))
        self.narrow = nn.Conv2d(self.encoder.width, dim, 1, bias=False)
        cells = self.side(self.encoder.input.size) ** 2 * self.side(self.patch) ** 2
        self.localise = mlp(cells, hidden, 3, norm=False)  # A -> theta

    def side(self, pixels: int) -> int:
        """Cells along the side of the map of so many pixels."""
        if self.encoder.is_vit:
            return pixels // self.encoder.net.patch_embed.patch_size[0]
        return math.ceil(pixels / 8)

    def draw(self, data, index, draws):
        batch = super().draw(data, index, draws)
        if (dates := batch["series"].shape[1]) <= self.steps:
            raise DataError(f"{data.name}: series of {dates} dates; to go back {self.steps} takes {self.steps + 1}")
        return batch

    def prepare(self, batch, draws):
        series = in_time(batch["series"], batch["dates"])
        chosen = draws.permutation(series.shape[1])[:, : self.steps + 1].sort(1).values
        frames = series[torch.arange(len(series), device=series.device)[:, None], chosen]
        x = one_view_of_all(frames, self.view, self.encoder, draws, apart=("left", "top"))  # each date a little off
        reach = x.new_tensor([1 - self.zoom, 1 - self.zoom, math.pi / 4])
        theta = draws.uniform(3, low=-1.0, high=1.0) * reach
        return {"x": x, "theta": theta, "patch": sample(x[:, -1], theta, self.zoom, self.patch)}

    def cells(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> (B, width, n, n), the encoder's map."""
        h = self.encoder.map(x)
        if self.encoder.is_vit:
            h = h[:, self.encoder.net.num_prefix_tokens :].transpose(1, 2)
            h = h.unflatten(2, (math.isqrt(h.shape[2]),) * 2)
        return h

    def maps(self, x: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> (B, D, n, n), each cell of unit length."""
        return F.normalize(full(F.relu(self.narrow(self.cells(x)))), dim=1)

    def track(self, frame: Tensor, patch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T: maps of a frame (B, D, n, n) and a patch (B, D, m, m) -> the patch found, theta and A."""
        a = affinity(frame, patch)
        theta = full(self.localise(a.flatten(1)))
        return F.normalize(sample(frame, theta, self.zoom, patch.shape[3]), dim=1), theta, a

    def forward(self, batch, turn="all"):
        x, theta = batch["x"], batch["theta"]
        z, start = self.maps(x.flatten(0, 1)).unflatten(0, x.shape[:2]), self.maps(batch["patch"])
        t, similar, skip, long = self.steps, 0.0, 0.0, 0.0
        for i in range(1, self.steps + 1):
            patch = start
            for s in (*range(t - 1, t - i - 1, -1), *range(t - i + 1, t + 1)):  # t-1 .. t-i, then t-i+1 .. t
                patch, end, _ = self.track(z[:, s], patch)
            long = long + distance(end, theta, self.zoom).mean()
            found, where, a = self.track(z[:, t - i], start)
            _, back, _ = self.track(z[:, t], found)
            skip = skip + distance(back, theta, self.zoom).mean()
            alike = inlier_share(a, where, self.zoom) if self.inliers else (found * start).sum(1).mean((1, 2))
            similar = similar - alike.mean()
        missed = distance(end, theta, self.zoom).mean().sqrt()
        return Output(similar + self.weight * (skip + long), {"missed": missed}, embedding=z.mean((3, 4)).flatten(0, 1))

    def embed(self, stored):
        """(B, T, C, H, W) stored series -> (B, width), the mean over dates."""
        return mean_over_dates(self.encoder, stored)
