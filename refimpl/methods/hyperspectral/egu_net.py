r"""EGU-Net: endmember-guided unmixing network.

Danfeng Hong, Lianru Gao, Jing Yao, Naoto Yokoya, Jocelyn Chanussot, Uta Heiden, Bing Zhang. "Endmember-Guided Unmixing
Network (EGU-Net): A General Deep Learning Framework for Self-Supervised Hyperspectral Unmixing." IEEE TNNLS, 2021.
DOI 10.1109/TNNLS.2021.3082289, arXiv 2105.10194. Here its pixel-wise variant, EGU-Net-pw.

**Idea.** An autoencoder whose code is a softmax rebuilds every pixel, but nothing says that the code means abundances.
A second stream with the *same weights* reads (nearly) pure pixels found in the scene itself and must give the
abundances that these are known to have; so the shared weights learn what each entry of the code stands for.

**Objective.** With encoder $f$ and head $W$, logits $z = W f(x)$ and abundances $a = \mathrm{softmax}(z)$: non-negative
and of sum one. For pseudo-pure pixels $x^p$ with pseudo-abundances $y$, and pixels $x^m$ rebuilt by a decoder $g$,

$$L = -\frac{1}{B} \sum_i \sum_{k=1}^{P} y_{ik} \log a_k(x^p_i)
    + \frac{\lambda}{B C} \sum_i \lVert g(a(x^m_i)) - x^m_i \rVert^2 + \frac{\beta}{2} \sum_l \lVert W_l \rVert^2 .$$

**Pseudo-pure pixels.** Vertex component analysis (VCA) on many small blocks of the scene gives a bundle of several
spectra per material. Their $y$ is the non-negative least-squares fit by the $P$ endmembers of the whole scene, divided
by its sum; so a block without a pure pixel contributes a mixed one with a mixed label, and brightness cancels.

**Endmembers** of the result are those of the whole scene to which the pseudo-abundances refer; the authors' code, too,
takes endmembers from extraction and learns abundances. (What the nonlinear decoder makes of pure abundances is a far
worse spectrum: on the Samson scene 0.4 rad from the truth instead of 0.07.)

**Defaults** follow the authors' code: blocks of 25 pixels; encoder 256 tanh, 128 tanh, 32 ReLU; decoder 32, 128, 256,
C, all sigmoid, so the mixing it models need not be linear; batch normalisation throughout, 10 % dropout after the first
layer, $\lambda = 1$, $\beta = 0.005$ (Adam's weight decay), learning rate 0.1 for a batch of 8000.

**Left out, or different.** The spatial-spectral variant with convolutions. Blocks are random subsets of the pixels, as
in Somers et al. 2012 (IEEE JSTARS 5(2)), since a set of spectra has no neighbourhood; theirs are windows of 5 x 5. Both
streams go through batch normalisation together, so that the function that is guided is the one that is used; theirs
normalises each stream by itself. The scene's endmembers, which their script reads from a file, come from VCA, the
largest simplex of several runs. Spectra are standardised per band for the encoder, which its first normalisation makes
the same network. The learning rate falls along a half cosine (theirs: by 1 % each step), over 100 epochs (theirs: 200).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from refimpl.data.dataset import DataError
from refimpl.engine.method import Method, Output, Recipe
from refimpl.evaluation.vca import vca
from refimpl.parts.precision import full

TRIES = 10  # runs of VCA on the whole scene, in either way


def guidance(logits: Tensor, y: Tensor) -> Tensor:
    """Cross entropy between pseudo-abundances and predicted ones: the first term of the objective.

    Args:
        logits: (B, P) of pseudo-pure pixels. y: (B, P) non-negative rows of sum 1.
    Returns:
        scalar, mean over pixels; at least the mean entropy of y, which it reaches where softmax(logits) = y.
    """
    return -(y * full(logits).log_softmax(1)).sum(1).mean()


def reconstruction(rebuilt: Tensor, x: Tensor) -> Tensor:
    """Mean squared error over pixels and bands: the second term. rebuilt, x: (B, C). Returns a scalar."""
    return (full(rebuilt) - x).square().mean()


def pseudo_abundances(pure: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """Non-negative least squares, then division by the sum.

    Args:
        pure: (K, C) spectra. endmembers: (P, C), in the same units.
    Returns:
        (K, P) float64 abundances; uniform where no endmember fits at all.
    """
    fit = np.stack([nnls(endmembers.T, spectrum)[0] for spectrum in pure])
    total = fit.sum(1, keepdims=True)
    return np.where(total > 0, fit / np.where(total > 0, total, 1.0), 1.0 / endmembers.shape[0])


def endmember_bundle(
    spectra: np.ndarray, count: int, block: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Endmembers of the scene and pseudo-pure pixels.

    Args:
        spectra: (N, C) pixels. count: P. block: pixels in each random subset; a last, smaller subset is not used.
    Returns:
        (P, C) from all pixels, the largest simplex of a few tries, since all labels hang on it and VCA is a matter of
        chance; and (K, C) with K = P * floor(N / block) from the subsets.
    Raises:
        DataError: the scene or a block is too small.
    """
    if not count <= block <= len(spectra):
        raise DataError(
            f"EGU-Net: blocks of {block} pixels of a scene of {len(spectra)} cannot give {count} endmembers each; "
            f"choose block between {count} and {len(spectra)}"
        )

    def corners(pixels: np.ndarray, constant: float) -> np.ndarray:
        if 2 <= count <= pixels.shape[1]:
            return vca(np.c_[pixels, np.full(len(pixels), constant)], count, rng)[:, :-1]
        return pixels[rng.permutation(len(pixels))[:count]]  # fewer bands than corners: none fits better than another

    def volume(simplex: np.ndarray) -> float:
        edges = simplex[1:] - simplex[0]
        return np.linalg.slogdet(edges @ edges.T)[1]

    def misfit(endmembers: np.ndarray) -> float:
        return float(np.mean([nnls(endmembers.T, pixel)[1] ** 2 for pixel in spectra[:: -(-len(spectra) // 500)]]))

    # VCA sees pixels along rays, without their brightness, which also magnifies the noise of dark ones, such as water.
    # Beside a constant band it sees their brightness too. Which of the two suits a scene, the fit to its pixels tells.
    found = []
    for constant in (0.0, float(np.linalg.norm(spectra, axis=1).mean())):
        scene = max((corners(spectra, constant) for _ in range(TRIES)), key=volume)
        found.append((misfit(scene), constant, scene))
    _, constant, scene = min(found, key=lambda item: item[0])
    blocks = rng.permutation(len(spectra))[: len(spectra) // block * block].reshape(-1, block)
    return scene, np.concatenate([corners(spectra[rows], constant) for rows in blocks])


def decoder(endmembers: int, bands: int) -> nn.Sequential:
    """Abundances (B, P) -> reflectance (B, C) within 0..1, by linear layers with batch normalisation and sigmoid."""
    layers: list[nn.Module] = []
    for before, after in pairwise((endmembers, 32, 128, 256, bands)):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.Sigmoid()]
        nn.init.xavier_uniform_(layers[-3].weight)
    return nn.Sequential(*layers)


class EGUNet(Method):
    needs = ("spectrum",)
    backbone = "spectral_funnel"
    protocol = "unmixing"
    recipe = Recipe(epochs=100, batch=256, optimiser="adam", lr=3.2e-3, weight_decay=5e-3, warmup=0.0)
    presets = {"paper": {"batch": 8000, "epochs": 200}}
    smoke = {"block": 16}
    proof = {"samples": 2000, "size": 64, "margin": 0.1}

    def __init__(
        self, inputs, backbone=None, *, endmembers: int = 5, block: int = 25, dropout: float = 0.1, weight: float = 1.0
    ):
        """endmembers: P. block: pixels per block. weight: lambda, of the reconstruction."""
        super().__init__(inputs, backbone)
        self.p, self.block, self.dropout, self.weight = endmembers, block, dropout, weight
        bands = len(self.encoder.input.bands)
        self.head = nn.Linear(self.encoder.width, endmembers)
        self.decoder = decoder(endmembers, bands)
        # Reconstruction compares physical spectra: divided by one number for all bands, so that mixing stays mixing.
        self.register_buffer("scale", (self.encoder.mean + 3 * self.encoder.std).amax())
        # Found in the scene before the first epoch: its endmembers (P, C); the bundle (K, C), and what it is made of.
        self.register_buffer("scene", torch.zeros(0, bands))
        self.register_buffer("pure", torch.zeros(0, bands))
        self.register_buffer("y", torch.zeros(0, endmembers))

    def before_epoch(self, epoch, data, tools):
        if epoch > 0:
            return
        train = torch.as_tensor(data.splits["train"], dtype=torch.int64)
        spectra = data.take("spectrum", train).double().cpu().numpy()
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=tools.generator)))
        scene, pure = endmember_bundle(spectra, self.p, self.block, rng)
        found = {"scene": scene, "pure": pure, "y": pseudo_abundances(pure, scene)}
        for name, values in found.items():
            self.register_buffer(name, torch.as_tensor(values).to(self.scale))

    def prepare(self, batch, draws):
        if len(self.pure) == 0:
            raise DataError("EGU-Net has no pseudo-pure pixels yet; call before_epoch(0, data, tools) on a scene first")
        mixed = batch["spectrum"].float()
        chosen = draws.integers(len(self.pure))  # one pseudo-pure pixel beside every pixel of the batch
        out = {
            "pure": self.encoder.normalise(self.pure[chosen]),
            "y": self.y[chosen],
            "mixed": self.encoder.normalise(mixed),
            "target": mixed / self.scale,
        }
        if width := getattr(self.encoder, "hidden", 0):
            # Dropout by `draws`, for both streams: the same whether or not the batch is shared by several processes.
            out["keep"] = (~draws.coin(self.dropout, 2, width)).float() / (1 - self.dropout)
        return out

    def streams(self, pure: Tensor, mixed: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, P) of both streams and features (B, width) of the mixed one, by one network for both."""
        both = torch.cat([pure, mixed])
        features = self.encoder(both) if keep is None else self.encoder(both, torch.cat([keep[:, 0], keep[:, 1]]))
        return *self.head(features).chunk(2), features.chunk(2)[1]

    def forward(self, batch, turn="all"):
        z_pure, z_mixed, features = self.streams(batch["pure"], batch["mixed"], batch.get("keep"))
        rebuilt = self.decoder(full(z_mixed).softmax(1))
        guide, fit = guidance(z_pure, batch["y"]), reconstruction(rebuilt, batch["target"])
        metrics = {"guidance": guide.detach(), "reconstruction": fit.detach()}
        return Output(guide + self.weight * fit, metrics, embedding=features)

    # -- what the unmixing protocol asks ---------------------------------------------------------------------------

    def abundances(self, stored: Tensor) -> Tensor:
        """(B, C) stored spectra -> (B, P) abundances, non-negative, of sum 1."""
        return full(self.head(self.embed(stored))).softmax(1)

    def endmembers(self) -> Tensor:
        """(P, C) spectra in stored units: the scene's; before one was seen, the decoder's of pure abundances."""
        if len(self.scene):
            return self.scene
        return full(self.decoder(torch.eye(self.p, device=self.scale.device))) * self.scale
