"""`python -m refimpl embed`: images become a table of features (Parquet), a scene becomes a map of them (GeoTIFF).

This file has what both share and the table; `refimpl.studies.embed_scene` has the map. Neither holds more than a piece
of its input at a time: pictures are decoded a group ahead of the network, scenes are read window by window.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from refimpl.backbones import Encoder
from refimpl.data import decode, known
from refimpl.data.bands import Bands, pick_bands, same_bands
from refimpl.data.dataset import Data, DataError
from refimpl.data.files import Files
from refimpl.data.layout import read_layout
from refimpl.data.store import workers
from refimpl.engine.errors import OutputError
from refimpl.engine.method import Method
from refimpl.engine.progress import Bar, say
from refimpl.studies.embed import embed
from refimpl.studies.facts import encoder_facts, read_record
from refimpl.studies.run import choose_device
from refimpl.studies.saved import load_method
from refimpl.studies.whole import refuse_existing, whole_file

Item = TypeVar("Item")

ONE_IMAGE = ("image", "before", "after", "patch", "spectrum")  # fields that a picture or a window of a scene can be
GROUP = 1024  # images decoded and written together; half as many row groups save no more memory
GROUP_BYTES = 64 << 20  # and no more of them than fit here
FAR = 4.0  # deviations; a band whose mean lies farther from the training data's comes in another unit


@dataclass
class Embedder:
    """A run, ready to embed: the method on its device, its facts, and how many images at a time."""

    method: Method
    facts: dict
    batch: int

    @property
    def encoder(self) -> Encoder:
        return self.method.encoder

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, C, ...) stored numbers -> (N, width) float32."""
        try:
            return embed(self.method, images, batch=self.batch).numpy()
        except torch.OutOfMemoryError:
            raise DataError(f"{self.batch} images at a time do not fit on the device; take a smaller --batch") from None


