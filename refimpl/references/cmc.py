"""CMC's views, contrast and memories by loops, from section 3 and Eq. 12 of arXiv 1906.05849."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools, Progress
from refimpl.methods.joint_embedding import cmc
from refimpl.parts import memory_bank
from refimpl.references import Check, compare


def slow_softmax(positive: np.ndarray, noise: np.ndarray, temperature: float) -> float:
    total = 0.0
    for own, others in zip(positive, noise):
        exps = [math.exp(s / temperature) for s in (own, *others)]
        total -= math.log(exps[0] / sum(exps))
    return total / len(positive)


def slow_nce(positive: np.ndarray, noise: np.ndarray, samples: int, z: float, temperature: float) -> float:
    m, total = noise.shape[1], 0.0
    for own, others in zip(positive, noise):
        p = [math.exp(s / temperature) / z for s in (own, *others)]
        total -= math.log(p[0] / (p[0] + m / samples))
        total -= sum(math.log(1 - q / (q + m / samples)) for q in p[1:])
    return total / len(positive)


def softmax_form() -> Check:
    rng = np.random.default_rng(1)
    return compare(
        "the softmax form and its gradient equal a loop",
        lambda positive, noise: cmc.sampled_softmax(positive, noise, 0.07),
        lambda positive, noise: slow_softmax(positive, noise, 0.07),
        {"positive": rng.uniform(-1, 1, size=4), "noise": rng.uniform(-1, 1, size=(4, 6))},
    )


def nce_form() -> Check:
    rng = np.random.default_rng(2)
    return compare(
        "the noise-contrastive form and its gradient equal a loop",
        lambda positive, noise: cmc.nce_loss(positive, noise, torch.tensor(math.log(60.0 / 40)), 0.2),
        lambda positive, noise: slow_nce(positive, noise, 40, 60.0, 0.2),
        {"positive": rng.uniform(-1, 1, size=4), "noise": rng.uniform(-1, 1, size=(4, 6))},
    )


def views_of_bands() -> Check:
    """Halves in order, all bands once; by name; a single band twice. Features of a view do not see other bands."""
    names = ("B02", "B03", "B04", "B08", "B11")
    wrong = float(cmc.band_groups(names, 2) not in ([[0, 1], [2, 3, 4]], [[0, 1, 2], [3, 4]]))
    wrong += float(cmc.band_groups(names, 2, "B08,B02 B11") != [[3, 0], [4]])
    wrong += float(cmc.band_groups(("pan",), 2) != [[0], [0]])
    torch.manual_seed(0)
    method = cmc.CMC({"image": Input(names, 16)}, "test_resnet", bands="B08,B02 B11", dim=4).eval()
    with torch.no_grad():
        x = torch.randn(2, 5, 16, 16)
        before = method.encoder.each(x)
        x[:, 4] += 1.0
        after = method.encoder.each(x)
    wrong += float(not torch.equal(before[0], after[0])) + float(torch.equal(before[1], after[1]))
    return Check("views made of other bands than asked", wrong, 0.0)


def known_points() -> Check:
    """All alike: ln(m + 1). The own one at 1, all others at -1: nearly 0."""
    one = torch.ones(3, dtype=torch.float64)
    same = float(cmc.sampled_softmax(one, torch.ones(3, 7, dtype=torch.float64), 0.07))
    apart = float(cmc.sampled_softmax(one, -torch.ones(3, 7, dtype=torch.float64), 0.07))
    return Check("known points: ln(m + 1) and 0", abs(same - math.log(8)) + apart, 1e-9)


def _steps(softmax: bool, core: bool) -> Check:
    """Three steps of three views from the networks' own features, with the memories kept as lists."""
    image = np.random.default_rng(3).integers(0, 255, size=(12, 4, 16, 16)).astype(np.uint8)
    train = np.array([7, 2, 9, 4, 11, 5, 0, 3])
    inputs = {"image": Input(("a", "b", "c", "d"), 16, (127.0,) * 4, (70.0,) * 4)}
    data = Data("noise", {"image": image}, inputs, {"train": train})
    torch.manual_seed(0)
    method = cmc.CMC(
        inputs, "test_resnet", samples=12, groups=3, core=core, softmax=softmax, dim=6, noise=5, temperature=0.2
    )
    method.before_epoch(0, data, EpochTools(lambda: None, lambda parameters: None, torch.Generator()))
    method.eval()
    banks = [[row.double().numpy() for row in bank.rows] for bank in method.banks]
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0)] if core else [(i, j) for i in range(3) for j in range(3) if i != j]
    with torch.no_grad():
        stored = method.encoder.normalise(torch.as_tensor(image[train]))
        z = [rows.double().numpy() for rows in method.features(method.encoder.each(stored))]
    constant = {(i, j): sum(math.exp(float(a @ banks[j][n]) / 0.2) for a in z[i] for n in train) / 8 for i, j in pairs}
    error = 0.0
    for step in range(3):
        index = torch.as_tensor(train[[step, 4, 6, 7]])
        draws = Draws(0, step, torch.arange(4))
        with torch.no_grad():
            batch = method.prepare(method.draw(data, index, draws), draws)
            h = [view(batch["x"][:, bands]) for view, bands in zip(method.encoder.views, ([0, 1], [2], [3]))]
            z = [F.normalize(head(each), dim=1).double().numpy() for head, each in zip(method.heads, h)]
            ours, expected = float(method(batch).loss), 0.0
        for i, j in pairs:
            own = np.array([float(z[i][b] @ banks[j][index[b]]) for b in range(4)])
            noise = np.array([[float(z[i][b] @ banks[j][n]) for n in batch["noise"][b]] for b in range(4)])
            form = slow_softmax(own, noise, 0.2) if softmax else slow_nce(own, noise, 8, constant[i, j], 0.2)
            expected += form
        error = max(error, abs(ours - expected) / expected)
        error += float(not set(batch["noise"].flatten().tolist()) <= set(train.tolist()))
        method.after_step(Progress(step + 1, 3, 0, 1))
        for bank, rows in zip(banks, z):
            for b in range(4):
                row = 0.5 * bank[index[b]] + 0.5 * rows[b]
                bank[index[b]] = row / math.sqrt(sum(row**2))
    graph = "core view" if core else "full graph"
    return Check(f"three steps equal those by hand: {'softmax' if softmax else 'NCE'}, {graph}", error, 2e-5)


