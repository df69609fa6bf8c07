"""What a satellite makes of the ground: sun, relief, atmosphere, bands, radar echoes and noise.

Optical, for each band at wavelength λ (a single-scattering approximation; not a radiative transfer code):

    reflectance at the sensor = path(λ) + T(λ) · ρ(λ) · [ (1 - d) · cos i / cos z + d ]

ρ is the mixture of the materials in the pixel, z the sun's zenith angle, i the angle between sun and surface (Lambert;
cos i / cos z is the factor that the cosine correction of Teillet, Guindon and Goodenough 1982, Canadian Journal of
Remote Sensing 8(2) divides by), d the diffuse share of the light. Path and T follow from the Rayleigh optical depth
(Hansen and Travis 1974, Space Science Reviews 16) and an aerosol depth that falls as λ^-1.3 (Ångström's law).

Radar: intensity = (backscatter of the mixture) · gamma noise of mean 1 and variance 1 / looks, the distribution of an
average of independent looks on ground without texture (Goodman 1976, JOSA 66(11)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from refimpl.data.synthetic import signatures
from refimpl.data.synthetic.signatures import MATERIALS
from refimpl.data.synthetic.world import Ground

LATITUDE = 47.0  # degrees; the world lies in the northern mid-latitudes
_HOUR_ANGLE = -22.5  # degrees: 10:30 local solar time, when Sentinel-2 passes


@dataclass(frozen=True)
class Optical:
    """Bands of an optical sensor.

    centre, width: nm. blur: pixels of 10 m that a band averages. scale: stored number per unit of reflectance.
    colour_cast: standard deviation of a scene's own factor per band (logarithm).
    """

    bands: tuple[str, ...]
    centre: tuple[float, ...]
    width: tuple[float, ...]
    blur: tuple[int, ...]
    scale: float
    dtype: str
    about: str
    colour_cast: float = 0.0

    def weights(self) -> np.ndarray:
        return signatures.band_weights(np.array(self.centre), np.array(self.width))


# Centres: Sentinel-2A, as listed by ESA's user guide; widths rounded from the same table.
S2 = Optical(
    bands=("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"),
    centre=(442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4),
    width=(21, 66, 36, 31, 15, 15, 20, 106, 21, 20, 31, 91, 175),
    blur=(6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 6, 2, 2),
    scale=10_000, dtype="uint16",
    about="Sentinel-2: 13 bands of top-of-atmosphere reflectance x 10000, 10 m pixels",
)  # fmt: skip
RGB = Optical(
    bands=("B04", "B03", "B02"), centre=(664.6, 559.8, 492.4), width=(31, 36, 66), blur=(1, 1, 1),
    scale=255 / 0.30, dtype="uint8", about="true-colour image, 8 bits, 10 m pixels", colour_cast=0.04,
)  # fmt: skip


def day_of_year(days: np.ndarray) -> np.ndarray:
    """1..366 from days since 1970-01-01."""
    date = np.asarray(days).astype("datetime64[D]")
    return (date - date.astype("datetime64[Y]")).astype(np.int64) + 1


def sun(days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vector to the sun, (east, north, up) arrays, at the overpass on the given days.

    Declination: 23.45° sin(360° (284 + n) / 365) (Cooper 1969, Solar Energy 12(3)).
    """
    declination = np.radians(23.45 * np.sin(2 * np.pi * (284 + day_of_year(days)) / 365))
    latitude, hour = np.radians(LATITUDE), np.radians(_HOUR_ANGLE)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    return east, north, up


def _broadcast(per_scene: np.ndarray) -> np.ndarray:
    return np.asarray(per_scene, np.float32)[:, None, None]


def _illumination(ground: Ground, days: np.ndarray, diffuse: np.ndarray) -> np.ndarray:
    """(1 - d) cos i / cos z + d for every pixel, (N, H, W)."""
    east, north, up = (_broadcast(v) for v in sun(days))
    p, q = ground.slope_east, ground.slope_north
    cos_i = (up - p * east - q * north) / np.sqrt(1 + p * p + q * q)
    diffuse = _broadcast(diffuse)
    return (1 - diffuse) * np.maximum(cos_i, 0) / up + diffuse


