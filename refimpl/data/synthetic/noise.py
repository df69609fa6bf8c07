"""Random fields and random numbers of places: the raw material of the synthetic Earth.

Two kinds of randomness are needed. A *field* varies smoothly over the land (relief, moisture, canopy); it is made once
by spectral synthesis and looked up at any coordinate. A *hash* gives every parcel or building its own fixed numbers
without any table, so that two windows that show the same parcel agree about it.
"""

from __future__ import annotations

import numpy as np
import scipy.fft


def generator(*key: int) -> np.random.Generator:
    """Independent random numbers for one purpose; the same key gives the same numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))


def fractal(rng: np.random.Generator, n: int, cell: float, longest: float, shortest: float, slope: float) -> np.ndarray:
    """A periodic random field with a power-law spectrum, (n, n) float32, mean 0 and deviation 1.

    Spectral synthesis: white noise is filtered so that its power falls as f^-slope between two wavelengths. A relief of
    fractal dimension 3 - H has slope = 2 H + 2 (Saupe, "Algorithms for random fractals", in The Science of Fractal
    Images, 1988, section 2.5).

    Args:
        n: cells per side. cell: size of a cell in metres.
        longest, shortest: wavelengths in metres outside of which the field has no power.
    """
    fy = scipy.fft.fftfreq(n, cell)[:, None].astype(np.float32)
    fx = scipy.fft.rfftfreq(n, cell)[None, :].astype(np.float32)
    squared = fx * fx + fy * fy
    squared[0, 0] = 1.0
    passed = (squared >= longest**-2) & (squared <= shortest**-2)
    passed[0, 0] = False
    spectrum = scipy.fft.rfft2(rng.standard_normal((n, n), dtype=np.float32))
    spectrum *= np.where(passed, squared ** np.float32(-slope / 4), 0)
    field = scipy.fft.irfft2(spectrum, s=(n, n))
    return (field / field.std()).astype(np.float32)


class Atlas:
    """Periodic layers over the same square cells, read at any coordinate.

    Args:
        layers: name -> (n, n) array, row = northing, column = easting; n is a power of two.
        cell: size of a cell in metres.
    """

    def __init__(self, layers: dict[str, np.ndarray], cell: float):
        self.names, self.cell = tuple(layers), cell
        self.n = len(next(iter(layers.values())))
        if self.n & (self.n - 1):
            raise ValueError(f"an atlas needs a power of two cells per side, not {self.n}")
        # Layers lie last, so that one look-up reads the neighbouring numbers of all layers from the same cache line.
        self.table = np.ascontiguousarray(np.stack(list(layers.values()), -1), dtype=np.float32).reshape(
            -1, len(layers)
        )

    def at(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Bilinear value of every layer at eastings x and northings y in metres (same shape)."""
        u, v = x * np.float32(1 / self.cell), y * np.float32(1 / self.cell)
        left, low = np.floor(u), np.floor(v)
        u, v = (u - left)[..., None], (v - low)[..., None]
        mask = self.n - 1
        left, low = left.astype(np.int32), low.astype(np.int32)
        west, east = left & mask, (left + 1) & mask
        south, north = (low & mask) * self.n, ((low + 1) & mask) * self.n
        table = self.table
        bottom = table[south + west]
        bottom += u * (table[south + east] - bottom)
        top = table[north + west]
        top += u * (table[north + east] - top)
        bottom += v * (top - bottom)
        return {name: bottom[..., i] for i, name in enumerate(self.names)}


def hash_of(*whole: np.ndarray | int) -> np.ndarray:
    """uint32 hash of whole numbers, elementwise; rounds in the manner of MurmurHash3."""
    h = np.uint32(0x9E3779B9)
    with np.errstate(over="ignore"):
        for number in whole:
            h = (np.asarray(number).astype(np.int32).view(np.uint32) ^ h) * np.uint32(0x85EBCA6B)
            h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
            h = h ^ (h >> np.uint32(16))
    return h


def unit(hashed: np.ndarray, part: int) -> np.ndarray:
    """Byte `part` (0..3) of a hash as float32 on [0, 1): four numbers of one place from one hash."""
    return ((hashed >> np.uint32(8 * part)) & np.uint32(255)).astype(np.float32) * np.float32(1 / 256)
