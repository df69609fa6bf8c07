"""Vertex component analysis (VCA): endmembers as the purest pixels of a scene.

J. M. P. Nascimento, J. M. B. Dias, "Vertex Component Analysis: A Fast Algorithm to Unmix Hyperspectral Data", IEEE
TGRS 43(4), 2005, DOI 10.1109/TGRS.2005.844293. Mixed pixels lie in a simplex whose corners are the endmembers. VCA
projects all pixels on a random direction that is orthogonal to the corners found so far; the extreme pixel is the next
corner. It assumes that every material has at least one pure pixel.
"""

from __future__ import annotations

import math

import numpy as np

from refimpl.evaluation.scores import EvaluationError

PROJECTIONS = ("components", "rays")


def vca(
    spectra: np.ndarray, count: int, rng: np.random.Generator | int = 0, projection: str | None = None
) -> np.ndarray:
    """Endmembers (P, C) float64 of a scene, in the units of `spectra`; see `find_corners`."""
    return find_corners(spectra, count, rng, projection)[1]


def find_corners(
    spectra: np.ndarray, count: int, rng: np.random.Generator | int = 0, projection: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that VCA takes for pure.

    Args:
        spectra: (N, C) pixels, any unit. count: P, the number of endmembers, 2 .. min(N, C).
        rng: the random directions, or a seed for them; with noise the answer depends on it.
        projection: one of `PROJECTIONS`, as explained below; default: by the estimated signal-to-noise ratio.
    Returns:
        their row numbers (P,), and their spectra (P, C) projected on the signal subspace, which takes noise out.
    Raises:
        EvaluationError: count out of range.
    """
    x = np.asarray(spectra, dtype=np.float64)
    n, bands = x.shape
    if not 2 <= count <= min(n, bands):
        raise EvaluationError(
            f"VCA: {count} endmembers asked of {n} pixels with {bands} bands; it can find 2 to {min(n, bands)}"
        )
    rng = np.random.default_rng(rng)
    mean = x.mean(0)
    if projection is None:
        projection = PROJECTIONS[signal_to_noise(x, count) >= 15 + 10 * math.log10(count)]
    if projection == "components":
        # Noisy: P - 1 principal components, which averages more noise away; a constant is the P-th coordinate.
        basis = _axes(x - mean, count - 1)
        reduced = (x - mean) @ basis
        y = np.c_[reduced, np.full(n, np.linalg.norm(reduced, axis=1).max())]
    else:
        # Clean: the P-dimensional signal subspace, then along rays through the origin on to a plane, which takes out
        # each pixel's brightness (topography, shadow), but makes the noise of dark pixels large. A black pixel has no
        # ray; at 0 it is never extreme.
        mean = np.zeros(bands)
        basis = _axes(x, count)
        reduced = x @ basis
        along = reduced @ reduced.mean(0)
        y = reduced / np.where(np.abs(along) > 1e-12 * np.abs(along).max(), along, np.inf)[:, None]

    corners = np.zeros((count, count))
    corners[-1, 0] = 1.0  # so that the first direction avoids the last coordinate, as the paper starts
    rows = np.zeros(count, dtype=np.int64)
    for i in range(count):
        w = rng.standard_normal(count)
        direction = w - corners @ (np.linalg.pinv(corners) @ w)
        rows[i] = np.abs(y @ direction).argmax()
        corners[:, i] = y[rows[i]]
    return rows, reduced[rows] @ basis.T + mean


def signal_to_noise(spectra: np.ndarray, count: int) -> float:
    """Estimated signal-to-noise ratio in dB of pixels (N, C) made of `count` endmembers; infinite without noise.

    The power inside the signal subspace of that many dimensions, less the noise that falls into it, against the rest.
    """
    n, bands = spectra.shape
    mean = spectra.mean(0)
    total = np.square(spectra).sum() / n
    inside = np.square((spectra - mean) @ _axes(spectra - mean, count)).sum() / n + np.square(mean).sum()
    if total - inside <= 1e-12 * total:
        return math.inf
    signal = inside - count / bands * total
    return 10 * math.log10(signal / (total - inside)) if signal > 0 else -math.inf


def _axes(x: np.ndarray, count: int) -> np.ndarray:
    """(C, count): directions of largest power of the rows of x (N, C)."""
    if len(x) < x.shape[1]:
        return np.linalg.svd(x, full_matrices=False)[2][:count].T
    return np.linalg.eigh(x.T @ x)[1][:, : -count - 1 : -1]
