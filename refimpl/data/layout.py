"""Which images a folder or archive holds, their classes, and which samples train, validate and test.

Three layouts are understood, in this order:

1. `<root>/index.csv` with the columns `path` (relative to it) and, where known, `label`, `class`, `split`;
2. class folders, `<root>/<class>/.../image`, also below folders called train, val and test;
3. pairs with a change mask, `<root>/.../A/name`, `<root>/.../B/name`, `<root>/.../label/name`: before, after, change;
4. all images in one folder: no classes.

`<root>` is the deepest folder that holds everything, so an archive with one top folder needs no special care.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from refimpl.data.dataset import DataError
from refimpl.data.files import Files

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
SHARES = {"train": 0.60, "val": 0.15, "test": 0.25}
_PAIR_FOLDERS = ("A", "B", "label")
SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Layout:
    """What the names alone tell.

    root: folder that holds everything, "" at the top. names: full names within the archive of the image of each
    sample, or of the one before; others: names of what else each sample has, by field ("after", "change").
    labels: class number of each, or None. split: "train", "val" or "test" of each, or None.
    """

    root: str
    names: list[str]
    classes: tuple[str, ...] = ()
    labels: list[int] | None = None
    split: list[str] | None = None
    others: dict[str, list[str]] = field(default_factory=dict)


def read_layout(files: Files) -> Layout:
    """The layout of a folder or archive. Raises DataError when it holds no images or contradicts itself."""
    images = [name for name in files.names if name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        if any(name.endswith(".tar") for name in files.names):
            raise DataError(f"{files.path.name}: holds .tar files; they are read with --data shards:{files.path}")
        held = f"its first file is {files.names[0]}" if files.names else "it is empty"
        raise DataError(
            f"{files.path.name}: holds no images ({', '.join(IMAGE_SUFFIXES)}); {held}; "
            "expected class folders of images, or a zip of those"
        )
    indexes = [name for name in files.names if PurePosixPath(name).name == "index.csv"]
    if indexes:
        return _from_index(files, min(indexes, key=lambda name: name.count("/")), set(images))
    if {PurePosixPath(name).parent.name for name in images} == set(_PAIR_FOLDERS):
        return _from_pairs(files, images)
    return _from_folders(files, images)


def _from_pairs(files: Files, images: list[str]) -> Layout:
    parts: dict[str, dict[tuple[str, str], str]] = {name: {} for name in _PAIR_FOLDERS}
    for name in images:
        path = PurePosixPath(name)
        parts[path.parent.name][str(path.parent.parent), path.stem] = name
    for one, names in parts.items():
        for other in _PAIR_FOLDERS:
            if lonely := sorted(set(names) - set(parts[other])):
                name = names[lonely[0]]
                raise DataError(
                    f"{files.where(name)}: has no partner in folder {other!r} beside {one!r}; add or remove"
                )
    keys = sorted(parts["A"])
    before, *others = ([parts[folder][key] for key in keys] for folder in _PAIR_FOLDERS)
    return Layout("", before, others=dict(zip(("after", "change"), others)))


def _from_folders(files: Files, images: list[str]) -> Layout:
    folders = [PurePosixPath(name).parts[:-1] for name in images]
    depth = 0
    while all(len(parts) > depth for parts in folders) and len({parts[depth] for parts in folders}) == 1:
        depth += 1
    root = "/".join(folders[0][:depth])
    below = [parts[depth:] for parts in folders]

    split = None
    if all(parts and parts[0].lower() in SPLIT_WORDS for parts in below):
        split = [SPLIT_WORDS[parts[0].lower()] for parts in below]
        below = [parts[1:] for parts in below]
    if not any(below):
        return Layout(root, images, split=split)
    if not all(below):
        lost = images[next(n for n, parts in enumerate(below) if not parts)]
        raise DataError(f"{files.where(lost)}: lies outside every class folder; move it into one or remove it")
    classes = tuple(sorted({parts[0] for parts in below}))
    if len(classes) == 1:
        return Layout(root, images, split=split)
    number = {name: n for n, name in enumerate(classes)}
    return Layout(root, images, classes, [number[parts[0]] for parts in below], split)


def _from_index(files: Files, index: str, images: set[str]) -> Layout:
    root = str(PurePosixPath(index).parent).removesuffix(".")
    try:
        rows = list(csv.DictReader(io.StringIO(files.read(index).decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{files.where(index)}: not a UTF-8 CSV table ({error}); write it again") from None
    if not rows or "path" not in rows[0]:
        raise DataError(f"{files.where(index)}: needs a header with the column 'path' (and label, class, split)")
    names, labels, classes, split = [], [], {}, []
    has_label, has_class, has_split = ("label" in rows[0], "class" in rows[0], "split" in rows[0])
    number = {name: n for n, name in enumerate(sorted({row["class"] or "" for row in rows}))} if has_class else {}
    for line, row in enumerate(rows, start=2):
        place = f"{files.where(index)} line {line}"
        name = f"{root}/{row['path']}" if root else row["path"] or ""
        if name not in images:
            raise DataError(f"{place}: no image {row['path']!r} beside it; correct the path or remove the line")
        names.append(name)
        if has_label and not (row["label"] or "").isdecimal():
            raise DataError(f"{place}: label {row['label']!r} is not a whole number from 0")
        if has_label or has_class:
            label = int(row["label"]) if has_label else number[row["class"]]
            called = row["class"] if has_class else str(label)
            if classes.setdefault(label, called) != called:
                raise DataError(f"{place}: label {label} is class {called!r} here but {classes[label]!r} above")
            labels.append(label)
        if has_split:
            if (row["split"] or "").lower() not in SPLIT_WORDS:
                raise DataError(f"{place}: split {row['split']!r} is none of train, val, test")
            split.append(SPLIT_WORDS[row["split"].lower()])
    if classes and sorted(classes) != list(range(len(classes))):
        missing = next(n for n in range(max(classes) + 1) if n not in classes)
        raise DataError(f"{files.where(index)}: no image has label {missing}; labels must count up from 0")
    return Layout(root, names, tuple(classes[n] for n in sorted(classes)), labels or None, split or None)


def make_splits(
    count: int,
    labels: np.ndarray | None = None,
    given: np.ndarray | None = None,
    location: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Sample numbers of "train", "val" and "test", sorted.

    given: "train", "val" or "test" of each of `count` samples, where the data set says so. Without a test part in it,
    or without it at all, each class of `labels` is dealt 60 / 15 / 25 % by a seeded shuffle of its own; without
    a val part, a fifth of the train part of each class becomes it. Samples at the very same `location` (N, 2), such as
    one field in several years, stay together: the first of them is dealt and the others follow it.
    """
    labels = np.zeros(count, int) if labels is None else labels
    if given is not None and (given == "test").any() and (given == "train").any():
        splits = {name: np.flatnonzero(given == name) for name in SHARES}
        if len(splits["val"]) == 0:
            train = splits["train"]
            parts = _deal(labels[train], (0.8, 0.2, 0.0), seed)
            splits["train"], splits["val"] = train[parts[0]], train[parts[1]]
        return splits
    first, place = np.arange(count), np.arange(count)
    if location is not None:
        _, first, place = np.unique(location, axis=0, return_index=True, return_inverse=True)
    parts = _deal(labels[first], tuple(SHARES.values()), seed)
    return {name: np.flatnonzero(np.isin(place.ravel(), part)) for name, part in zip(SHARES, parts)}


