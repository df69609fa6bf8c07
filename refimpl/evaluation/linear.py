"""Linear probe: multinomial logistic regression on frozen features, solved to convergence.

With standardised features x (training mean 0, deviation 1), classes c and N training samples it minimises

    L(W, b) = 1/N sum_i [ log sum_c exp(w_c.x_i + b_c) - (w_yi.x_i + b_yi) ] + l2/2 ||W||^2

which is convex: one answer, no learning rate, no epochs, no augmentation, nothing to tune but l2, which is chosen on the
validation split. Full-batch L-BFGS finds it. What makes that quick is a change of variables: on the principal axes
of x, with variances v, the Hessian of L is at most v_d/2 + l2 along axis d (D. Bohning, "Multinomial logistic
regression algorithm", Ann. Inst. Statist. Math. 44, 1992, bounds it by 1/2 (I - 1 1'/C) (x) X'X/N), so the search runs
in U = W sqrt(v/2 + l2), where no direction is much steeper than another. The answer is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Strengths tried, strongest first, in the units of the mean loss.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
ITERATIONS = 200


@dataclass
class Linear:
    """A fitted classifier of raw (not standardised) features: logits = x weight + bias.

    weight (D, C), bias (C,), l2: the strength it was fitted with, loss: L at the solution, iterations: of L-BFGS.
    """

    weight: Tensor
    bias: Tensor
    l2: float
    loss: float
    iterations: int

    def predict(self, features: Tensor) -> Tensor:
        """(M, D) -> class (M,)."""
        return (features.to(self.weight) @ self.weight + self.bias).argmax(1)


class Standardised:
    """Training features on their principal axes after standardisation; shared by all strengths of one probe.

    A feature that is constant over the training samples is left at 0: it cannot help, and on other samples it must
    not be blown up by division by a tiny deviation.
    """

    def __init__(self, features: Tensor):
        self.mean = features.mean(0)
        std = features.std(0, correction=0)
        tiny = 1e-6 * features.abs().amax(0).clamp_min(1e-30)
        self.scale = torch.where(std > tiny, 1 / std.clamp_min(1e-30), torch.zeros_like(std))
        x = (features - self.mean) * self.scale
        variance, self.axes = torch.linalg.eigh(x.T @ x / len(x))
        self.variance = variance.clamp_min(0)
        self.x = x @ self.axes


def fit(standardised: Standardised, labels: Tensor, classes: int, l2: float, start: Tensor | None = None) -> Linear:
    """Minimise L for one strength.

    Args:
        standardised: of the training features (N, D). labels: (N,) int64.
        start: ((D + 1), C) solution of a neighbouring strength on the principal axes, to start from.
    """
    x = standardised.x
    n, width = x.shape
    target = torch.zeros(n, classes, dtype=x.dtype, device=x.device).scatter_(1, labels[:, None], 1.0)
    # Last row: the bias, whose curvature is at most 1/2 and which is not penalised.
    steepness = torch.cat([(standardised.variance / 2 + l2), x.new_tensor([0.5])]).sqrt()[:, None]
    u = torch.zeros(width + 1, classes, dtype=x.dtype, device=x.device) if start is None else start * steepness
    u.grad = torch.empty_like(u)
    optimiser = torch.optim.LBFGS(
        [u], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-10,
    )  # fmt: skip

    def closure() -> Tensor:
        w = u / steepness
        logits = torch.addmm(w[-1], x, w[:-1])
        total = logits.logsumexp(1, keepdim=True)
        loss = (total.sum() - (logits * target).sum()) / n + 0.5 * l2 * w[:-1].square().sum()
        residual = ((logits - total).exp_() - target) / n
        u.grad[:-1] = x.T @ residual + l2 * w[:-1]
        u.grad[-1] = residual.sum(0)
        u.grad /= steepness
        return loss

    with torch.no_grad():  # the gradient is written out above: cheaper than recording it
        optimiser.step(closure)
        loss = float(closure())
        w = u / steepness
        weight = standardised.scale[:, None] * (standardised.axes @ w[:-1])
        bias = w[-1] - standardised.mean @ weight
    model = Linear(weight, bias, l2, loss, optimiser.state[u]["n_iter"])
    model.start = w  # for the next strength
    return model


def probe(
    train: Tensor, labels: Tensor, val: Tensor, val_labels: Tensor, classes: int, strengths=STRENGTHS
) -> Linear:
    """The classifier whose strength is best on the validation split; test data have no part in it.

    Args:
        train: (N, D) features, labels: (N,) int64; val: (V, D), val_labels: (V,).
        strengths: tried in this order, each started from the last solution; of equally good ones the first (strongest).
    """
    standardised = Standardised(train)
    best, best_hits, start = None, -1, None
    for l2 in strengths:
        model = fit(standardised, labels, classes, l2, start)
        start = model.start
        hits = int((model.predict(val) == val_labels).sum())
        if hits > best_hits:
            best, best_hits = model, hits
    return best
