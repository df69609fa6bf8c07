"""Linear probe: multinomial logistic regression on frozen features, solved to convergence.

With standardised features x (training mean 0, deviation 1), classes c = 1 .. C and N training samples it minimises

    L(W, b) = 1/N sum_i [ log sum_c exp(w_c.x_i + b_c) - (w_yi.x_i + b_yi) ] + l2/2 ||W||^2

which is convex: one answer, no learning rate, no epochs, no augmentation. The one thing to tune, l2, is chosen on the
validation split. Full-batch L-BFGS finds the answer (D. C. Liu, J. Nocedal, "On the limited memory BFGS method for
large scale optimization", Mathematical Programming 45, 1989).

What makes that quick is a change of variables. At equal class probabilities the Hessian of L is, for each class,
(1/C)(1 - 1/C) X'X/N + l2, so on the principal axes of x, with variances v, the search runs in U = W h where
h^2 = (1/C)(1 - 1/C) v + l2, and no direction is much steeper than another. A rotation leaves ||W|| alone: the answer is
the same, in about half as many steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Strengths tried, strongest first, in the units of the mean loss.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
ITERATIONS = 300


@dataclass
class Linear:
    """A fitted classifier.

    weight (D, C) and bias (C,) act on raw, not standardised, features. l2: the strength it was fitted with. loss: L at
    the solution. iterations: steps of L-BFGS. solution (C, D + 1): on the principal axes, to start the next fit from.
    """

    weight: Tensor
    bias: Tensor
    l2: float
    loss: float
    iterations: int
    solution: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """(M, D) -> class (M,)."""
        return (features.to(self.weight) @ self.weight + self.bias).argmax(1)


def standardiser(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale, (D,) each, with which (x - mean) * scale has mean 0 and deviation 1 on training features (N, D).

    A feature that is constant over the training samples gets scale 0: it cannot help, and on other samples it must
    not be blown up by division by a tiny deviation.
    """
    std = train.std(0, correction=0)
    constant = std <= 1e-6 * train.abs().amax(0)
    return train.mean(0), torch.where(constant, 0.0, 1 / std)


class Standardised:
    """Standardised training features (N, D) on their principal axes; shared by all strengths of one probe."""

    def __init__(self, features: Tensor):
        self.mean, self.scale = standardiser(features)
        x = (features - self.mean) * self.scale
        variance, self.axes = torch.linalg.eigh(x.T @ x / len(x))
        self.variance = variance.clamp_min(0)
        self.x = x @ self.axes


def fit(train: Standardised, labels: Tensor, classes: int, l2: float, start: Tensor | None = None) -> Linear:
    """Minimise L for one strength.

    Args:
        labels: (N,) int64 in 0 .. classes-1.
        start: `solution` of a neighbouring strength; default: zeros.
    """
    x = train.x
    n, width = x.shape
    target = torch.zeros(classes, n, dtype=x.dtype, device=x.device).scatter_(0, labels[None], 1.0)
    curvature = (1 - 1 / classes) / classes
    # Last column: the bias, a feature that is always 1 and is not penalised.
    steepness = torch.cat([curvature * train.variance + l2, x.new_tensor([max(curvature, 1e-3)])]).sqrt()
    u = torch.zeros(classes, width + 1, dtype=x.dtype, device=x.device) if start is None else start * steepness
    u.grad = torch.empty_like(u)

    def closure() -> Tensor:
        w = u / steepness
        logits = torch.addmm(w[:, -1:], w[:, :-1], x.T)
        total = logits.logsumexp(0)
        loss = (total.sum() - (logits * target).sum()) / n + 0.5 * l2 * w[:, :-1].square().sum()
        residual = (logits.sub_(total).exp_() - target).div_(n)
        u.grad[:, :-1] = residual @ x + l2 * w[:, :-1]
        u.grad[:, -1] = residual.sum(1)
        u.grad /= steepness
        return loss

    optimiser = torch.optim.LBFGS(
        [u], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-7,
    )  # fmt: skip
    # The gradient is written out above, which is cheaper than recording it; u asks for none.
    optimiser.step(closure)
    loss, solution = float(closure()), u / steepness
    weight = train.scale[:, None] * (train.axes @ solution[:, :-1].T)
    bias = solution[:, -1] - train.mean @ weight
    return Linear(weight, bias, l2, loss, optimiser.state[u]["n_iter"], solution)


def probe(
    train: Tensor, labels: Tensor, val: Tensor, val_labels: Tensor, classes: int, strengths: tuple = STRENGTHS
) -> Linear:
    """The classifier whose strength is best on the validation split; test data have no part in it.

    Args:
        train: (N, D) features, labels: (N,) int64; val: (V, D), val_labels: (V,).
        strengths: tried in this order, each started from the last solution; of equally good ones the first (strongest)
            is kept, and two in a row that are no better end the search.
    """
    standardised = Standardised(train)
    best, best_hits, worse, start = None, -1, 0, None
    for l2 in strengths:
        model = fit(standardised, labels, classes, l2, start)
        start = model.solution
        hits = int((model.predict(val) == val_labels).sum())
        if hits > best_hits:
            best, best_hits, worse = model, hits, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best
