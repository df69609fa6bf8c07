"""Protocol "unmixing": how well does a method find the materials of a scene and their shares in each pixel?

A method that is judged here has

    abundances(stored (B, ...)) -> (B, P)     shares of the materials in each pixel, nonnegative, summing to 1
    endmembers() -> (P, C)                    their spectra, in the units of reflectance up to a factor

Unmixing finds materials in no particular order, so they are first matched with the true ones: the pairing with the
smallest sum of spectral angles (Hungarian method; H. W. Kuhn, Naval Research Logistics Quarterly 2, 1955). Then:

- abundance RMSE over all test pixels and all materials;
- mean spectral angle between matched endmembers, in radians. An angle does not see brightness, so true endmembers that
  were each scaled to a peak of 1, as those of the Samson scene are, judge as well as unscaled ones.

Beside it stand FCLS with the true endmembers (a lower bound where pixels are linear mixtures of equal brightness, as
real ones are not quite), VCA + FCLS (the number to beat, mean of 10 seeds) and the same network untrained. Truth and
test pixels are used by nothing but the scores. VCA looks for endmembers in the training split, with both of its
projections, of which the one counts whose endmembers rebuild the training pixels better: the projection along rays,
which its own rule prefers for clean scenes, takes noisy dark pixels (water) for corners.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from refimpl.data.dataset import Data
from refimpl.engine.method import Method
from refimpl.evaluation.fcls import fcls
from refimpl.evaluation.features import Progress, extract, frozen, home
from refimpl.evaluation.scores import RANDOM, TRAINED, EvaluationError, Score, bootstrap, digest, pick, require, rules
from refimpl.evaluation.twin import untrained
from refimpl.evaluation.vca import PROJECTIONS, vca

VERSION = 2  # raised when a change of the rules changes scores
HIGHER_IS_BETTER = False

RMSE = "abundance RMSE"
ANGLE = "mean spectral angle"
ORACLE = "FCLS, true endmembers"
VCA_FCLS = "VCA + FCLS"
VCA_SEEDS = 10


def evaluate(
    method: Method,
    data: Data,
    *,
    fresh: Callable[[], Method],
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> list[Score]:
    """Judge a method's abundances and endmembers where the truth is known.

    Args:
        method: nothing of it changes.
        data: has the method's first field, "spectrum" or "patch", the splits "train" and "test", and truth
            {"endmembers": (P, C), "abundances": (N, P)}.
        fresh: makes an untrained method of the same architecture.
        seed: of the untrained twin's weights, and the first of the seeds of VCA.
        device: where to compute; default: where the method is. If given, the method is moved there.
        progress: called as progress(what is going on, share of all work that is done).
    Returns:
        abundance RMSE with a 95 % bootstrap interval over test pixels (neighbouring pixels are alike, so the true
        one is wider) and mean spectral angle without interval; for VCA + FCLS means over seeds with their range.
    Raises:
        EvaluationError: no truth, another number of materials, or results that are not finite.
    """
    shares, spectra = truth_of(data)
    train, test = (np.asarray(data.splits[split], dtype=np.int64) for split in ("train", "test"))
    tick = progress or (lambda what, share: None)
    device = home(method) if device is None else torch.device(device)
    method.to(device)

    scores = []
    for number, (name, judged) in enumerate(((TRAINED, method), (RANDOM, untrained(fresh, seed, device, data)))):
        tick(f"unmixing, {name}", number / 4)
        guess = extract(judged.abundances, data, method.needs[0], test, device=device, what=f"abundances, {name}")
        with frozen(judged):
            corners = judged.endmembers().double().cpu()
        if not torch.isfinite(corners).all():
            raise EvaluationError(f"endmembers, {name}: NaN or infinity; the weights are broken")
        scores += both_scores(name, guess.double().numpy(), corners.numpy(), shares[test], spectra)

    tick(f"unmixing, {ORACLE}", 2 / 4)
    pixels = pixel_spectra(data)

    corners = spectra * endmember_scales(pixels, shares, spectra)[:, None]
    scores += both_scores(ORACLE, unmix(pixels[test], corners, device), corners, shares[test], spectra)

    found = []
    for number in range(VCA_SEEDS):
        tick(f"unmixing, {VCA_FCLS}", 3 / 4 + number / VCA_SEEDS / 4)
        corners = best_vca(pixels[train], len(spectra), seed + number, device)
        guess = unmix(pixels[test], corners, device)
        found.append([score.value for score in both_scores(VCA_FCLS, guess, corners, shares[test], spectra)])
    for metric, unit, values in zip((RMSE, ANGLE), ("", "rad"), np.array(found).T):
        scores.append(Score(metric, float(values.mean()), unit, float(values.min()), float(values.max()), VCA_FCLS))
    tick("unmixing, done", 1.0)
    return scores


def both_scores(
    name: str, guess: np.ndarray, corners: np.ndarray, shares: np.ndarray, spectra: np.ndarray
) -> list[Score]:
    """Match materials, then abundance RMSE and mean spectral angle.

    Args:
        guess: (n, P) abundances and corners: (P, C) endmembers, in any order of materials.
        shares: (n, P) and spectra: (P, C), the truth.
    """
    if corners.shape != spectra.shape:
        raise EvaluationError(
            f"{name}: {corners.shape[0]} endmembers of {corners.shape[1]} bands, but the truth has {spectra.shape[0]} "
            f"of {spectra.shape[1]}; build the method with as many"
        )
    angles = spectral_angles(corners, spectra)
    ours, theirs = linear_sum_assignment(angles)
    errors = np.square(guess[:, ours] - shares[:, theirs]).mean(1)  # per pixel
    lower, upper = bootstrap(errors, np.sqrt)
    angle = float(angles[ours, theirs].mean())
    return [
        Score(RMSE, float(np.sqrt(errors.mean())), "", lower, upper, name),
        Score(ANGLE, angle, "rad", None, None, name),
    ]


def unmix(pixels: np.ndarray, endmembers: np.ndarray, device: torch.device) -> np.ndarray:
    """FCLS: pixels (N, C), endmembers (P, C) -> abundances (N, P)."""
    return fcls(torch.from_numpy(pixels).to(device), torch.from_numpy(endmembers).to(device)).cpu().numpy()


def best_vca(pixels: np.ndarray, count: int, seed: int, device: torch.device) -> np.ndarray:
    """Endmembers (P, C) by VCA with the projection whose endmembers rebuild (a sample of) the pixels (N, C) best."""
    sample = pixels[:: max(1, len(pixels) // 2000)]

    def misfit(endmembers: np.ndarray) -> float:
        return float(np.square(sample - unmix(sample, endmembers, device) @ endmembers).mean())

    return min((vca(pixels, count, seed, projection) for projection in PROJECTIONS), key=misfit)


def spectral_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P, C), (Q, C) -> (P, Q) angles in radians between spectra; a spectrum of zeros is at a right angle to all.

    From the chord, 2 asin(|u - v| / 2), which unlike acos keeps its digits where spectra are nearly the same.
    """
    length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    u, v = a / np.maximum(length_a, 1e-300)[:, None], b / np.maximum(length_b, 1e-300)[:, None]
    chord = np.linalg.norm(u[:, None] - v[None], axis=2)
    zero = (length_a == 0)[:, None] | (length_b == 0)[None]
    return np.where(zero, np.pi / 2, 2 * np.arcsin(np.minimum(chord / 2, 1)))