def open_run(run: str | Path, device: str = "auto", batch: int | None = None) -> Embedder:
    """The run in a folder, on a device.

    batch: images at a time; None for about a million pixels.
    Raises CheckpointError, TrainingError (device), DataError (the run reads more than one image of a place).
    """
    folder = Path(run)
    method = load_method(folder)
    facts = encoder_facts(method, read_record(folder))
    if method.needs[0] not in ONE_IMAGE:
        raise DataError(
            f"{facts['method']} reads {method.needs[0]!r}, which is more than one image; use refimpl.embed in Python"
        )
    if batch is not None and batch < 1:
        raise DataError(f"--batch {batch}: at least one image at a time")
    size = method.encoder.input.size
    return Embedder(method.to(choose_device(device)), facts, batch or min(max((1 << 20) // size**2, 16), 8192))


def embed_to_file(
    run: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    bands: str | None = None,
    size: int | None = None,
    stride: int | None = None,
    overlap: int | None = None,
    components: int | None = None,
    nodata: float | None = None,
    batch: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Features of whatever `source` is, written to `out`, which is there whole or not at all; returns `out`.

    A GeoTIFF gives a GeoTIFF (see `refimpl.studies.embed_scene.embed_scene`); a folder or zip of images, an .npz or a
    known data set gives a Parquet table (see `embed_table`).

    Raises:
        DataError, OutputError, CheckpointError, TrainingError: one line with the remedy.
    """
    scene = str(source).lower().endswith(decode.TIFF_SUFFIXES) and not Path(source).is_dir()
    out = Path(out)
    wanted = decode.TIFF_SUFFIXES if scene else (".parquet",)
    if out.suffix.lower() not in wanted:
        kind = "a scene becomes a GeoTIFF" if scene else "images become a Parquet table"
        raise OutputError(f"{out}: {kind}; give --out a name that ends in {wanted[0]}")
    only_scenes = {"stride": stride, "overlap": overlap, "components": components, "nodata": nodata}
    for option, value in ({"size": size} if scene else only_scenes).items():
        if value is not None:
            kind = "images" if scene else "a scene (one GeoTIFF)"
            raise OutputError(f"--{option} is for {kind}, which {Path(source).name} is not; leave it out")
    refuse_existing(out)
    embedder = open_run(run, device, batch)
    if scene:
        from refimpl.studies.embed_scene import embed_scene

        return embed_scene(embedder, Path(source), out, bands=bands, quiet=quiet, **only_scenes)
    return embed_table(embedder, source, out, bands=bands, size=size, quiet=quiet)


def embed_table(
    embedder: Embedder,
    source: str | Path,
    out: Path,
    *,
    bands: Bands = None,
    size: int | None = None,
    quiet: bool = False,
) -> Path:
    """A Parquet table, one row per image: `path`, `embedding` (fixed-size list of float32), `label`, `class` if known.

    The file's metadata holds under the key `refimpl` a JSON text: model, bands, normalisation, training data, input.

    Args:
        source: a folder or zip of images; or an .npz or a known data set, whose rows are called `<name>#<number>`.
        bands: which bands of the files the run's bands are, where their names do not tell.
        size: the run's image size, to say that images of another size are to be cropped to a square and resized.
    """
    pa, pq = _pyarrow()
    encoder = embedder.encoder
    if size is not None and size != encoder.input.size:
        raise DataError(f"--size {size}: the run reads {encoder.input.size} pixels; images can be brought to that only")
    path = Path(source)
    files = path.is_dir() or path.suffix.lower() == ".zip"
    opened = _ImageFiles(path, encoder, bands, size) if files else _Rows(str(source), embedder.method, bands, size)
    with opened as images, whole_file(out) as part:
        columns = [("path", pa.string()), ("embedding", pa.list_(pa.float32(), encoder.width))]
        columns += [("label", pa.int64())] if images.labels is not None else []
        columns += [("class", pa.string())] if images.classes else []
        about = {**embedder.facts, "input": {"name": images.name, "bands": list(images.bands)}}
        schema = pa.schema(columns, metadata={"refimpl": json.dumps(about)})
        total = len(images.names)
        with pq.ParquetWriter(part, schema) as table, Bar("embedding", total, quiet=quiet) as bar:
            for start, stored in one_ahead(images.groups(embedder.batch)):
                if start == 0:
                    _warn_of_units(encoder, stored)
                made = embedder(stored)
                stop = start + len(made)
                values = pa.array(made.reshape(-1), pa.float32())
                row = {
                    "path": images.names[start:stop],
                    "embedding": pa.FixedSizeListArray.from_arrays(values, encoder.width),
                }
                if images.labels is not None:
                    row["label"] = images.labels[start:stop]
                    if images.classes:
                        row["class"] = [images.classes[label] for label in images.labels[start:stop]]
                table.write_table(pa.table(row, schema=schema))
                bar.advance(steps=len(made))
    if not quiet:
        say(f"{out}: {total} rows, {encoder.width} features")
    return out


class _ImageFiles:
    """The image files of a folder or zip: names, labels, and their numbers a group at a time."""

    def __init__(self, path: Path, encoder: Encoder, bands: Bands, size: int | None):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path")
        self.files = Files(path)
        layout = read_layout(self.files)
        self.name, self.names = path.name, layout.names
        self.labels, self.classes = layout.labels, layout.classes
        first, root = layout.names[0], layout.root or path.stem
        where = self.files.where(first)
        every = decode.form_of(self.files.read(first), where, root, size, None)
        if every.size != encoder.input.size:
            raise DataError(
                f"{where}: {every.size} pixels, but the run reads {encoder.input.size}; "
                f"--size {encoder.input.size} crops and resizes"
            )
        picks = match_bands(every.bands, encoder.input.bands, bands, where)
        self.bands = tuple(every.bands[n] for n in picks)
        self.form = replace(every, bands=self.bands, picks=picks)

    def __enter__(self) -> _ImageFiles:
        self.files.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.files.__exit__(*error)

    def groups(self, batch: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first, (n, C, H, W) stored numbers), in order."""
        each = int(np.prod(self.form.shape)) * np.dtype(self.form.dtype).itemsize
        count = _group(batch, each)
        with ThreadPoolExecutor(workers()) as pool:
            for start in range(0, len(self.names), count):
                names = self.names[start : start + count]
                group = np.empty((len(names), *self.form.shape), self.form.dtype)
                list(pool.map(self._decode, names, group))
                yield start, group

    def _decode(self, name: str, out: np.ndarray) -> None:
        decode.decode(self.files.read(name), self.files.where(name), self.form, out)


class _Rows:
    """The rows of an .npz or a known data set, as `_ImageFiles`."""

    def __init__(self, spec: str, method: Method, bands: Bands, size: int | None):
        field = method.needs[0]
        data: Data = known.open_data(spec, bands=bands, size=size, needs=(field, "label"))
        known.require(data, (field,), spec)
        view, wanted = data.inputs[field], method.encoder.input
        if view.size != wanted.size:
            raise DataError(
                f"{data.name}: {view.size} pixels, but the run reads {wanted.size}; add --size {wanted.size}"
            )
        picks = match_bands(view.bands, wanted.bands, view.bands if bands else None, data.name)
        self.bands = tuple(view.bands[n] for n in picks)
        self.data, self.field, self.picks = data, field, list(picks)
        self.name, self.names = data.name, [f"{data.name}#{n}" for n in range(len(data))]
        labels = data.fields.get("label")
        self.labels = None if labels is None else [int(label) for label in labels]
        self.classes = data.classes if labels is not None else ()

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_) -> None:
        pass

    def groups(self, batch: int) -> Iterator[tuple[int, np.ndarray]]:
        every = torch.arange(len(self.data))
        one = self.data.take(self.field, every[:1])
        for rows in every.split(_group(batch, one.nbytes)):
            yield int(rows[0]), self.data.take(self.field, rows).cpu().numpy()[:, self.picks]


def _group(batch: int, image_bytes: int) -> int:
    return max(min(GROUP, GROUP_BYTES // image_bytes), min(batch, GROUP), 1)


def match_bands(names: tuple[str, ...], wanted: tuple[str, ...], asked: Bands, where: str) -> tuple[int, ...]:
    """Positions among a file's bands `names` of the bands `wanted` by an encoder, in its order.

    asked: the person's own choice (names or numbers from 1), which is believed; None to go by names, where B04 is red,
    B03 green, B02 blue. Bands that are only numbered must be as many as are wanted.
    Raises DataError that says what to write.
    """
    if asked:
        picks = pick_bands(names, asked, where)
        if len(picks) != len(wanted):
            raise DataError(
                f"{where}: --bands names {len(picks)}, but the run reads {len(wanted)}: {', '.join(wanted)}"
            )
        return picks
    if same_bands(names, wanted):
        return tuple(range(len(names)))
    unnamed = tuple(str(n + 1) for n in range(len(wanted)))
    if wanted == unnamed and len(names) == len(wanted):
        return tuple(range(len(names)))
    found = [next((n for n, name in enumerate(names) if same_bands((name,), (band,))), None) for band in wanted]
    if wanted == unnamed or None in found:
        example = ",".join(str(n + 1) for n in range(len(wanted)))
        raise DataError(
            f"{where}: its bands are {', '.join(names)}, the run reads {', '.join(wanted)}; "
            f"say which these are, such as --bands {example}"
        )
    return tuple(found)


def _warn_of_units(encoder: Encoder, stored: np.ndarray) -> None:
    if said := odd_units(encoder, stored):
        say(f"warning: {said}", style="yellow")


def odd_units(encoder: Encoder, stored: np.ndarray) -> str:
    """A warning if some band of (N, C, ...) is far from what the encoder was trained on; "" if none is."""
    mean = stored.mean(axis=(0, *range(2, stored.ndim)), dtype=np.float64)
    view = encoder.input
    away = np.abs(mean - view.mean) / view.std
    worst = int(away.argmax())
    if not away[worst] > FAR:
        return ""
    return (
        f"band {view.bands[worst]} averages {mean[worst]:.5g} here and {view.mean[worst]:.5g} in training "
        f"(deviation {view.std[worst]:.5g}): another unit or sensor? Features of such numbers mean little"
    )


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order; the next one is made in a thread while this one is used."""
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, iterator, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, iterator, end)
            yield item


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise OutputError(
            "a Parquet table needs pyarrow; install it with: pip install 'ssl-for-earth[table]'"
        ) from None
    return pyarrow, pyarrow.parquet
