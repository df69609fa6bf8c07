"""Where every sample of a set of shards lies, and what is said of it: read from the headers once, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from refimpl.data import store
from refimpl.data.dataset import DataError
from refimpl.data.files import LARGEST_FILE
from refimpl.data.layout import IMAGE_SUFFIXES, SPLIT_WORDS
from refimpl.data.words import one_line, readable_bytes
from refimpl.engine.progress import Bar, console

ARRAYS = (".npy", ".npz")
IMAGES = (*IMAGE_SUFFIXES, *ARRAYS)
NOTES = (".cls", ".json")  # what says something of a sample
TOLD = ("label", "class", "location")
LARGEST_NOTE, LARGEST_LABEL = 1 << 20, 1 << 16
PEEK = 256  # bytes at the end of every image that the digest covers; compressed images differ there
BLOCK = 512  # of a tar file
_COMPRESSED = (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")  # how gzip, bzip2, xz and zstandard files begin


def read_index(paths: Sequence[Path]) -> store.Store:
    """The index of these shards, from the cache or from their headers. Raises DataError that names shard and remedy.

    Arrays: name (N,) bytes, shard, offset, length (N,), and where the samples have them label (N,), location (N, 2).
    Facts: bytes and split of the shards, classes, and a digest that is the same on every machine.
    """
    h = hashlib.sha256()
    for path in paths:
        about = path.stat()
        h.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    folder = store.store_folder(f"{paths[0].parent.name}-index", h.hexdigest(), {"shards": 2})
    return store.build(folder, lambda part: _fill(part, paths))


def _fill(folder: Path, paths: Sequence[Path]) -> dict:
    """Writes the index into a store under construction; returns its facts."""
    digest, blocks, told = hashlib.sha256(), [], {key: [] for key in TOLD}
    quiet = not console.is_terminal or len(paths) == 1
    with Bar("reading the headers of shards once", len(paths), quiet=quiet) as bar:
        for number, path in enumerate(paths):
            found = list(_samples(path, digest))
            names = np.array([name.encode() for name, *_ in found], dtype=bytes)
            places = np.array([place for _, *place, _ in found], np.int64).reshape(-1, 2)
            blocks.append((names, np.full(len(found), number, np.int32), *places.T))
            for key, column in told.items():
                column += [note.get(key) for *_, note in found]
            bar.advance()
    columns = [np.concatenate(column) for column in zip(*blocks)]
    if not len(columns[0]):
        others = ", nor do the other shards" if len(paths) > 1 else ""
        raise DataError(
            f"{paths[0].name}: holds no images ({', '.join(IMAGES)}){others}; docs/data.md shows how shards are written"
        )

    def where(number: int) -> str:
        return f"{paths[columns[1][number]].name}: {columns[0][number].decode()}"

    labels, classes = _classes(*(_of_all(told[key], key, where) for key in ("label", "class")), where)
    location = _of_all(told["location"], "location", where)
    columns = dict(zip(("name", "shard", "offset", "length"), columns))
    for name, column in {**columns, "label": labels, "location": location}.items():
        if column is not None:
            np.save(folder / f"{name}.npy", np.asarray(column, np.float32 if name == "location" else None))
    return {
        "bytes": [path.stat().st_size for path in paths],
        "split": _split_of(paths),
        "classes": classes,
        "digest": digest.hexdigest(),
    }


def _samples(path: Path, digest) -> Iterator[tuple[str, int, int, dict]]:
    """(name, offset, length of the image, what is said of it) of every sample of a shard."""
    key, image, note = "", None, {}
    try:
        size = path.stat().st_size
        with open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                if not member.isreg() or member.name.rpartition("/")[2].startswith("."):
                    continue
                where, end = f"{path.name}: {member.name}", member.offset_data + member.size
                if end > size:
                    raise DataError(f"{where}: cut short: it ends at byte {end}, the file at {size}; get it again")
                this, suffix = _key(member.name)
                if this != key:
                    yield from _whole_sample(image, note, f"{path.name}: {key}")
                    key, image, note = this, None, {}
                digest.update(f"{member.name}\0{member.size}\0".encode())
                if suffix in IMAGES and image is None:
                    if not 0 < member.size <= LARGEST_FILE:
                        raise DataError(f"{where}: has {readable_bytes(member.size)}, which is no image; remove it")
                    image = member.name, member.offset_data, member.size
                    peek = min(PEEK, member.size)
                    digest.update(os.pread(raw.fileno(), peek, end - peek))
                elif suffix in NOTES and member.size <= LARGEST_NOTE:
                    content = os.pread(raw.fileno(), member.size, member.offset_data)
                    digest.update(content)
                    note.update(_note(content, suffix, where))
            yield from _whole_sample(image, note, f"{path.name}: {key}")
            # tarfile ends in silence at a header that it cannot read; after the last member must be a block of zeros.
            if os.pread(raw.fileno(), BLOCK, archive.offset) != bytes(BLOCK):
                raise DataError(
                    f"{path.name}: neither a member nor the mark of the end at byte {archive.offset} of {size}; "
                    "get it again"
                )
    except (tarfile.TarError, EOFError) as error:
        with open(path, "rb") as file:
            hint = "unpack its compression (gunzip)" if file.read(2) in _COMPRESSED else "get it again"
        raise DataError(f"{path.name}: no whole tar file ({one_line(error)}); {hint}") from None
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror}); repair or remove it") from None


def _whole_sample(image: tuple[str, int, int] | None, note: dict, where: str) -> Iterator[tuple[str, int, int, dict]]:
    if image is not None:
        yield (*image, note)
    elif note:
        raise DataError(
            f"{where}: has a {next(iter(note))} but no image beside it; "
            "files of a sample must follow one another (tar --sort=name)"
        )


def _key(name: str) -> tuple[str, str]:
    """ "a/0001.seg.PNG" -> ("a/0001", ".png"), as WebDataset parts names: at the first dot; the last suffix decides."""
    folder, _, leaf = name.rpartition("/")
    stem, _, rest = leaf.partition(".")
    return f"{folder}/{stem}", "." + rest.rpartition(".")[2].lower()


def _note(content: bytes, suffix: str, where: str) -> dict:
    """What a .cls or .json member says of its sample: label, class, location."""
    try:
        if suffix == ".cls":
            text = content.decode().strip()
            told = {"label": int(text)} if text.lstrip("-").isdecimal() else {"class": text}
        else:
            told = dict(json.loads(content))
        told = {key: told[key] for key in TOLD if told.get(key) is not None}
        if "label" in told and not (type(told["label"]) is int and 0 <= told["label"] < LARGEST_LABEL):
            raise ValueError(f"label {told['label']!r} is not a whole number from 0 to {LARGEST_LABEL - 1}")
        if "class" in told and not (isinstance(told["class"], str) and told["class"]):
            raise ValueError(f"class {told['class']!r} is not a name")
        if "location" in told:
            east, north = told["location"] = tuple(map(float, told["location"]))
            if not (math.isfinite(east) and math.isfinite(north)):
                raise ValueError("location is not finite")
        return told
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: {one_line(error)}; docs/data.md says what it may hold") from None


def _of_all(column: list, key: str, where) -> list | None:
    """What every sample has; None if none has it. Raises DataError if only some have it."""
    without = next((n for n, value in enumerate(column) if value is None), None)
    if without is None:
        return column
    if any(value is not None for value in column):
        raise DataError(f"{where(without)}: has no {key}, but others have one; give it to all or to none")
    return None


def _classes(labels: list[int] | None, names: list[str] | None, where) -> tuple[list[int] | None, list[str]]:
    """Class numbers of the samples and the names of the classes."""
    if labels is None:
        classes = sorted(set(names or ()))
        number = {name: n for n, name in enumerate(classes)}
        return names and [number[name] for name in names], classes
    called: dict[int, str] = {}
    for sample, (label, name) in enumerate(zip(labels, names or ())):
        if called.setdefault(label, name) != name:
            raise DataError(f"{where(sample)}: label {label} is class {name!r} here but {called[label]!r} before")
    return labels, [called.get(n, str(n)) for n in range(max(labels) + 1)]


def _split_of(paths: Sequence[Path]) -> list[str] | None:
    """ "train", "val" or "test" of every shard, if all say so: "train-0001.tar" or "train/0001.tar"."""
    found = []
    for path in paths:
        words = path.parent.name.lower(), path.stem.lower().replace("_", "-").split("-")[0]
        found.append(next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None))
    return None if None in found else found