def _atmosphere(micron: np.ndarray, aerosol: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Path reflectance and two-way transmittance, each (N, C), for aerosol depths at 550 nm (N,) and cos z (N,)."""
    rayleigh = 0.008569 * micron**-4 * (1 + 0.0113 * micron**-2 + 0.00013 * micron**-4)
    haze = aerosol[:, None] * (micron / 0.55) ** -1.3
    air_mass = 1 / up[:, None]
    # Seen from above, light turns by 180° - z: phase 3/4 (1 + cos² z); aerosols send little back (phase about 0.25).
    path = (rayleigh * 0.75 * (1 + up[:, None] ** 2) + 0.25 * haze) * air_mass / 4
    # Half of what the air and about a sixth of what the aerosol takes away does not reach ground or sensor.
    through = np.exp(-(0.5 * rayleigh + 0.16 * haze) * (air_mass + 1))
    return path, through


def optical(sensor: Optical, ground: Ground, days: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stored numbers of N scenes, (N, C, H, W) of `sensor.dtype`.

    Each scene has its own haze, exposure, colour cast, plant vigour and spectral variability, drawn from rng: the
    nuisances that a representation should not depend on.
    """
    n, bands = len(days), len(sensor.bands)
    micron = np.array(sensor.centre) / 1000
    aerosol = 0.04 + rng.gamma(1.5, 0.06, n).clip(max=0.8)
    exposure = np.exp(rng.normal(0, 0.10, n))
    cast = np.exp(rng.normal(0, sensor.colour_cast, (n, bands)))
    shifted = day_of_year(days) + rng.normal(0, 9, n)  # early and late years
    spectra = signatures.seen(sensor.weights(), shifted)  # (N, M, C)
    # Within a class, spectra differ in brightness and in tilt along the wavelength.
    level, tilt = rng.normal(0, 0.10, (n, len(MATERIALS), 1)), rng.normal(0, 0.06, (n, len(MATERIALS), 1))
    spectra = spectra * np.exp(level + tilt * (micron - 1.0) / 0.6)

    up = sun(days)[2]
    path, through = _atmosphere(micron, aerosol, up)
    through = through * np.interp(micron, *_GASES)
    shape = ground.gain.shape[1:]
    mixed = np.matmul(
        (spectra * (through * cast * exposure[:, None])[:, None, :]).transpose(0, 2, 1).astype(np.float32),
        ground.shares.reshape(len(MATERIALS), n, -1).transpose(1, 0, 2),
    ).reshape(n, bands, *shape)  # fmt: skip
    mixed *= (ground.gain * _illumination(ground, days, 0.12 + 0.5 * aerosol))[:, None]
    for width in sorted(set(sensor.blur) - {1}):  # 20 m and 60 m bands, resampled to 10 m
        at = [i for i, b in enumerate(sensor.blur) if b == width]
        mixed[:, at] = uniform_filter(mixed[:, at], (0, 0, width, width), mode="nearest")
    mixed += (path * cast * exposure[:, None] * np.interp(micron, *_GASES)).astype(np.float32)[..., None, None]
    mixed += 0.002 * rng.standard_normal(mixed.shape, dtype=np.float32)
    mixed *= np.float32(sensor.scale)
    limit = np.iinfo(sensor.dtype).max
    return np.clip(np.rint(mixed, out=mixed), 0, limit, out=mixed).astype(sensor.dtype)


# Transmittance of water vapour: B09 is dimmed and B10 sees almost nothing of the ground, as on the real sensor.
_GASES = (
    np.array([0.40, 0.90, 0.93, 0.945, 0.96, 1.00, 1.30, 1.36, 1.39, 1.45, 1.55, 2.50]),
    np.array([1.00, 1.00, 0.55, 0.40, 0.55, 1.00, 1.00, 0.01, 0.01, 0.80, 0.97, 0.95]),
)

S1_BANDS = ("VV", "VH")
S1_ABOUT = "Sentinel-1: VV and VH backscatter in hundredths of a decibel with speckle, 10 m pixels"
LOOKS = 4.4  # equivalent looks usually given for the ground-range product at high resolution
# Backscatter of each material in dB at 38° incidence, (VV, VH), and how many dB full green cover adds.
_ECHO = np.array(
    [(-19, -27), (-8.5, -14), (-9, -14.5), (-12, -19), (-12.5, -20), (-12, -19.5), (-12, -21),
     (-3.5, -12), (-2, -13), (-16, -24), (-6, -14)]
)  # fmt: skip
_GREEN_ECHO = np.array([(0, 0), (0.5, 1), (0, 0), (1, 2), (-1.5, 2), (2, 4), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)])


def radar(ground: Ground, days: np.ndarray, rng: np.random.Generator, looks: float = LOOKS) -> np.ndarray:
    """VV and VH of N scenes, (N, 2, H, W) int16 in hundredths of a decibel.

    Each scene has its own incidence angle, look direction (ascending or descending), soil moisture and wind.
    """
    n = len(days)
    incidence = np.radians(rng.uniform(31, 45, n))
    side = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    green = signatures.greenness(day_of_year(days))[..., None]
    decibel = _ECHO + green * _GREEN_ECHO + rng.normal(0, 0.8, (n, len(MATERIALS), 1))
    decibel[:, signatures.WATER] += rng.normal(0, 2.5, (n, 1))  # wind roughens water
    decibel[:, signatures.SOIL] += rng.normal(0, 1.5, (n, 1))  # wet ground echoes more
    echo = np.power(10, decibel / 10).astype(np.float32)
    mixed = np.matmul(
        echo.transpose(0, 2, 1), ground.shares.reshape(len(MATERIALS), n, -1).transpose(1, 0, 2)
    ).reshape(n, 2, *ground.gain.shape[1:])  # fmt: skip
    # Slopes that face the radar are seen at a smaller angle and echo more (cosine-squared law of Ulaby and others).
    facing = _broadcast(incidence) + np.arctan(ground.slope_east * _broadcast(side))
    mixed *= (np.cos(facing.clip(0.02, 1.5)) / np.cos(np.radians(38)))[:, None] ** 2
    mixed *= np.square(ground.gain)[:, None]
    mixed *= rng.standard_gamma(looks, mixed.shape, dtype=np.float32) / np.float32(looks)
    return np.rint(1000 * np.log10(np.maximum(mixed, 1e-6))).astype(np.int16)
