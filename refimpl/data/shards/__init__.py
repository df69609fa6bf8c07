"""Shards: data that no disk holds decoded, read from .tar files as they are (`--data shards:FOLDER` or `shards:GLOB`).

The format is that of WebDataset: members of one tar file that share a name up to its first dot are one sample,

    0001.jpg  0001.cls        an image (.jpg .png .tif .npy .npz) and the number or name of its class, or
    0002.tif  0002.json       {"label": 3} or {"class": "forest"}, and where known "location": [easting, northing]

and follow one another. The tar files are not compressed. The library of that name reads them in passing, which leaves
the order to the number of workers; here every sample must be found by its number, so that the order is a function of
(seed, epoch) and a resumed run needs no position. So the headers of all shards are read once into an index
(`.index`), kept in the cache like a decoded set, and Python's tarfile is all it takes.

What `open_shards` returns has a field that looks like an array to the engine and decodes what is asked of it
(`.images`). A shard is read whole, from its first byte to its last, and kept in a memory of bounded size (`.reader`);
`Data.chunks` tells the engine which samples lie together, and it shuffles shards, then samples within a window of them
(`refimpl.engine.feed.epoch_order`), so that every shard is read once an epoch. Only samples of one window meet in a
batch: shuffle them before you write shards.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import numpy as np

from refimpl.data import store
from refimpl.data.bands import Bands
from refimpl.data.dataset import Data, DataError, band_moments
from refimpl.data.layout import draw_subset, make_splits
from refimpl.data.shards.images import ShardField
from refimpl.data.shards.index import read_index
from refimpl.data.shards.reader import ShardReader
from refimpl.data.words import did_you_mean, readable_bytes

PREFIX = "shards:"
# Both are constants, not shares of this machine's memory: the order of samples depends on the first.
WINDOW = 512 << 20  # bytes of the shards that are shuffled into one another
MEMORY = 2 * WINDOW  # bytes of shards kept at most; a batch at a window's end needs the next one's too


def open_shards(
    pattern: str, *, bands: Bands = None, size: int | None = None, seed: int = 0, samples: int | None = None
) -> Data:
    """The data set in the .tar files of a folder, or that a pattern such as "train-*.tar" matches.

    Arguments as in `refimpl.data.sources.open_path`. Shards called train..., val..., test... (or in folders of those
    names) bring their split. Raises DataError, one line that names the shard and the remedy.
    """
    paths = find_shards(pattern)
    index = read_index(paths)
    facts, columns = index.facts, index.arrays
    labels, location = columns.get("label"), columns.get("location")
    given = np.array(facts["split"])[columns["shard"]] if facts["split"] else None
    chosen = np.arange(len(columns["shard"]))
    if samples:
        groups = np.zeros(len(chosen), int) if labels is None else np.asarray(labels)
        if given is not None:
            groups = groups * 3 + np.unique(given, return_inverse=True)[1]
        chosen = draw_subset(len(chosen), samples, groups, seed)
        given, labels, location = (None if of is None else np.asarray(of)[chosen] for of in (given, labels, location))
    reader = ShardReader(paths, facts["bytes"], MEMORY)
    wanted = bands.split(",") if isinstance(bands, str) else list(bands or ())
    image = ShardField(reader, index, chosen, size, [str(band).strip() for band in wanted])
    splits = make_splits(len(chosen), labels, given, location, seed)
    fields: dict = {"image": image}
    if labels is not None:
        fields["label"] = np.asarray(labels, np.int64)
    if location is not None:
        fields["location"] = np.asarray(location, np.float32)
    return Data(
        name=_name(pattern),
        fields=fields,
        inputs={"image": image.input(_moments(index.folder, image, splits["train"]))},
        splits=splits,
        classes=tuple(facts["classes"]),
        source=f"{len(paths)} shards, {readable_bytes(sum(facts['bytes']))} (digest {facts['digest'][:16]})",
        chunks=np.asarray(columns["shard"])[chosen],
        window=max(1, WINDOW // max(facts["bytes"])),
    )


def find_shards(pattern: str) -> list[Path]:
    """The .tar files that a folder holds or a pattern matches, sorted. Raises DataError where there are none."""
    text = os.path.abspath(Path(pattern).expanduser())
    folder = Path(text)
    found = sorted(folder.rglob("*.tar")) if folder.is_dir() else sorted(map(Path, glob.glob(text, recursive=True)))
    found = [path for path in found if path.is_file() and not path.name.startswith(".")]
    if not found:
        hint = "name a folder of .tar files, or a pattern of them in quotes"
        if folder.is_dir() and any(folder.rglob("*.tar.*")):
            hint = "unpack the compression of those that are there (gunzip)"
        alone = folder.exists() or glob.has_magic(text) or not folder.parent.is_dir()
        beside = [] if alone else [other.name for other in folder.parent.iterdir()]
        raise DataError(f"{PREFIX}{pattern}: no .tar file there{did_you_mean(folder.name, beside, hint)}")
    return found


def _name(pattern: str) -> str:
    """ "data/train-*.tar" -> "data", "data/" -> "data": how the set is called."""
    path = Path(os.path.abspath(Path(pattern).expanduser()))
    return path.parent.name if glob.has_magic(path.name) else path.name.removesuffix(".tar")


def _moments(folder: Path, image: ShardField, train: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the bands over the training part, remembered beside the index."""
    path = folder / f"moments-{store.hash_of_bytes(image.digest.encode() + train.astype(np.int64).tobytes())}.json"
    try:
        mean, std = json.loads(path.read_text(encoding="utf-8"))
        return tuple(mean), tuple(std)
    except (OSError, ValueError, TypeError):
        mean, std = band_moments(image, train)
        store.remember(path, json.dumps([mean, std]).encode())
        return mean, std
