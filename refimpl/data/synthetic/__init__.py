"""The synthetic Earth: a seeded procedural world seen by simulated sensors, with exact ground truth.

It lets every method run and be tested without a download. It is a test bench, not data about the real Earth: results
on it say that an implementation learns, not how well a method works in the field.

    from refimpl.data import synthetic
    data = synthetic.make("s2", samples=2000, size=64, seed=0, fields=("image", "second", "location", "label"))
"""

from __future__ import annotations

import numpy as np

from refimpl.data.dataset import FIELDS, Data, DataError, Input, band_moments
from refimpl.data.synthetic import hyperspectral, patterns, scenes, sensors, video
from refimpl.data.synthetic.noise import generator
from refimpl.data.words import did_you_mean

CLASSES = tuple(use.replace(" ", "_") for use in patterns.USES)
DEFAULT_SAMPLES = {"rgb": 2000, "s2": 2000, "s1": 2000, "hyperspectral": 2000, "uav": 200}

_OPTICAL = {"rgb": sensors.RGB, "s2": sensors.S2}
_ABOUT = {
    "rgb": sensors.RGB.about, "s2": sensors.S2.about, "s1": sensors.S1_ABOUT,
    "hyperspectral": hyperspectral.ABOUT, "uav": video.ABOUT,
}  # fmt: skip
_SCENE = ("image", "location", "date", "label")
_PAIRS = ("second", "before", "after", "change", "series", "dates", "landcover")
# What each sensor can give; the first tuple is what it gives unless asked otherwise.
_GIVES = {
    "rgb": (_SCENE, _PAIRS), "s2": (_SCENE, _PAIRS), "s1": (_SCENE, _PAIRS),
    "hyperspectral": (("spectrum", "location", "label"), ("patch",)),
    "uav": (("video", "depth", "location", "date", "label"), ()),
}  # fmt: skip


def sensors_available() -> dict[str, str]:
    """Name -> one line about it, of every simulated sensor."""
    return dict(_ABOUT)


def gives(sensor: str) -> tuple[str, ...]:
    """Every field that `make(sensor, fields=...)` can give. Raises DataError for an unknown sensor."""
    usual, more = _GIVES[_known(sensor)]
    return usual + more


def sensor_for(needs: tuple[str, ...], prefer: str = "rgb") -> str:
    """The sensor that gives all of `needs`: `prefer` if it does, else the first that does. Raises DataError if none."""
    for name in (_known(prefer), *_GIVES):
        if set(needs) <= set(gives(name)):
            return name
    raise DataError(f"no simulated sensor gives {', '.join(needs)} together; one gives {_listed('s2')}")