def _deal(groups: np.ndarray, shares: tuple[float, float, float], seed: int) -> list[np.ndarray]:
    """Sample numbers dealt into three parts, each group by itself."""
    parts = [[], [], []]
    for number, group in enumerate(np.unique(groups)):
        members = np.flatnonzero(groups == group)
        members = members[np.random.default_rng([seed, number]).permutation(len(members))]
        first = max(1, round(shares[0] * len(members)))
        second = first + round(shares[1] * len(members)) if shares[2] else len(members)
        for part, piece in zip(parts, (members[:first], members[first:second], members[second:])):
            part.append(piece)
    return [np.sort(np.concatenate(part)) if part else np.zeros(0, int) for part in parts]


def draw_subset(count: int, wanted: int, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """`wanted` of `count` sample numbers, sorted: a seeded draw that keeps the shares of the groups."""
    if wanted >= count:
        return np.arange(count)
    order = np.random.default_rng(seed).permutation(count)
    if groups is not None:
        # Interleave the groups: the k-th member of a group of n gets rank (k + 1/2) / n, and the lowest ranks win.
        rank = np.empty(count)
        for group in np.unique(groups):
            members = order[groups[order] == group]
            rank[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.argsort(rank[order], kind="stable")]
    return np.sort(order[:wanted])
