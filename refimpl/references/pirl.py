"""PIRL's loss, memory bank and tiles by loops, from Eq. 3 to 5 of arXiv 1912.01991."""

from __future__ import annotations

import math

import numpy as np
import torch

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import Progress
from refimpl.methods.joint_embedding import pirl
from refimpl.parts.memory_bank import MemoryBank
from refimpl.references import Check, compare


def _unit(row):
    return row / math.sqrt(sum(v * v for v in row))


def slow_loss(v: np.ndarray, bank: np.ndarray, index, negatives, tau: float, kind: str) -> float:
    total = 0.0
    for row, own, others in zip(v, index, negatives):
        score = {i: math.exp(float(_unit(row) @ bank[i]) / tau) for i in (own, *others)}
        everything = score[own] + sum(score[i] for i in others if i != own)
        total -= math.log(score[own] / everything)
        if kind == "nce":
            total -= sum(math.log(1 - score[i] / everything) for i in others if i != own)
    return total / len(v)


def _numbers():
    rng = np.random.default_rng(1)
    bank = np.array([_unit(row) for row in rng.normal(size=(12, 6))])
    # The third row draws its own memory by chance, and another one twice.
    return rng.normal(size=(3, 6)), bank, np.array([4, 0, 7]), np.array([[1, 2, 3, 5], [8, 9, 3, 2], [7, 1, 11, 1]])


def _loss_case(tau: float, kind: str) -> Check:
    v, bank, index, negatives = _numbers()
    fixed = [torch.from_numpy(a) for a in (bank, index, negatives)]
    return compare(
        f"the loss and its gradient equal loops over memories ({kind}, temperature {tau})",
        lambda v: pirl.memory_loss(v, *fixed, tau, kind),
        lambda v: slow_loss(v, bank, index, negatives, tau, kind),
        {"v": v},
    )


def nce() -> Check:
    return _loss_case(0.5, "nce")


def nce_low_temperature() -> Check:
    return _loss_case(0.07, "nce")


def cross_entropy() -> Check:
    return _loss_case(0.07, "cross_entropy")


def estimated() -> Check:
    """The authors' code: P = exp(s / tau) / Z with a constant Z, h = P / (P + N / samples)."""
    v, bank, index, negatives = _numbers()
    z, n = 40.0, len(bank)

    def slow(v: np.ndarray) -> float:
        total = 0.0
        for row, own, others in zip(v, index, negatives):
            p = [math.exp(float(_unit(row) @ bank[i]) / 0.5) / z for i in (own, *others)]
            h = [a / (a + len(others) / n) for a in p]
            total -= math.log(h[0]) + sum(math.log(1 - a) for a in h[1:])
        return total / len(v)

    fixed = [torch.from_numpy(a) for a in (bank, index, negatives)]
    log_mean = torch.tensor(math.log(z / n), dtype=torch.float64)
    return compare(
        "the loss with an estimated denominator equals a loop",
        lambda v: pirl.memory_loss(v, *fixed, 0.5, "estimated", log_mean),
        slow,
        {"v": v},
    )


def known_points() -> Check:
    """All memories alike give ln(N + 1) + N ln((N + 1) / N); one's own alone alike gives nearly 0."""
    n = 20
    bank = torch.ones(n + 1, 4, dtype=torch.float64) / 2
    index, negatives = torch.tensor([0, 0]), torch.arange(1, n + 1).repeat(2, 1)
    alike = float(pirl.memory_loss(torch.ones(2, 4, dtype=torch.float64), bank, index, negatives, 0.07))
    axes = torch.eye(n + 1, dtype=torch.float64)
    apart = float(pirl.memory_loss(axes[:1].repeat(2, 1), axes, index, negatives, 0.02))
    expected = math.log(n + 1) + n * math.log((n + 1) / n)
    return Check("known points: ln(N + 1) + N ln((N + 1) / N), and 0", abs(alike - expected) + abs(apart), 1e-9)


def bank_by_hand() -> Check:
    torch.manual_seed(0)
    bank = MemoryBank(5, 3, 0.5)
    by_hand = [_unit(np.array(row)) for row in bank.rows.double().tolist()]
    rng = np.random.default_rng(2)
    for index in ([0, 3], [3, 1], [4, 0]):
        rows = 3 * rng.normal(size=(2, 3))
        bank.put(torch.tensor(index), torch.from_numpy(rows))
        for i, row in zip(index, rows):
            by_hand[i] = _unit(0.5 * by_hand[i] + 0.5 * _unit(row))
    return Check(
        "the bank holds moving averages of unit length", float(np.abs(bank.rows.numpy() - by_hand).max()), 1e-6
    )