def make(
    sensor: str = "s2",
    samples: int | None = None,
    size: int = 64,
    seed: int = 0,
    fields: tuple[str, ...] | None = None,
    *,
    dates: int = 6,
    frames: int = 3,
    changes: float = 0.25,
    bands: int = 150,
    endmembers: int = 5,
    snr: float = 30.0,
    variability: float = 0.05,
    patch: int = 7,
) -> Data:
    """A data set of the synthetic Earth; the same arguments give the same numbers, bit by bit, on one machine.

    Args:
        sensor: a key of `sensors_available()`.
        samples: images, clips or pixels; default `DEFAULT_SAMPLES`. A cube may round it to a square.
        size: height and width of images in pixels of 10 m.
        fields: names of `refimpl.data.dataset.FIELDS`; default the usual ones of the sensor (see `gives`).
        dates: length of `series`. frames: length of `video`. changes: share of parcels changed in before/after.
        bands, endmembers, snr, variability: of the hyperspectral cube (snr in dB; variability of brightness).
        patch: side of hyperspectral patches, odd.
    Returns:
        `image`, `before`, `after`, `series` are of the sensor; `second` is Sentinel-1 (Sentinel-2 if the sensor is s1).
        `label` is the dominant land use, `landcover` and truth["landcover_after"] index `signatures.MATERIALS`.
        Hyperspectral: `spectrum` normalises to reflectance (stored / 10000), the unit of truth["endmembers"] (P, C);
        truth has also "abundances" (N, P), "brightness" (N,), "shape" [H, W], "wavelength" (C,); pixels are row by row.
        Drone: truth["pose"] (N, T, 6) and truth["focal"] in pixels, see `refimpl.data.synthetic.video.rays`.
    Raises:
        DataError: unknown sensor or field, or sizes out of range.
    """
    usual, _ = _GIVES[_known(sensor)]
    fields = tuple(fields) if fields is not None else usual
    samples = DEFAULT_SAMPLES[sensor] if samples is None else samples
    _check(sensor, samples, size, fields, dates, frames, changes)
    if sensor == "hyperspectral":
        return _hyperspectral(samples, seed, fields, bands, endmembers, snr, variability, patch)

    windows = scenes.choose(samples, size, seed)
    days = scenes.dates(generator(seed, 2), samples)
    truth: dict[str, np.ndarray] = {}
    made = {"location": windows.centre, "date": days, "label": windows.label.astype(np.int64)}
    if sensor == "uav":
        flown = video.fly(windows.world, windows.centre, days, size, frames, seed)
        truth = {"pose": flown.pop("pose"), "focal": np.array(video.focal_length(size))}
        made |= flown
    else:
        made |= _satellite(windows, days, sensor, seed, fields, dates, changes)
        if "landcover_after" in made:
            truth["landcover_after"] = made.pop("landcover_after")
    made = {name: made[name] for name in fields}
    return Data(
        name=f"synthetic-{sensor}", fields=made, inputs=_inputs(made, sensor, size, windows.splits["train"]),
        splits=windows.splits, classes=CLASSES, truth=truth, synthetic=True,
        source=f"synthetic Earth, seed {seed}",
    )  # fmt: skip


def _satellite(windows, days, sensor, seed, fields, length, changes) -> dict[str, np.ndarray]:
    """Fields of satellite windows. Each has its own random numbers, so asking for one does not change another."""
    other = "s2" if sensor == "s1" else "s1"
    rng = generator(seed, 3)
    later = rng.integers(30, 1100, len(days)).astype(np.int32)  # days from "before" to "after"
    # A series takes equal steps through one year, each a few days early or late.
    start = days.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int32)
    step = 365 / length
    in_year = (np.arange(length) + 0.5) * step + rng.uniform(-0.35, 0.35, (len(days), length)) * step
    dates = (start[:, None] + in_year).astype(np.int32)

    def expose(name, ground, when, stream, number):
        rng = generator(seed, stream, number)
        return sensors.radar(ground, when, rng) if name == "s1" else sensors.optical(_OPTICAL[name], ground, when, rng)

    def chunk(chosen: slice, number: int) -> dict[str, np.ndarray]:
        x, y = windows.grid(chosen)
        ground, day, out = windows.world.look(x, y, scenes.GSD), days[chosen], {}
        if "image" in fields:
            out["image"] = expose(sensor, ground, day, 10, number)
        if "second" in fields:
            out["second"] = expose(other, ground, day, 11, number)
        if "landcover" in fields:
            out["landcover"] = ground.cover
        if "before" in fields:
            out["before"] = expose(sensor, ground, day, 12, number)
        if {"after", "change"} & set(fields):
            changed = windows.world.look(x, y, scenes.GSD, changes)
            out["landcover_after"] = changed.cover
            out["change"] = (changed.cover != ground.cover).astype(np.uint8)
            if "after" in fields:
                out["after"] = expose(sensor, changed, day + later[chosen], 13, number)
        if "series" in fields:
            shots = [expose(sensor, ground, dates[chosen, t], 100 + t, number) for t in range(length)]
            out["series"] = np.stack(shots, 1)
        return out

    wanted = {"image", "second", "landcover", "before", "after", "change", "series"} & set(fields)
    return {"dates": dates} | (scenes.in_chunks(len(days), chunk) if wanted else {})


