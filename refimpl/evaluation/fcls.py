"""Fully constrained least squares (FCLS): the abundances of known endmembers in each pixel.

D. C. Heinz, C.-I Chang, "Fully constrained least squares linear spectral mixture analysis method for material
quantification in hyperspectral imagery", IEEE TGRS 39(3), 2001. For a pixel x and endmembers e_1 .. e_P:

    minimise  || x - sum_p a_p e_p ||^2   subject to   a_p >= 0  and  sum_p a_p = 1.

It is solved exactly (not by adding a heavily weighted row of ones) with a primal active-set method, all pixels at once:
each round solves every unfinished pixel on its own set of free endmembers, from the optimality conditions

    G_FF a_F + lambda 1 = c_F,   1.a_F = 1        with G = E E', c = E x,

then either walks towards that solution until an abundance reaches zero, which leaves the set, or, having arrived, lets
back in the endmember whose multiplier is most negative, or, there being none, is done.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fcls(spectra: Tensor, endmembers: Tensor, chunk: int = 16384) -> Tensor:
    """Abundances (N, P) float64, nonnegative, each row summing to 1.

    Args:
        spectra: (N, C) and endmembers: (P, C) in the same units, of any type, on one device.
        chunk: pixels at a time.
    Where endmembers are collinear (also: more than C + 1 of them) the abundances are not unique; a faint preference
    for even shares then decides, and the fit to the spectrum stays the best possible.
    """
    e = endmembers.double()
    gram = e @ e.T
    count = len(e)
    gram.diagonal().add_(1e-12 * gram.diagonal().mean().clamp_min(1e-300))
    parts = [_solve(gram, part.to(e) @ e.T) for part in spectra.split(chunk)]
    return torch.cat(parts) if parts else e.new_zeros(0, count)


def _solve(gram: Tensor, fits: Tensor) -> Tensor:
    """gram: (P, P) = E E'. fits: (N, P) = X E'. Returns (N, P)."""
    n, count = fits.shape
    answer = torch.full_like(fits, 1 / count)
    free = torch.ones_like(fits, dtype=torch.bool)
    todo = torch.arange(n, device=fits.device)
    # Multipliers are compared with the size of what they are differences of.
    tolerance = 1e-10 * (gram.abs().max() + fits.abs().amax(1))
    for _ in range(20 * count):  # 2 P rounds are usual; a pixel still moving then is degenerate, and feasible
        if len(todo) == 0:
            break
        a, f, c = answer[todo], free[todo], fits[todo]
        goal, multiplier = _on_free_set(gram, c, f)

        # Walk from a towards goal as far as all abundances stay nonnegative.
        falling = f & (goal < 0)
        room = torch.where(falling, a / (a - goal).clamp_min(1e-300), torch.inf)
        step, blocking = room.min(1)
        blocked = step < 1
        a = torch.where(blocked[:, None], a + step.clamp(max=1)[:, None] * (goal - a), goal).clamp_min_(0)
        f[blocked, blocking[blocked]] = False
        a[~f] = 0

        # Arrived: gradient + lambda is the multiplier of each endmember that was left out.
        price = torch.where(f, torch.inf, a @ gram - c + multiplier[:, None])
        lowest, entering = price.min(1)
        enters = ~blocked & (lowest < -tolerance[todo])
        f[enters, entering[enters]] = True

        answer[todo], free[todo] = a, f
        todo = todo[blocked | enters]
    return answer / answer.sum(1, keepdim=True)


def _on_free_set(gram: Tensor, fits: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares with sum one on each pixel's free endmembers: abundances (N, P), 0 elsewhere, and lambda (N,).

    Pixels with the same free set share one matrix, and there are few different sets, so each is inverted once.
    """
    sets, which = torch.unique(free, dim=0, return_inverse=True)
    m = sets.to(gram)
    count = len(gram)
    system = gram.new_zeros(len(sets), count + 1, count + 1)
    scale = gram.diagonal().mean()  # keeps the row of ones in proportion with G
    system[:, :count, :count] = gram * m[:, :, None] * m[:, None, :] + torch.diag_embed((1 - m) * scale)
    system[:, :count, count] = system[:, count, :count] = m * scale
    inverse, system = torch.linalg.inv(system)[which], system[which]
    right = torch.cat([fits * free, scale.expand(len(fits), 1)], 1)
    solved = _times(inverse, right)
    solved += _times(inverse, right - _times(system, solved))  # gives back the digits that an inverse loses
    return solved[:, :count] * free, solved[:, count] * scale


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(N, Q, Q) times (N, Q), row by row."""
    return torch.bmm(matrices, vectors[:, :, None])[:, :, 0]