def _data() -> Data:
    image = np.random.default_rng(3).integers(0, 255, (20, 2, 36, 36)).astype(np.uint8)
    return Data("noise", {"image": image}, {"image": Input(("a", "b"), 36)}, {"train": np.arange(2, 20)[::-1].copy()})


def _method() -> tuple[pirl.PIRL, Data]:
    torch.manual_seed(0)
    data = _data()
    return pirl.PIRL(data.inputs, "resnet10t", samples=20, dim=4, negatives=50), data


def objective_and_bank() -> Check:
    """The loss of a step from its two projections (Eq. 5), and the memories after it: those of the images alone."""
    method, data = _method()
    index = torch.tensor([3, 17, 8, 5])
    draws = Draws(0, 0, torch.arange(4))
    batch = method.prepare(method.draw(data, index, draws), draws)
    before = method.bank.rows.clone()
    method.eval()
    with torch.no_grad():
        loss = float(method(batch).loss)
        method.after_step(Progress(1, 1, 0, 1))
        f = method.image_head(method.encoder(batch["image"]))
        pieces = [[method.tile_head(method.encoder(tile[None])) for tile in tiles] for tiles in batch["tiles"]]
        g = torch.cat([method.join(torch.cat(row, 1)) for row in pieces])
    common = (before.double().numpy(), index.tolist(), batch["negatives"].tolist(), 0.07, "nce")
    of_tiles, of_image = (slow_loss(v.double().numpy(), *common) for v in (g, f))
    error = abs(loss - (0.5 * of_tiles + 0.5 * of_image)) / loss
    expected = before.double()
    for i, row in zip(index.tolist(), f.double().numpy()):
        expected[i] = torch.from_numpy(_unit(0.5 * before[i].double().numpy() + 0.5 * _unit(row)))
    moved = float((method.bank.rows - expected).abs().max())
    return Check("a step's loss is Eq. 5, and the bank then knows its images", error + moved, 1e-5)


def negatives_are_training_images() -> Check:
    method, data = _method()
    index = torch.tensor([3, 17, 8, 5])
    drawn = method.draw(data, index, Draws(0, 0, torch.arange(4)))["negatives"]
    missing = set(range(2, 20)) - set(drawn.flatten().tolist())
    return Check("negatives are all training images and nothing else", float((drawn < 2).sum() + len(missing)), 0.0)


def tiles_are_shuffled() -> Check:
    """An image whose pixels number its cells: every cell is there once, and the order differs between images."""
    torch.manual_seed(0)
    method = pirl.PIRL({"image": Input(("a",), 36)}, "resnet10t", samples=20, dim=4, negatives=4)
    method.views = [pirl.View.geometric(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, transpose=False)] * 2
    cells = torch.arange(9.0).reshape(3, 3).repeat_interleave(12, 0).repeat_interleave(12, 1)
    batch = {"image": cells.expand(8, 1, 36, 36), "index": torch.arange(8), "negatives": torch.zeros(8, 4).long()}
    tiles = method.prepare(batch, Draws(0, 0, torch.arange(8)))["tiles"]
    found = tiles[:, :, 0].flatten(2)
    order = found.mean(2).round()
    mixed = float((found - order[:, :, None]).abs().max())
    complete = float((order.sort(1).values - torch.arange(9.0)).abs().max())
    kinds = len({tuple(row) for row in order.tolist()})
    return Check("each image's nine tiles lie in an order of their own", mixed + complete + (8 - kinds), 1e-4)


CASES = [
    nce,
    nce_low_temperature,
    cross_entropy,
    estimated,
    known_points,
    bank_by_hand,
    objective_and_bank,
    negatives_are_training_images,
    tiles_are_shuffled,
]

_loss = pirl.memory_loss


def _bank_of_tiles(patch) -> None:
    """The memory follows the loss's other side: nothing, here."""
    patch(MemoryBank, "put", lambda self, index, rows: None)


KNOCKOUTS = {
    "the negatives": lambda patch: patch(
        pirl, "memory_loss", lambda v, bank, index, negatives, *rest: _loss(v, bank, index, negatives[:, :1], *rest)
    ),
    "pushing each negative away (second term of Eq. 4)": lambda patch: patch(
        pirl, "memory_loss", lambda *arguments: _loss(*arguments[:5], "cross_entropy")
    ),
    "one's own memory as the positive": lambda patch: patch(
        pirl, "memory_loss", lambda v, bank, index, *rest: _loss(v, bank, index.roll(1), *rest)
    ),
    "memories that follow the images": _bank_of_tiles,
    "shuffled tiles": lambda patch: patch(
        Draws, "permutation", lambda self, n: torch.arange(n).expand(len(self), n)
    ),
}  # fmt: skip
