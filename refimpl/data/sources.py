"""A path becomes `Data`: a folder of class folders, a zip of those, a folder or zip of GeoTIFFs, an .npz file.

Layouts and splits are explained in `refimpl.data.layout`, arrays in `refimpl.data.arrays`, caching in
`refimpl.data.store`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

import numpy as np

from refimpl.data import decode, store
from refimpl.data.arrays import open_npz
from refimpl.data.bands import PUBLISHED_SENSOR, Bands
from refimpl.data.dataset import FIELDS, Data, DataError, Input, band_moments
from refimpl.data.files import Files
from refimpl.data.layout import draw_subset, make_splits, read_layout
from refimpl.data.places import locations
from refimpl.data.words import did_you_mean


def open_path(
    path: str | Path,
    *,
    bands: Bands = None,
    size: int | None = None,
    seed: int = 0,
    samples: int | None = None,
    needs: tuple[str, ...] = (),
) -> Data:
    """The data set at `path`.

    bands: which to keep, names or numbers from 1 ("B04,B03,B02" or "4,3,2"). size: pixels that every image is brought
    to (centre square, then resized); for an .npz scene the side of a tile. seed: of the split when the set brings none.
    samples: use only so many, drawn evenly over classes. needs: fields that will be used, to leave out costly others;
    () for all.
    Raises DataError, one line that names the file and the remedy.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))  # "." has a name then
    check_wishes(size, samples)
    if not path.exists():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, beside, otherwise="check the path")
        raise DataError(f"{path}: no such file or folder{hint}")
    if path.suffix.lower() == ".npz":
        return open_npz(path, bands=bands, size=size, seed=seed, samples=samples, needs=needs)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _open_images(path, bands, size, seed, samples)
    kind = path.suffix or "a file without a suffix"
    raise DataError(f"{path.name}: {kind} is not read; pass a folder of images, a .zip of those, or an .npz")


def check_wishes(size: int | None, samples: int | None) -> None:
    """Raise DataError for a size or a number of samples that makes no sense."""
    if size is not None and not 1 <= size <= 4096:
        raise DataError(f"--size {size}: the side of an image must lie between 1 and 4096 pixels")
    if samples is not None and samples < 1:
        raise DataError(f"--samples {samples}: at least one sample is needed")


def _open_images(path: Path, bands: Bands, size: int | None, seed: int, samples: int | None) -> Data:
    wanted = bands.split(",") if isinstance(bands, str) else list(bands or ())
    asked = {
        "bands": [str(band).strip() for band in wanted],
        "size": size,
        "subset": [samples, seed] if samples else None,
    }
    content = store.fingerprint(path)
    kept = store.build(
        store.store_folder(path.name, content, asked),
        lambda folder: _fill(folder, path, asked["bands"], size, seed, samples),
    )
    facts = kept.facts
    labels = kept.arrays.get("label")
    given = np.array(facts["split"]) if facts["split"] else None
    main = "image" if "image" in kept.arrays else "before"
    splits = make_splits(len(kept.arrays[main]), labels, given, kept.arrays.get("location"), seed)
    mean, std = _moments(kept, main, splits["train"])
    view = Input(tuple(facts["bands"]), kept.arrays[main].shape[-1], mean, std, facts["sensor"])
    return Data(
        name=path.name,
        fields={name: kept.arrays[name] for name in FIELDS if name in kept.arrays},
        # Both images of a pair go through one encoder, so they share one normalisation.
        inputs={name: view for name in ("image", "before", "after") if name in kept.arrays},
        splits=splits,
        classes=tuple(facts["classes"]),
        source=f"{path.name} (sha256 {content[:16]})" if path.is_file() else f"folder {path.name}",
    )


def _fill(folder: Path, path: Path, bands: list[str], size: int | None, seed: int, samples: int | None) -> dict:
    """Decode the images of `path` into a store under construction; returns the facts of its manifest."""
    with Files(path) as files:
        layout = read_layout(files)
        labels = None if layout.labels is None else np.array(layout.labels)
        split = None if layout.split is None else np.array(layout.split)
        chosen = np.arange(len(layout.names))
        if samples:
            groups = labels if labels is not None else np.zeros(len(chosen), int)
            if split is not None:
                groups = groups * 3 + np.unique(split, return_inverse=True)[1]
            chosen = draw_subset(len(chosen), samples, groups, seed)
        names = [layout.names[n] for n in chosen]
        root = layout.root or path.stem
        form = decode.form_of(files.read(names[0]), files.where(names[0]), root, size, bands)
        main = "before" if layout.others else "image"
        places = store.decode_all(files, names, form, folder / f"{main}.npy")
        for other, of_all in layout.others.items():
            _fill_other(folder, files, other, [of_all[n] for n in chosen], form)
    if labels is not None:
        np.save(folder / "label.npy", labels[chosen].astype(np.int64))
    where = locations(places)
    if where is not None:
        np.save(folder / "location.npy", where.astype(np.float32))  # to half a metre within a UTM zone
    return {
        "source": path.name,
        "bands": form.bands,
        "sensor": PUBLISHED_SENSOR.get(PurePosixPath(root).name, ""),
        "classes": layout.classes,
        "split": None if split is None else split[chosen].tolist(),
        "names": names,
    }


def _fill_other(folder: Path, files: Files, field: str, names: list[str], form: decode.Form) -> None:
    """Decode the second image or the mask of every pair in the form of the first; masks become 0 and 1, (N, H, W)."""
    if field != "change":
        store.decode_all(files, names, form, folder / f"{field}.npy")
        return
    as_mask = decode.form_of(files.read(names[0]), files.where(names[0]), "", None if form.exact else form.size, ["1"])
    if as_mask.size != form.size:
        raise DataError(
            f"{files.where(names[0])}: {as_mask.size} pixels but its images have {form.size}; --size N helps"
        )
    raw = folder / "mask.npy"
    store.decode_all(files, names, as_mask, raw)
    np.save(folder / "change.npy", (np.load(raw, mmap_mode="r", allow_pickle=False)[:, 0] > 0).astype(np.uint8))
    raw.unlink()


def _moments(kept: store.Store, main: str, train: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the bands over the training part, remembered beside the decoded images."""
    digest = store.hash_of_bytes(train.astype(np.int64).tobytes())
    path = kept.folder / f"moments-{digest}.json"
    try:
        mean, std = json.loads(path.read_text(encoding="utf-8"))
        return tuple(mean), tuple(std)
    except (OSError, ValueError, TypeError):
        mean, std = band_moments(kept.arrays[main], train)
        store.remember(path, json.dumps([mean, std]).encode())
        return mean, std
