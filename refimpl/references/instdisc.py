"""InstDisc's noise-contrastive loss and memory bank by loops, from Eq. 2 to 10 of arXiv 1805.01978."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from refimpl.data.dataset import Data, Input
from refimpl.engine.draws import Draws
from refimpl.engine.method import EpochTools, Progress
from refimpl.methods.joint_embedding import instdisc
from refimpl.parts import memory_bank
from refimpl.references import Check, compare


def slow_nce(positive: np.ndarray, noise: np.ndarray, samples: int, z: float, temperature: float) -> float:
    m, total = noise.shape[1], 0.0

    def h(similarity: float) -> float:
        p = math.exp(similarity / temperature) / z
        return p / (p + m / samples)

    for own, others in zip(positive, noise):
        total -= math.log(h(own)) + sum(math.log(1 - h(other)) for other in others)
    return total / len(positive)


def slow_softmax(positive: np.ndarray, noise: np.ndarray, temperature: float) -> float:
    total = 0.0
    for own, others in zip(positive, noise):
        exps = [math.exp(s / temperature) for s in (own, *others)]
        total -= math.log(exps[0] / sum(exps))
    return total / len(positive)


def _case(temperature: float) -> Check:
    rng = np.random.default_rng(1)
    return compare(
        f"the loss and its gradient equal a loop at temperature {temperature}",
        lambda positive, noise: instdisc.nce_loss(positive, noise, torch.tensor(math.log(70.0 / 50)), temperature),
        lambda positive, noise: slow_nce(positive, noise, 50, 70.0, temperature),
        {"positive": rng.uniform(-1, 1, size=4), "noise": rng.uniform(-1, 1, size=(4, 6))},
    )


def default_temperature() -> Check:
    return _case(0.07)


def high_temperature() -> Check:
    return _case(0.5)


def at_the_start() -> Check:
    """Where every entry has probability 1 / n the loss is ln(m + 1) + m ln(1 + 1 / m)."""
    m = 9
    zero = torch.zeros(3, dtype=torch.float64)
    value = float(instdisc.nce_loss(zero, torch.zeros(3, m, dtype=torch.float64), zero[0], 0.07))
    return Check(
        "equal probabilities: ln(m + 1) + m ln(1 + 1 / m)", abs(value - math.log(m + 1) - m * math.log(1 + 1 / m)), 1e-9
    )


def _data() -> Data:
    image = np.random.default_rng(3).integers(0, 255, size=(12, 2, 16, 16)).astype(np.uint8)
    train = np.array([7, 2, 9, 4, 11, 5, 0, 3])
    return Data(
        "noise", {"image": image}, {"image": Input(("a", "b"), 16, (127.0, 127.0), (70.0, 70.0))}, {"train": train}
    )


def _started(**hyper) -> tuple[instdisc.InstDisc, Data]:
    data = _data()
    torch.manual_seed(0)
    method = instdisc.InstDisc(data.inputs, "test_resnet", samples=len(data), dim=6, noise=5, **hyper)
    method.before_epoch(0, data, EpochTools(lambda: None, lambda parameters: None, torch.Generator()))
    return method.eval(), data


def constant() -> Check:
    """Z is the mean over training images of the sum over the entries of all of them."""
    method, data = _started()
    train = torch.as_tensor(data.splits["train"])
    with torch.no_grad():
        v = F.normalize(method.head(method.embed(data.take("image", train))), dim=1).double().numpy()
    bank = method.bank.rows[train].double().numpy()
    z = sum(math.exp(float(a @ f) / 0.07) for a in v for f in bank) / len(v)
    ours = math.exp(float(method.log_mean)) * len(train)
    return Check("Z is the mean over features of the sum over the bank", abs(ours / z - 1), 1e-5)


def _steps(proximal: float, momentum: float, softmax: bool = False) -> Check:
    """Three steps from the network's own features, with the bank kept as a list."""
    method, data = _started(proximal=proximal, momentum=momentum, softmax=softmax)
    train, error = torch.as_tensor(data.splits["train"]), 0.0
    bank, z = [row.double().numpy() for row in method.bank.rows], math.exp(float(method.log_mean)) * len(train)
    for step in range(3):
        index = train[[step, 4, 6, 7]]
        draws = Draws(0, step, torch.arange(4))
        with torch.no_grad():
            batch = method.prepare(method.draw(data, index, draws), draws)
            v = F.normalize(method.head(method.encoder(batch["x"])), dim=1).double().numpy()
            loss = float(method(batch).loss)
        own = np.array([float(v[i] @ bank[index[i]]) for i in range(4)])
        noise = np.array([[float(v[i] @ bank[j]) for j in batch["noise"][i]] for i in range(4)])
        expected = slow_softmax(own, noise, 0.07) if softmax else slow_nce(own, noise, len(train), z, 0.07)
        expected += proximal * sum(sum((v[i] - bank[index[i]]) ** 2) for i in range(4)) / 4
        error = max(error, abs(loss - expected) / expected)
        error += float(not set(batch["noise"].flatten().tolist()) <= set(train.tolist()))
        method.after_step(Progress(step + 1, 3, 0, 1))
        for i in range(4):
            row = momentum * bank[index[i]] + (1 - momentum) * v[i]
            bank[index[i]] = row / math.sqrt(sum(row**2))
    error = max(error, float(np.abs(np.array(bank) - method.bank.rows.numpy()).max()))
    what = f"{'softmax' if softmax else 'NCE'}, proximal {proximal:g}, momentum {momentum:g}"
    return Check(f"three steps equal those by hand: {what}", error, 2e-5)


def as_code() -> Check:
    return _steps(0.0, 0.5)


def as_paper() -> Check:
    return _steps(30.0, 0.0)


def with_softmax() -> Check:
    return _steps(0.0, 0.5, True)


CASES = [default_temperature, high_temperature, at_the_start, constant, as_code, as_paper, with_softmax]


def _softmax(positive, noise, log_mean, temperature):
    logits = torch.cat([positive[:, None], noise], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


def _no_noise(positive, noise, log_mean, temperature):
    return -F.logsigmoid(positive / temperature - log_mean - math.log(noise.shape[1])).mean() + 0 * noise.sum()


KNOCKOUTS = {
    "the noise": lambda patch: patch(instdisc, "nce_loss", _no_noise),
    "noise-contrastive estimation, not a softmax": lambda patch: patch(instdisc, "nce_loss", _softmax),
    "the level of the noise, m / n": lambda patch: patch(
        instdisc, "nce_loss", lambda p, n, z, t, original=instdisc.nce_loss: original(p, n, z - math.log(n.shape[1]), t)
    ),
    "the constant Z": lambda patch: patch(instdisc, "log_mean_exp", lambda s, t: torch.zeros(())),
    "the memory": lambda patch: patch(memory_bank.MemoryBank, "put", lambda self, index, rows: None),
    "entries that follow slowly": lambda patch: patch(
        memory_bank.MemoryBank, "put", lambda self, index, rows: self.rows.index_copy_(0, index, rows)
    ),
}