def _hyperspectral(samples, seed, fields, bands, endmembers, snr, variability, patch) -> Data:
    cube, truth = hyperspectral.make_cube(samples, seed, bands, endmembers, snr, variability)
    height, width = cube.shape[:2]
    row, column = np.divmod(np.arange(height * width), width)
    made = {
        "spectrum": cube.reshape(-1, bands),
        "location": (np.stack([column + 0.5, height - row - 0.5], 1) * 20).astype(np.float32),
        "label": truth["abundances"].argmax(1).astype(np.int64),
    }
    if "patch" in fields:
        made["patch"] = hyperspectral.patches(cube, patch)
    # With patches, pixels whose window would reach into another split are in none.
    guard = patch // 2 if "patch" in fields else 0
    splits = hyperspectral.block_splits(height, width, scenes.SHARES, guard, seed)
    if min(map(len, splits.values())) == 0:
        raise DataError(f"{samples} pixels leave a split empty with patches of {patch}; ask for more pixels")
    names = tuple(f"{w:.0f}nm" for w in truth["wavelength"])
    # Mean 0 and deviation 10000 make normalised spectra reflectances, the unit of the true endmembers.
    reflectance = {"mean": (0.0,) * bands, "std": (float(hyperspectral.SCALE),) * bands, "sensor": "hyperspectral"}
    sizes = {"spectrum": 1, "patch": patch}
    return Data(
        name="synthetic-hyperspectral", fields={name: made[name] for name in fields},
        inputs={name: Input(names, sizes[name], **reflectance) for name in fields if name in sizes},
        splits=splits, classes=hyperspectral.ENDMEMBERS[:endmembers], truth=truth, synthetic=True,
        source=f"synthetic Earth, seed {seed}",
    )  # fmt: skip


def _inputs(made: dict[str, np.ndarray], sensor: str, size: int, train: np.ndarray) -> dict[str, Input]:
    found = {}
    for name in ("image", "second", "before", "after", "series", "video"):
        if name not in made:
            continue
        of = ("s2" if sensor == "s1" else "s1") if name == "second" else sensor
        bands = sensors.S1_BANDS if of == "s1" else _OPTICAL["rgb" if of == "uav" else of].bands
        values = made[name]
        # A series or video counts as that many images: its moments are those of its middle one.
        values = values[:, values.shape[1] // 2] if values.ndim == 5 else values
        found[name] = Input(bands, size, *band_moments(values, train, limit=500), sensor=of)
    return found


def _check(sensor, samples, size, fields, dates, frames, changes) -> None:
    for name in fields:
        if name not in gives(sensor):
            if name not in FIELDS:
                raise DataError(f"unknown field {name!r}{_near(name, FIELDS)}; fields are {', '.join(FIELDS)}")
            others = [s for s in _GIVES if name in gives(s)]
            raise DataError(f"sensor {sensor!r} gives no {name!r} ({_listed(sensor)}); {' and '.join(others)} can")
    for what, value, low, high in (
        ("samples", samples, 40, 1_000_000), ("size", size, 8, 512), ("dates", dates, 2, 64), ("frames", frames, 2, 32),
        ("changes", changes, 0, 1),
    ):  # fmt: skip
        if not low <= value <= high:
            raise DataError(f"synthetic data: {what} is {value}, but must lie between {low} and {high}")


def _known(sensor: str) -> str:
    if sensor not in _GIVES:
        raise DataError(f"unknown sensor {sensor!r}{_near(sensor, _GIVES)}; sensors are {', '.join(_GIVES)}")
    return sensor


_ALIASES = {"sentinel1": "s1", "sentinel2": "s2", "drone": "uav", "hsi": "hyperspectral"}


def _near(name: str, known) -> str:
    meant = _ALIASES.get(name.lower().replace("-", ""))
    return f"; did you mean {meant}?" if meant else did_you_mean(name, known)


def _listed(sensor: str) -> str:
    return f"it gives {', '.join(gives(sensor))}"
