"""NumPy archives become `Data`. The names of the arrays in an .npz decide what it is, by the first rule that fits:

1. *unmixing*: `cube` (H, W, C) with, as truth for the evaluation, `endmembers` (C, P) and `abundances` (H, W, P), and
   where known `endmember_names`. A sample is a pixel.
2. *one place over time*: `images` (T, H, W, C) with `dates` (T,) and `top_left...` (T, 2) or (2,) in metres, and
   `pixel_size_m`. A sample is a tile of it (64 px, or --size): `series` holds all its dates, `image` and `date` one of
   them, dealt in turn.
3. *pixel series*: `x` (N, T, C) with `y`; where known `dates` (N, T), `lon` and `lat` (N,).
4. *fields*: arrays named as in `refimpl.data.dataset.FIELDS`, the first axis being the sample.
5. *images*: `x` or `images` (N, H, W, C) or (N, C, H, W), with `y` or `labels` (N,).

Beside them, for 3 to 5: `classes` (names), `bands` (names), `split` ("train", "val", "test" of each sample).
Objects are never unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from refimpl.data.bands import BAND_AXIS, Bands, with_bands
from refimpl.data.dataset import FIELDS, Data, DataError, Input, band_moments
from refimpl.data.files import open_zip
from refimpl.data.layout import SHARES, draw_subset, make_splits
from refimpl.data.places import plane
from refimpl.data.resize import with_size
from refimpl.data.synthetic.hyperspectral import block_splits, patches
from refimpl.data.words import one_line

TILE = 64  # pixels, side of a tile cut from a scene unless --size says otherwise
WINDOW = 7  # pixels, side of the window around a pixel of a hyperspectral cube
_COLOURS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "nir")}


def open_npz(
    path: Path,
    *,
    bands: Bands = None,
    size: int | None = None,
    seed: int = 0,
    samples: int | None = None,
    needs: tuple[str, ...] = (),
) -> Data:
    """The data set in an .npz file; arguments as in `refimpl.data.sources.open_path`.

    A hyperspectral cube ignores `size`: its samples are pixels and windows of `WINDOW` pixels round them.
    """
    arrays = load_arrays(path)
    if {"cube", "endmembers", "abundances"} <= set(arrays):
        data = _unmixing(path.name, arrays, seed, needs)
    elif "dates" in arrays and any(name.startswith("top_left") for name in arrays) and _rank(arrays, "images") == 4:
        data = _scene(path.name, arrays, size or TILE, seed)
    else:
        data = _samples(path.name, arrays, seed)
    data = with_bands(with_size(data, size), bands)
    return _only(data, samples, seed) if samples else data


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file, in memory. Raises DataError for a damaged file or one that needs unpickling."""
    open_zip(path).close()  # refuses what is no archive, and zip bombs
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    if "pickle" not in str(error):
                        raise
                    raise DataError(
                        f"{path.name}: array {name!r} holds Python objects, which are never unpickled; "
                        "save it as numbers or text"
                    ) from None
    except DataError:
        raise
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path.name}: cannot be read ({one_line(error)}); save or download it again") from None
    return arrays


def _rank(arrays: dict, name: str) -> int:
    return arrays[name].ndim if name in arrays else -1


# -- 1 unmixing --------------------------------------------------------------------------------------------------------


