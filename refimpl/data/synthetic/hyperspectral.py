"""A hyperspectral cube whose endmembers and abundances are known: the truth that unmixing is judged by.

Extended linear mixing model: for pixel n with abundances a_n (non-negative, summing to one) and endmembers E (P, C),

    spectrum_n = s_n · a_n E + noise,        s_n: brightness of the pixel (shade, slope), constant over wavelength

(the linear mixing model of Keshava and Mustard 2002, IEEE Signal Processing Magazine 19(1), with one scale per pixel,
a simple case of the extended model of Veganzones et al., WHISPERS 2014).
Abundances are a softmax of smooth random fields: neighbouring pixels resemble each other, and few are pure.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import binary_erosion

from refimpl.data.dataset import DataError
from refimpl.data.synthetic import signatures
from refimpl.data.synthetic.noise import fractal, generator

SCALE = 10_000  # stored = reflectance x SCALE, uint16
# In the order in which they are taken; the first five are a usual unmixing scene.
ENDMEMBERS = ("broadleaf tree", "bare soil", "water", "tile roof", "grass", "concrete", "conifer tree", "asphalt")
ABOUT = "hyperspectral cube, 400-2450 nm without the water vapour windows, with true endmembers and abundances"
_DAY = 196  # mid-July
_PIXEL = 20.0  # metres


def wavelengths(bands: int) -> np.ndarray:
    """Band centres in nm, evenly spread over 400-2450 nm less the two windows that water vapour closes."""
    fine = np.arange(400.0, 2451.0)
    fine = fine[~((fine > 1340) & (fine < 1460)) & ~((fine > 1790) & (fine < 1970))]
    return fine[np.linspace(0, len(fine) - 1, bands).round().astype(int)]


def cube_shape(pixels: int) -> tuple[int, int]:
    """Height and width of a near-square cube of `pixels` pixels; if there is none, of the nearest square."""
    height = next(h for h in range(int(np.sqrt(pixels)), 0, -1) if pixels % h == 0)
    width = pixels // height
    if width > 2 * height:
        height = width = max(1, round(np.sqrt(pixels)))
    return height, width


def make_cube(
    pixels: int, seed: int, bands: int, endmembers: int, snr: float, variability: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The cube (H, W, C) uint16 and its truth.

    Args:
        snr: signal-to-noise ratio in dB, mean signal power over noise power.
        variability: standard deviation of the logarithm of the brightness s_n.
    Returns:
        truth: endmembers (P, C) as reflectance, abundances (N, P), brightness (N,), shape [H, W],
            wavelength (C,) in nm; pixels in row-major order.
    Raises:
        DataError: endmembers or bands out of range.
    """
    if not 2 <= endmembers <= len(ENDMEMBERS):
        raise DataError(f"the hyperspectral scene has 2 to {len(ENDMEMBERS)} endmembers, not {endmembers}")
    if not 4 <= bands <= 400:
        raise DataError(f"the hyperspectral sensor has 4 to 400 bands, not {bands}")
    height, width = cube_shape(pixels)
    rng = generator(seed, 20)
    centre = wavelengths(bands)
    spectra = signatures.seen(signatures.band_weights(centre, np.full(bands, 10.0)), np.array(_DAY))
    chosen = [signatures.MATERIALS.index(name) for name in ENDMEMBERS[:endmembers]]
    pure = spectra[chosen]  # (P, C)

    n = 1 << max(5, int(np.ceil(np.log2(max(height, width)))))
    longest = n * _PIXEL
    fields = [fractal(rng, n, _PIXEL, longest, 4 * _PIXEL, 3.2)[:height, :width] for _ in range(endmembers)]
    fields = np.stack([(f - f.mean()) / f.std() for f in fields], -1)
    power = np.exp(2.6 * fields)
    abundance = (power / power.sum(-1, keepdims=True)).reshape(-1, endmembers).astype(np.float32)

    shade = fractal(rng, n, _PIXEL, longest, 2 * _PIXEL, 2.0)[:height, :width].reshape(-1)
    brightness = np.exp(variability * shade).astype(np.float32)
    signal = brightness[:, None] * (abundance @ pure)
    deviation = np.sqrt(np.mean(signal**2) / 10 ** (snr / 10))
    noisy = signal + deviation.astype(np.float32) * rng.standard_normal(signal.shape, dtype=np.float32)
    stored = np.clip(np.rint(noisy * SCALE), 0, 65_535).astype(np.uint16).reshape(height, width, bands)
    truth = {
        "endmembers": pure, "abundances": abundance, "brightness": brightness,
        "shape": np.array([height, width]), "wavelength": centre,
    }  # fmt: skip
    return stored, truth


def patches(cube: np.ndarray, side: int) -> np.ndarray:
    """(H, W, C) -> (N, C, side, side), the window round every pixel; borders are mirrored."""
    if side % 2 == 0 or not 1 <= side < 2 * min(cube.shape[:2]):
        raise DataError(f"a patch has an odd side below {2 * min(cube.shape[:2])} pixels, not {side}")
    around = np.pad(cube, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="reflect")
    windows = sliding_window_view(around, (side, side), axis=(0, 1))  # (H, W, C, side, side)
    return windows.reshape(-1, cube.shape[2], side, side)


def block_splits(height: int, width: int, shares: dict[str, float], guard: int, seed: int) -> dict[str, np.ndarray]:
    """Splits of the cube's pixels by whole blocks; pixels nearer than `guard` to another split belong to none."""
    rows = cols = 5 if min(height, width) >= 20 else 3
    row = np.arange(height) * rows // height
    col = np.arange(width) * cols // width
    block = row[:, None] * cols + col[None, :]
    order = generator(seed, 21).permutation(rows * cols)
    bounds = np.round(np.cumsum([0.0, *shares.values()]) * rows * cols).astype(int)
    out = {}
    for name, first, last in zip(shares, bounds[:-1], bounds[1:]):
        mine = np.isin(block, order[first:last])
        if guard:
            mine = binary_erosion(mine, np.ones((2 * guard + 1,) * 2), border_value=1)
        out[name] = np.flatnonzero(mine)
    return out
