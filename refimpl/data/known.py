"""The data sets that `--data` knows by name, and how any other is opened: by its path.

Each entry says which fields the set gives, so that a method and a data set can be matched, and what is missing can be
named, before anything is computed or downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from refimpl.data import synthetic
from refimpl.data.bands import Bands, with_bands
from refimpl.data.dataset import FIELDS, Data, DataError
from refimpl.data.eurosat import open_eurosat
from refimpl.data.shards import PREFIX, open_shards
from refimpl.data.sources import check_wishes, open_path
from refimpl.data.synthetic import objects
from refimpl.data.words import did_you_mean, readable_bytes

SIZE = 64  # pixels of a synthetic image unless --size says otherwise


_NOTHING_TO_DOWNLOAD = "simulated when it is opened, nothing to download"

# Simulated whenever the sensor can; all else only when it is needed.
_USUAL = ("image", "location", "date", "label", "spectrum", "video", "depth")


@dataclass(frozen=True)
class Known:
    """A data set with a name. gives: its fields. line: what it is. how: where it comes from. open: as `open_data`."""

    name: str
    gives: tuple[str, ...]
    line: str
    how: str
    open: Callable[..., Data]


def _synthetic(name: str, sensor: str, *, bands, size, seed, samples, needs) -> Data:
    gives = synthetic.gives(sensor)
    fields = tuple(field for field in FIELDS if field in gives and (field in _USUAL or field in needs))
    data = synthetic.make(sensor, samples, size or SIZE, seed, fields)
    return replace(with_bands(data, bands), name=name)


def _objects(*, bands, size, seed, samples, needs) -> Data:
    return with_bands(objects.make(samples, size or SIZE, seed), bands)


def _eurosat(version: str, *, needs, **wishes) -> Data:
    return open_eurosat(version, **wishes)  # it gives all it has, whatever is needed


def _simulated(name: str, sensor: str) -> Known:
    return Known(
        name,
        synthetic.gives(sensor),
        f"synthetic Earth: {synthetic.sensors_available()[sensor]}",
        _NOTHING_TO_DOWNLOAD,
        partial(_synthetic, name, sensor),
    )


# The first set that gives what a method needs is the one it runs on unless --data says otherwise.
_ENTRIES = (
    _simulated("synthetic", "rgb"),
    *(_simulated(f"synthetic-{sensor}", sensor) for sensor in synthetic.sensors_available() if sensor != "rgb"),
    Known(objects.NAME, objects.FIELDS, f"synthetic Earth: {objects.ABOUT}", _NOTHING_TO_DOWNLOAD, _objects),
    Known(
        "eurosat",
        ("image", "label"),
        "27,000 Sentinel-2 RGB images of 64 px in 10 land-use classes",
        "95 MB from Zenodo record 7711810",
        partial(_eurosat, "rgb"),
    ),
    Known(
        "eurosat-ms",
        ("image", "label", "location"),
        "the same places in all 13 Sentinel-2 bands, with coordinates",
        "2.1 GB from Zenodo record 7711810; needs the extra 'geo'",
        partial(_eurosat, "ms"),
    ),
)
KNOWN = {known.name: known for known in _ENTRIES}

# What gives a field to a set that is opened by its path.
_HOW_TO_GIVE = {
    "label": "two or more class folders or an index.csv give it",
    "location": "GeoTIFFs, or an array 'location' in an .npz, give it",
    "before": "folders A, B and label give it",
    "after": "folders A, B and label give it",
    "change": "folders A, B and label give it",
}


def open_data(
    spec: str,
    *,
    bands: Bands = None,
    size: int | None = None,
    seed: int = 0,
    samples: int | None = None,
    needs: Iterable[str] = (),
) -> Data:
    """The data set called `spec`, or at the path `spec`; other arguments as in `refimpl.data.sources.open_path`.

    needs: fields that a method needs. A synthetic set simulates these besides the usual ones of its sensor; without
    them it leaves the costly ones (a second sensor, series, pairs) out, although it could give them.
    Raises DataError with the nearest names when there is neither.
    """
    check_wishes(size, samples)
    wishes = {"bands": bands, "size": size, "seed": seed, "samples": samples, "needs": tuple(needs)}
    if spec.startswith(PREFIX):
        del wishes["needs"]
        return open_shards(spec.removeprefix(PREFIX), **wishes)
    if spec in KNOWN:
        return KNOWN[spec].open(**wishes)
    if Path(spec).expanduser().exists() or "/" in spec or "\\" in spec or Path(spec).suffix in (".zip", ".npz"):
        return open_path(spec, **wishes)
    hint = did_you_mean(spec, KNOWN, otherwise=f"known are {', '.join(KNOWN)}")
    raise DataError(
        f"unknown data set {spec!r}{hint} (or give a path: a folder of images, a .zip of those, an .npz, shards:FOLDER)"
    )


def matching(needs: Iterable[str]) -> list[str]:
    """Names of the known data sets that give all these fields."""
    return [name for name, known in KNOWN.items() if set(needs) <= set(known.gives)]


def require(data: Data, needs: Iterable[str], who: str = "this method") -> None:
    """Raise DataError when `data` lacks a field of `needs`: what is missing, and which known data sets have it.

    who: the method that needs it, for the message.
    """
    needs = tuple(needs)
    missing = [name for name in needs if name not in data.gives]
    if not missing:
        return
    have = matching(needs)
    where = f"data sets that have it: {', '.join(have)}" if have else "no known data set has all it needs"
    how = _HOW_TO_GIVE.get(missing[0], FIELDS.get(missing[0], "not a field of any data set"))
    raise DataError(f"{who} needs {' and '.join(missing)}, which {data.name!r} does not have ({how}); {where}")


def describe(data: Data) -> list[tuple[str, str]]:
    """What there is to know of a data set, as rows (what, value) for a table."""
    rows = [
        ("name", data.name + (" (synthetic: simulated, not observed)" if data.synthetic else "")),
        ("samples", f"{len(data):,}"),
        ("splits", ", ".join(f"{name} {len(index):,}" for name, index in data.splits.items())),
    ]
    for name, values in data.fields.items():
        shape = " x ".join(str(n) for n in values.shape[1:]) or "one number"
        kind = str(values.dtype).removeprefix("torch.")
        rows.append((name, f"{shape} {kind}, {readable_bytes(values.nbytes)}: {FIELDS[name]}"))
    for name, view in data.inputs.items():
        bands = ", ".join(view.bands if len(view.bands) <= 16 else (*view.bands[:3], "...", view.bands[-1]))
        rows.append((f"bands of {name}", f"{len(view.bands)}: {bands}" + (f" ({view.sensor})" if view.sensor else "")))
    if data.classes:
        labels = np.asarray(data.fields["label"]) if "label" in data.fields else None
        counts = [""] * len(data.classes)
        if labels is not None and labels.ndim == 1:
            counts = [f" {n:,}" for n in np.bincount(labels, minlength=len(data.classes))]
        rows.append(("classes", ", ".join(name + count for name, count in zip(data.classes, counts))))
    if data.truth:
        rows.append(("truth", ", ".join(sorted(data.truth))))
    rows.append(("source", data.source or "not stated"))
    return rows