def endmember_scales(pixels: np.ndarray, shares: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """The factors (P,) that bring true endmembers to the units of the pixels.

    Least squares of pixels (N, C) = shares (N, P) diag(s) spectra (P, C). Needed because stored numbers may be digital
    counts where the endmembers are reflectances, and because some truths scale each endmember to a peak of 1.
    """
    gram = (shares.T @ shares) * (spectra @ spectra.T)
    right = np.einsum("np,nc,pc->p", shares, pixels, spectra, optimize=True)
    return np.linalg.lstsq(gram, right, rcond=None)[0]


def pixel_spectra(data: Data) -> np.ndarray:
    """(N, C) float64 spectra of all samples: the field "spectrum", or the centre pixels of the field "patch"."""
    every = torch.arange(len(data))
    if "spectrum" in data.gives:
        return data.take("spectrum", every).cpu().double().numpy()
    patches = data.take("patch", every)
    return patches[:, :, patches.shape[2] // 2, patches.shape[3] // 2].cpu().double().numpy()


def truth_of(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """True abundances (N, P) and endmembers (P, C), float64. Raises EvaluationError when data cannot judge unmixing."""
    if not {"endmembers", "abundances"} <= set(data.truth):
        have = ", ".join(sorted(data.truth)) or "none"
        raise EvaluationError(
            f"{data.name}: the protocol 'unmixing' needs the truth 'endmembers' and 'abundances'; it has {have}"
        )
    if not data.gives & {"spectrum", "patch"}:
        raise EvaluationError(f"{data.name}: the protocol 'unmixing' needs the field 'spectrum' or 'patch'")
    require(data, "unmixing")
    shares, spectra = (np.asarray(data.truth[name], dtype=np.float64) for name in ("abundances", "endmembers"))
    if shares.shape != (len(data), len(spectra)):
        raise EvaluationError(
            f"{data.name}: true abundances have shape {shares.shape}; {len(data)} samples and {len(spectra)} "
            f"endmembers make {(len(data), len(spectra))}"
        )
    return shares, spectra


def headline(scores: list[Score], features: str = TRAINED) -> float:
    """The one number that ranks methods: abundance RMSE."""
    return pick(scores, RMSE, features)


def fingerprint(method: Method, data: Data) -> str:
    """Hash of all that must be equal for two scores to be ranked together."""
    settings = {"endmembers": len(truth_of(data)[1]), "vca_seeds": VCA_SEEDS}
    field = method.inputs[method.needs[0]]
    return digest({"protocol": "unmixing", "version": VERSION, **settings, **rules(data, field)})