def full_graph() -> Check:
    return _steps(True, False)


def core_view() -> Check:
    return _steps(False, True)


CASES = [softmax_form, nce_form, views_of_bands, known_points, full_graph, core_view]


def _same_view(self, i, j, z, index, noise, original=cmc.CMC.contrast):
    return original(self, i, i, z, index, noise)


def _one_way(self, *arguments, original=cmc.CMC.__init__, **named):
    original(self, *arguments, **named)
    self.pairs = [(i, j) for i, j in self.pairs if i < j]


KNOCKOUTS = {
    "another view as partner": lambda patch: patch(cmc.CMC, "contrast", _same_view),
    "both ways": lambda patch: patch(cmc.CMC, "__init__", _one_way),
    "other images": lambda patch: patch(
        cmc, "sampled_softmax", lambda own, drawn, t: -own.mean() / t + 0 * drawn.sum()
    ),
    "an encoder for each view's own bands": lambda patch: patch(
        cmc.BandGroups, "each", lambda self, x: [view(x[:, : len(g)]) for view, g in zip(self.views, self.groups)]
    ),
    "the constant Z": lambda patch: patch(cmc, "log_mean_exp", lambda s, t: torch.zeros(())),
    "the memory": lambda patch: patch(memory_bank.MemoryBank, "put", lambda self, index, rows: None),
}
