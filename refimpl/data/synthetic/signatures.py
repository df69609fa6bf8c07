"""Spectral signatures of the synthetic Earth's materials, and how vegetation changes them over the year.

Every spectrum is analytic: a smooth continuum, a red edge where there is chlorophyll, and Gaussian absorption features
at the wavelengths where real materials have them (chlorophyll near 430 and 670 nm; liquid water near 970, 1200, 1450
and 1940 nm; iron oxides near 530 and 870 nm; clay near 2200 nm; carbonate near 2330 nm). Shapes and levels are set by
hand to look like field spectra; they are not measurements.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MATERIALS = (
    "water", "broadleaf tree", "conifer tree", "grass", "winter crop", "summer crop",
    "bare soil", "tile roof", "metal roof", "asphalt", "concrete",
)  # fmt: skip
WATER, BROADLEAF, CONIFER, GRASS, WINTER_CROP, SUMMER_CROP, SOIL, TILE, METAL, ASPHALT, CONCRETE = range(11)

GRID = np.arange(400, 2501, dtype=np.float64)  # nm; all spectra are computed here, then seen by a sensor's bands


def _dip(wavelength: np.ndarray, centre: float, width: float, depth: float) -> np.ndarray:
    return 1 - depth * np.exp(-0.5 * ((wavelength - centre) / width) ** 2)


def _rise(wavelength: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(wavelength - centre) / width))


def leaf(w: np.ndarray, nir: float, green: float, water: float, edge: float = 717.0) -> np.ndarray:
    """Green vegetation: dark with a green peak, red edge to a near-infrared plateau, water features beyond."""
    visible = 0.025 + green * np.exp(-0.5 * ((w - 552) / 38) ** 2) + 0.012 * _rise(w, 600, 20)
    infrared = nir * np.exp(-np.maximum(w - 1300, 0) / 1500)
    for centre, width, depth in (
        (970, 30, 0.12),
        (1200, 45, 0.22),
        (1450, 60, 0.75),
        (1940, 90, 0.9),
        (2500, 260, 0.7),
    ):
        infrared = infrared * _dip(w, centre, width, min(1.0, depth * water))
    return visible * (1 - _rise(w, edge, 13)) + infrared * _rise(w, edge, 13)


def soil(w: np.ndarray, level: float) -> np.ndarray:
    """Bare ground: brightness rises and saturates with wavelength; iron, hydroxyl, water and clay features."""
    rising = level * (0.15 + 0.85 * (1 - np.exp(-(w - 380) / 650)))
    for centre, width, depth in ((530, 45, 0.12), (870, 70, 0.06), (1415, 25, 0.1), (1915, 35, 0.16), (2205, 25, 0.12)):
        rising = rising * _dip(w, centre, width, depth)
    return rising


def dry_plant(w: np.ndarray) -> np.ndarray:
    """Litter and straw: soil-like rise with the cellulose feature near 2100 nm."""
    return soil(w, 0.36) * _dip(w, 2100, 45, 0.18)


@lru_cache(maxsize=1)
def green_and_bare() -> tuple[np.ndarray, np.ndarray]:
    """Two (M, G) tables of reflectance on `GRID`: every material at full greenness and without any green."""
    w = GRID
    flat = np.ones_like(w)
    red_clay = 0.07 + 0.21 * _rise(w, 590, 28) + 0.08 * _rise(w, 1000, 200)
    bare = {
        WATER: 0.055 * np.exp(-np.maximum(w - 480, 0) / 130) + 0.002,
        BROADLEAF: 0.55 * soil(w, 0.32), CONIFER: leaf(w, 0.22, 0.012, 0.9), GRASS: dry_plant(w),
        WINTER_CROP: soil(w, 0.34), SUMMER_CROP: soil(w, 0.34), SOIL: soil(w, 0.38),
        TILE: red_clay * _dip(w, 870, 60, 0.15),
        METAL: 0.42 * flat * _dip(w, 900, 150, 0.05),
        ASPHALT: 0.075 + 0.05 * (1 - np.exp(-(w - 400) / 900)),
        CONCRETE: (0.17 + 0.12 * (1 - np.exp(-(w - 400) / 500))) * _dip(w, 2330, 40, 0.1),
    }  # fmt: skip
    green = {
        BROADLEAF: leaf(w, 0.46, 0.045, 1.0), CONIFER: leaf(w, 0.28, 0.022, 1.0), GRASS: leaf(w, 0.42, 0.06, 0.8),
        WINTER_CROP: leaf(w, 0.47, 0.055, 0.9, 720), SUMMER_CROP: leaf(w, 0.50, 0.05, 1.05, 722),
    }  # fmt: skip
    every = range(len(MATERIALS))
    return np.stack([green.get(m, bare[m]) for m in every]), np.stack([bare[m] for m in every])


# Double logistic (Beck et al. 2006, Remote Sensing of Environment 100:321-334, eq. 3), here on greenness:
#   g(t) = low + (high - low) * (1 / (1 + exp(-rate_up (t - up))) + 1 / (1 + exp(rate_down (t - down))) - 1)
#   columns: low, high, up (day of year), rate_up, down, rate_down
_SEASON = np.zeros((len(MATERIALS), 6))
_SEASON[:, 3] = _SEASON[:, 5] = 1.0
_SEASON[BROADLEAF] = (0.10, 1.00, 115, 0.09, 295, 0.07)
_SEASON[CONIFER] = (0.72, 1.00, 130, 0.04, 290, 0.04)
_SEASON[GRASS] = (0.45, 0.95, 95, 0.06, 290, 0.03)
_SEASON[WINTER_CROP] = (0.06, 0.97, 85, 0.07, 190, 0.14)
_SEASON[SUMMER_CROP] = (0.04, 1.00, 165, 0.10, 265, 0.10)


def greenness(day_of_year: np.ndarray) -> np.ndarray:
    """Share of green cover of every material, (..., M) in 0..1, for days of year (...); 0 for what never is green."""
    t = np.asarray(day_of_year, dtype=np.float64)[..., None]
    low, high, up, rate_up, down, rate_down = _SEASON.T
    return low + (high - low) * (1 / (1 + np.exp(-rate_up * (t - up))) + 1 / (1 + np.exp(rate_down * (t - down))) - 1)


def band_weights(centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(C, G) weights of Gaussian bands with the given centres and full widths at half maximum in nm; rows sum to 1."""
    sigma = np.maximum(np.asarray(width, dtype=np.float64), 1.0) / 2.3548
    weights = np.exp(-0.5 * ((GRID - np.asarray(centre, dtype=np.float64)[:, None]) / sigma[:, None]) ** 2)
    return weights / weights.sum(1, keepdims=True)


def seen(weights: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Reflectance of every material in the bands of `weights` on the given days, (..., M, C) float32."""
    green, bare = (table @ weights.T for table in green_and_bare())
    share = greenness(day_of_year)[..., None]
    return (bare + share * (green - bare)).astype(np.float32)