def _unmixing(name: str, arrays: dict, seed: int, needs: tuple[str, ...]) -> Data:
    cube, spectra, shares = arrays["cube"], arrays["endmembers"], arrays["abundances"]
    if cube.ndim != 3 or spectra.ndim != 2 or shares.shape != (*cube.shape[:2], spectra.shape[1]):
        raise DataError(
            f"{name}: cube {cube.shape}, endmembers {spectra.shape}, abundances {shares.shape} do not fit; "
            "expected (H, W, C), (C, P), (H, W, P)"
        )
    if len(spectra) != cube.shape[2]:
        raise DataError(f"{name}: endmembers have {len(spectra)} bands and the cube {cube.shape[2]}; they must agree")
    names = _band_names(arrays, cube.shape[2], name)
    cube, spectra = _keep(cube, name), spectra.astype(np.float32)
    height, width, count = cube.shape
    pixels = np.ascontiguousarray(cube.reshape(-1, count))
    # A method that reads windows must not see pixels of another split in them; one that reads pixels can use them all.
    splits = block_splits(height, width, SHARES, WINDOW // 2 if "patch" in needs else 0, seed)
    if min(map(len, splits.values())) == 0:
        raise DataError(f"{name}: {height} x {width} pixels are too few to part windows of {WINDOW}; use a larger cube")
    moments = band_moments(pixels, splits["train"])
    materials = tuple(str(n) for n in arrays.get("endmember_names", np.arange(spectra.shape[1])))
    fields, inputs = {"spectrum": pixels}, {"spectrum": Input(names, 1, *moments)}
    if not needs or "patch" in needs:  # windows take `WINDOW` squared times the memory of the cube
        fields["patch"], inputs["patch"] = patches(cube, WINDOW), Input(names, WINDOW, *moments)
    return Data(
        name=name,
        fields=fields,
        inputs=inputs,
        splits=splits,
        truth={
            "endmembers": np.ascontiguousarray(spectra.T),
            "abundances": shares.reshape(-1, spectra.shape[1]).astype(np.float32),
            "endmember_names": np.array(materials),
        },
        source=name,
    )


# -- 2 one place over time ---------------------------------------------------------------------------------------------


def _scene(name: str, arrays: dict, size: int, seed: int) -> Data:
    images, days = arrays["images"], _days(arrays["dates"], name)
    times, height, width, count = images.shape
    if len(days) != times:
        raise DataError(f"{name}: {times} images but {len(days)} dates; give one date per image")
    rows, columns = height // size, width // size
    if min(rows, columns) < 3:
        raise DataError(f"{name}: {height} x {width} pixels hold no 3 x 3 tiles of {size}; choose a smaller --size")
    names = _band_names(arrays, count, name)
    # (T, rows, size, columns, size, C) -> (rows, columns, T, C, size, size) -> (N, T, C, size, size)
    cut = images[:, : rows * size, : columns * size].reshape(times, rows, size, columns, size, count)
    series = np.ascontiguousarray(cut.transpose(1, 3, 0, 5, 2, 4)).reshape(-1, times, count, size, size)
    series = _keep(series, name)
    number = np.arange(len(series))
    turn = number % times
    corner = next(array for key, array in arrays.items() if key.startswith("top_left")).reshape(-1, 2).mean(0)
    pixel = float(arrays.get("pixel_size_m", 1.0))
    centre = np.stack([number % columns + 0.5, -(number // columns + 0.5)], axis=1) * size * pixel
    splits = block_splits(rows, columns, SHARES, 0, seed)
    view = Input(names, size, *band_moments(series[number, turn], splits["train"]))
    return Data(
        name=name,
        fields={
            "image": series[number, turn],
            "location": (corner + centre).astype(np.float32),
            "date": days[turn],
            "series": series,
            "dates": np.tile(days, (len(series), 1)),
        },
        inputs={"image": view, "series": view},
        splits=splits,
        source=name,
    )


# -- 3 to 5 samples ----------------------------------------------------------------------------------------------------


def _samples(name: str, arrays: dict, seed: int) -> Data:
    fields = {key: arrays[key] for key in FIELDS if key in arrays}
    images = next((arrays[key] for key in ("x", "images") if key in arrays), None)
    if images is not None and not set(fields) & set(BAND_AXIS):
        if images.ndim == 3:  # one pixel over time
            fields["series"] = images[..., None, None]
        elif images.ndim == 4:
            fields["image"] = _channels_first(images, name)
        else:
            raise DataError(
                f"{name}: {'x'!r} has shape {images.shape}; expected (N, C, H, W), (N, H, W, C) or (N, T, C)"
            )
    labels = next((arrays[key] for key in ("label", "y", "labels") if key in arrays), None)
    if labels is not None:
        fields["label"] = labels
    if not set(fields) & set(BAND_AXIS):
        held = ", ".join(arrays) or "nothing"
        raise DataError(
            f"{name}: holds {held}; expected 'x' or 'images' with 'y', or arrays named {', '.join(BAND_AXIS)}"
        )
    if {"lon", "lat"} <= set(arrays):
        fields["location"] = plane(arrays["lon"], arrays["lat"]).astype(np.float32)
    lengths = {key: len(values) if values.ndim else 0 for key, values in fields.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {count}" for key, count in lengths.items())
        raise DataError(f"{name}: arrays differ in number of samples ({counts}); the first axis must be the sample")
    for key in ("date", "dates"):
        if key in fields:
            fields[key] = _days(fields[key], name)
    inputs = {}
    if "label" in fields:
        fields["label"] = _labels(fields["label"], arrays, name)
    count = len(next(iter(fields.values())))
    given = np.array([str(word) for word in arrays["split"]]) if "split" in arrays else None
    splits = make_splits(count, fields.get("label"), given, fields.get("location"), seed)
    for key in [key for key in BAND_AXIS if key in fields]:
        fields[key], inputs[key] = _view(key, fields[key], arrays, splits["train"], name)
    classes = tuple(str(word) for word in arrays["classes"]) if "classes" in arrays else ()
    if not classes and "label" in fields:
        classes = tuple(str(n) for n in range(int(fields["label"].max()) + 1))
    return Data(name, fields, inputs, splits, classes, source=name)


def _view(key: str, values: np.ndarray, arrays: dict, train: np.ndarray, name: str):
    """One field in a type that is kept, and its `Input`."""
    axis = BAND_AXIS[key]
    if values.ndim <= axis:
        raise DataError(f"{name}: {key} has shape {values.shape}; expected (N, ...) of {FIELDS[key]}")
    names = _band_names(arrays, values.shape[axis], name) if key != "second" else _plain_names(values.shape[axis])
    if values.dtype.kind == "f":
        holed = ~np.isfinite(values).reshape(len(values), -1).all(1)
        if holed.any():
            where = f"sample {int(holed.argmax())} holds NaN or infinity in {key}"
            raise DataError(f"{name}: {where}, as do {int(holed.sum())} of {len(values)}; fill or remove them")
    values = _keep(values, name)
    by_band = np.moveaxis(values, axis, 1)
    return values, Input(names, values.shape[-1] if values.ndim > axis + 1 else 1, *band_moments(by_band, train))


def _channels_first(images: np.ndarray, name: str) -> np.ndarray:
    """(N, C, H, W) whichever of the two orders came in; images are square."""
    _, a, b, c = images.shape
    if b == c:
        return images
    if a == b:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    raise DataError(f"{name}: images of shape {images.shape[1:]} are not square; crop them to (C, S, S) or (S, S, C)")


def _labels(values: np.ndarray, arrays: dict, name: str) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iub" or values.size == 0 or values.min() < 0:
        raise DataError(
            f"{name}: labels must be whole numbers from 0, one per sample; got {values.dtype} {values.shape}"
        )
    if "classes" in arrays and values.max() >= len(arrays["classes"]):
        raise DataError(f"{name}: label {values.max()} has no name among {len(arrays['classes'])} classes")
    return values.astype(np.int64)


def _plain_names(count: int) -> tuple[str, ...]:
    return _COLOURS.get(count, tuple(str(n + 1) for n in range(count)))


def _band_names(arrays: dict, count: int, name: str) -> tuple[str, ...]:
    if "bands" not in arrays:
        return _plain_names(count)
    if arrays["bands"].shape != (count,):
        raise DataError(f"{name}: 'bands' names {arrays['bands'].size} bands but the images have {count}")
    return tuple(str(band) for band in arrays["bands"])


def _days(values: np.ndarray, name: str) -> np.ndarray:
    """Days since 1970-01-01 (int64) of texts like 20180716 or 2018-07-16, of datetimes, or of days."""
    if values.dtype.kind in "iuf":
        return values.astype(np.int64)
    try:
        if values.dtype.kind == "U" and all(len(text) == 8 and text.isdecimal() for text in values.flat):
            texts = [f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in values.flat]
            values = np.array(texts).reshape(values.shape)
        elif values.dtype.kind == "U":
            values = values.astype("U10")
        return values.astype("datetime64[D]").astype(np.int64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: dates are not read ({one_line(error)}); write them as 2018-07-16") from None


def _keep(values: np.ndarray, name: str) -> np.ndarray:
    """The numbers in a type that is kept: integers as they are, floats as float32, finite."""
    if values.dtype.kind == "f":
        return np.nan_to_num(values.astype(np.float32, copy=False), copy=False, posinf=0.0, neginf=0.0)
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype in (np.uint8, np.int16, np.uint16, np.int32):
        return values
    if values.dtype.kind in "iu" and np.abs(values).max(initial=0) < 2**31:
        return values.astype(np.int32)
    raise DataError(f"{name}: images hold {values.dtype}; save them as uint8, uint16, int16 or float32")


def _only(data: Data, samples: int, seed: int) -> Data:
    """A subset of the samples that keeps the shares of classes and splits."""
    groups = np.zeros(len(data), int)
    for number, index in enumerate(data.splits.values()):
        groups[index] = number
    if "label" in data.fields:
        groups += 3 * data.fields["label"]
    chosen = draw_subset(len(data), samples, groups, seed)
    data.splits = {name: np.flatnonzero(np.isin(chosen, index)) for name, index in data.splits.items()}
    data.fields = {name: values[chosen] for name, values in data.fields.items()}
    data.truth = {name: v[chosen] if name == "abundances" else v for name, v in data.truth.items()}
    return data
