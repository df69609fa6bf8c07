"""Which bands a data set has, and the choice of some of them by name or number."""

from __future__ import annotations

from dataclasses import replace

from refimpl.data.dataset import Data, DataError
from refimpl.data.words import did_you_mean

Bands = str | list[str] | tuple[str, ...] | None

# Band names of published sets whose files do not carry them, by the name of the folder that holds the set.
# EuroSAT_MS keeps B8A behind B12 (order stated by torchgeo's EuroSAT loader); EuroSAT_RGB is B04, B03, B02.
PUBLISHED_BANDS = {
    "EuroSAT_RGB": ("B04", "B03", "B02"),
    "EuroSAT_MS": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"),
}
PUBLISHED_SENSOR = {"EuroSAT_RGB": "Sentinel-2", "EuroSAT_MS": "Sentinel-2"}

# Fields that have bands, and the axis on which they lie.
BAND_AXIS = {
    **dict.fromkeys(("image", "second", "before", "after", "patch", "spectrum"), 1),
    **dict.fromkeys(("series", "video"), 2),
}


def pick_bands(names: tuple[str, ...], wanted: Bands, where: str) -> tuple[int, ...]:
    """Positions of the wanted bands among `names`. wanted: "B04,B03,B02", "4,3,2" (from 1), a list, or None for all.

    Case and a leading zero do not matter (b4 is B04). Raises DataError with the nearest names for an unknown one.
    """
    if not wanted:
        return tuple(range(len(names)))
    asked = wanted.split(",") if isinstance(wanted, str) else [str(band) for band in wanted]
    position = {_plain(name): n for n, name in reversed(list(enumerate(names)))}
    picks = []
    for band in (text.strip() for text in asked):
        found = position.get(_plain(band))
        if found is None and band.isdecimal() and 1 <= int(band) <= len(names):
            found = int(band) - 1
        if found is None:
            raise DataError(f"{where}: no band {band!r}; bands are {', '.join(names)}{did_you_mean(band, names)}")
        if found in picks:
            raise DataError(f"{where}: band {names[found]} is asked for twice; name each band once")
        picks.append(found)
    return tuple(picks)


def _plain(band: str) -> str:
    band = band.lower()
    return f"b{band[2:]}" if band.startswith("b0") and len(band) == 3 else band


# Sentinel-2's names of the three colours, so that a photograph and a Sentinel-2 image can be compared.
_COLOURS = {"b4": "red", "b3": "green", "b2": "blue"}


def same_bands(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two data sets show the same bands in the same order; B04 is red, B03 green, B02 blue."""

    def plain(bands: tuple[str, ...]) -> list[str]:
        return [_COLOURS.get(_plain(band), band.lower()) for band in bands]

    return plain(one) == plain(other)


def with_bands(data: Data, wanted: Bands) -> Data:
    """The same data with only the chosen bands, in that order, of its first field with bands and of all like it."""
    if not wanted or not data.inputs:
        return data
    names = next(iter(data.inputs.values())).bands
    picks = list(pick_bands(names, wanted, data.name))
    fields, inputs, truth = dict(data.fields), dict(data.inputs), dict(data.truth)
    for name, view in data.inputs.items():
        if view.bands != names:  # a second sensor keeps its own
            continue
        fields[name] = fields[name][:, picks] if BAND_AXIS[name] == 1 else fields[name][:, :, picks]
        bands, mean, std = (tuple(values[n] for n in picks) for values in (view.bands, view.mean, view.std))
        inputs[name] = replace(view, bands=bands, mean=mean, std=std)
    if "endmembers" in truth:
        truth["endmembers"] = truth["endmembers"][:, picks]
    return replace(data, fields=fields, inputs=inputs, truth=truth)
