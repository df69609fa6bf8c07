"""Protocol "correspondence": is a place found again at another date, by its features alone?

From each test series two square windows are cut, one from the first date, the other half a series later and elsewhere:
further off than one cell of 8 pixels in one direction at least, and by any number of pixels. Each cell of the one whose
ground is in the other looks for its like there, the largest inner product. It has found its place where it ends within
a cell's side of it in both directions. Where a cell lies in its window says nothing: whoever looks at the same spot of
the other window finds nothing, and each pair of windows is asked both ways, so that no direction is the better guess.
A guess at random finds about a tenth.

What is judged is the map of the encoder (`method.cells`), each cell about the mean of its window and of unit length.
Beside it stand the same network untrained and the raw pixels of the cell. What is counted is the share of keypoints
found (PCK: Y. Yang, D. Ramanan, "Articulated human detection with flexible mixtures of parts", PAMI 2013), with the
cell as its tolerance. Nothing is fitted: no split but the test split is read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refimpl.data.dataset import Data
from refimpl.engine.method import Method
from refimpl.evaluation.features import Progress, extract, home
from refimpl.evaluation.scores import (
    RANDOM,
    TRAINED,
    EvaluationError,
    Score,
    accuracy_score,
    digest,
    pick,
    require,
    rules,
)
from refimpl.evaluation.twin import untrained

VERSION = 1  # raised when a change of the rules changes scores
HIGHER_IS_BETTER = True

FOUND = "places found again"
PIXELS = "pixels"
CELL = 8  # pixels: the tolerance, and what the windows are whole numbers of
SMALLEST = 64  # pixels of an image
PAIRS = 8  # of windows, the same ones in every series

Windows = list[tuple[tuple[int, int], tuple[int, int]]]
"""Pairs of upper left corners (top, left) in pixels, at the first and at the later date."""


def evaluate(
    method: Method,
    data: Data,
    *,
    fresh: Callable[[], Method],
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> list[Score]:
    """Judge the maps of a method where the same ground was seen at several dates.

    Args:
        method: has `cells`, (B, C, H, W) normalised -> (B, D, h, w), which is judged; nothing of it changes.
        data: has the field "series" with two dates or more of the same ground, and the split "test".
        fresh: makes an untrained method of the same architecture.
        seed: of the untrained twin's weights.
        device: where to compute; default: where the method is. If given, the method is moved there.
        progress: called as progress(what is going on, share of all work that is done).
    Returns:
        the share of places found again in percent of the features "trained", "random initialisation" and "pixels", with
        95 % intervals over places (those of one series are alike, so the true ones are wider).
    Raises:
        EvaluationError: data that cannot judge the method, or features that are not finite.
    """
    require(data, "correspondence", fields=("series",), splits=("test",))
    side, pairs = windows(data.inputs["series"].size)
    device = home(method) if device is None else torch.device(device)
    method.to(device)
    twin = untrained(fresh, seed, device, data)
    judged = {TRAINED: (method, method.cells), RANDOM: (twin, twin.cells), PIXELS: (method, pixels)}
    test, scores = np.asarray(data.splits["test"], dtype=np.int64), []
    for number, (name, (owner, cells)) in enumerate(judged.items()):
        if progress is not None:
            progress(f"looking for places, {name}", number / len(judged))
        look = _Look(owner, cells, side, pairs)
        found = extract(look, data, "series", test, batch=128, device=device, what=f"places, {name}")
        scores.append(accuracy_score(FOUND, name, found.flatten().bool().numpy()))
    if progress is not None:
        progress("looking for places, done", 1.0)
    return scores


class _Look(torch.nn.Module):
    """(B, T, C, H, W) stored series -> (B, places) 1.0 where the place was found again, for `extract`."""

    def __init__(self, method: Method, cells: Callable[[Tensor], Tensor], side: int, pairs: Windows):
        super().__init__()
        self.method, self.cells, self.side, self.pairs = method, cells, side, pairs

    def forward(self, stored: Tensor) -> Tensor:
        if stored.shape[1] < 2:
            raise EvaluationError("the protocol 'correspondence' needs series of two dates or more; these have one")
        first, later = (self.method.encoder.normalise(stored[:, t]) for t in (0, stored.shape[1] // 2))
        hits = []
        for here, there in self.pairs:
            shift = (there[0] - here[0], there[1] - here[1])
            hits.append(found_again(self.maps(first, here), self.maps(later, there), shift, self.side))
        return torch.cat(hits, 1).float()

    def maps(self, x: Tensor, corner: tuple[int, int]) -> Tensor:
        """(B, C, H, W) -> (B, D, n, n) of one window, about its mean, each cell of unit length."""
        top, left = corner
        h = self.cells(x[..., top : top + self.side, left : left + self.side])
        if not torch.isfinite(h).all():
            raise EvaluationError("the map of a window has NaN or infinity; the weights are broken")
        return F.normalize(h - h.mean((2, 3), keepdim=True), dim=1)


def found_again(here: Tensor, there: Tensor, shift: tuple[int, int], side: int) -> Tensor:
    """Whether the cells of one window are found in another.

    Args:
        here, there: (B, D, n, n) maps of two windows of `side` pixels.
        shift: how many pixels further down and to the right the second window lies.
    Returns:
        (B, places) bool, of the cells of the second window whose centre lies in the first.
    """
    n = here.shape[-1]
    centre = (torch.arange(n, device=here.device) + 0.5) * side / n
    cells = torch.cartesian_prod(centre, centre)
    true = cells + torch.tensor(shift, device=here.device)
    asked = ((true >= 0) & (true < side)).all(1)
    likeness = there.flatten(2)[:, :, asked].transpose(1, 2) @ here.flatten(2)
    found = cells[likeness.argmax(2)]  # (B, places, 2)
    return (found - true[asked]).abs().amax(2) <= CELL


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C * 64, H / 8, W / 8), the pixels of each cell."""
    return F.pixel_unshuffle(x, CELL)


def windows(size: int) -> tuple[int, Windows]:
    """Side of the windows, three quarters of an image of `size` pixels, and where they lie: drawn once, each both ways.

    Raises EvaluationError for images too small to look round in.
    """
    if size < SMALLEST:
        raise EvaluationError(
            f"images of {size} pixels are too small for the protocol 'correspondence'; take {SMALLEST} or more"
        )
    side = size * 3 // 4 // CELL * CELL
    rng, pairs = np.random.default_rng(0), []
    while len(pairs) < PAIRS:
        here, there = rng.integers(0, size - side + 1, (2, 2))
        if np.abs(there - here).max() > CELL:
            one, other = tuple(here.tolist()), tuple(there.tolist())
            pairs += [(one, other), (other, one)]
    return side, pairs


def headline(scores: list[Score], features: str = TRAINED) -> float:
    """The one number that ranks methods: places found again, in percent."""
    return pick(scores, FOUND, features)


def fingerprint(method: Method, data: Data) -> str:
    """Hash of all that must be equal for two scores to be ranked together."""
    settings = {"cell": CELL, "windows": windows(data.inputs["series"].size)}
    return digest(
        {"protocol": "correspondence", "version": VERSION, **settings, **rules(data, method.inputs[method.needs[0]])}
    )
