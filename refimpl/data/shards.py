"""Shards: data that no disk holds decoded, read from .tar files as they are (`--data shards:FOLDER` or `shards:GLOB`).

The format is that of WebDataset: members of one tar file that share a name up to its first dot are one sample,

    0001.jpg  0001.cls        an image (.jpg .png .tif .npy .npz) and the number of its class, or
    0002.tif  0002.json       {"label": 3} or {"class": "forest"}, and where known "location": [easting, northing]

and follow one another. The tar files are not compressed. The library of that name reads them in passing, which leaves
the order to the number of workers; here every sample must be found by its number, so that the order is a function of
(seed, epoch) and a resumed run needs no position. So the headers of all shards are read once into an index (shard,
offset, length of every image), kept in the cache like a decoded set, and Python's tarfile is all it takes.

`ShardField` looks like an array to the engine and decodes what is asked of it. A shard is read whole, from its first
byte to its last, and kept in a memory of bounded size; `Data.chunks` tells the engine which samples lie together, and
it shuffles shards, then samples within a window of them (`refimpl.engine.feed.epoch_order`), so that every shard is
read once an epoch. Only samples of one window meet in a batch: shuffle them before you write shards.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from refimpl.data import decode, store
from refimpl.data.bands import PUBLISHED_SENSOR, Bands, pick_bands
from refimpl.data.dataset import Data, DataError, Input, band_moments
from refimpl.data.files import LARGEST_FILE
from refimpl.data.layout import SPLIT_WORDS, draw_subset, make_splits
from refimpl.data.words import did_you_mean, one_line, readable_bytes

PREFIX = "shards:"
ARRAYS = (".npy", ".npz")
IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", *ARRAYS)
# Both are constants, not shares of this machine's memory: the order of samples depends on the first.
WINDOW = 512 << 20  # bytes of the shards that are shuffled into one another
MEMORY = 2 * WINDOW  # bytes of shards kept at most; a batch at a window's end needs the next one's too
BLOCK = 512  # of a tar file
PEEK = 256  # bytes of every image that its digest covers


def open_shards(
    pattern: str, *, bands: Bands = None, size: int | None = None, seed: int = 0, samples: int | None = None
) -> Data:
    """The data set in the .tar files of a folder, or that a pattern such as "train-*.tar" matches.

    Arguments as in `refimpl.data.sources.open_path`. Shards called train..., val..., test... (or in folders of those
    names) bring their split. Raises DataError, one line that names the shard and the remedy.
    """
    paths = find_shards(pattern)
    index = _index(paths)
    facts, arrays = index.facts, index.arrays
    count = len(arrays["offset"])
    given = np.array(facts["split"])[arrays["shard"]] if facts["split"] else None
    labels, location = arrays.get("label"), arrays.get("location")
    chosen = np.arange(count)
    if samples:
        chosen = draw_subset(count, samples, labels, seed)
        given, labels, location = (None if of is None else np.asarray(of)[chosen] for of in (given, labels, location))
    reader = ShardReader(paths, facts["bytes"])
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
        inputs={"image": image.input(_moments(index, image, splits["train"]))},
        splits=splits,
        classes=tuple(facts["classes"]),
        source=f"{len(paths)} shards, {readable_bytes(sum(facts['bytes']))} (digest {facts['digest'][:16]})",
        chunks=np.asarray(arrays["shard"])[chosen],
        window=max(1, WINDOW // max(facts["bytes"])),
    )


def find_shards(pattern: str) -> list[Path]:
    """The .tar files that a folder holds or a pattern matches, sorted. Raises DataError where there are none."""
    text = os.path.abspath(Path(pattern).expanduser())
    folder = Path(text)
    found = sorted(folder.rglob("*.tar")) if folder.is_dir() else sorted(map(Path, glob.glob(text, recursive=True)))
    found = [path for path in found if path.is_file()]
    if not found:
        beside = [other.name for other in folder.parent.iterdir()] if folder.parent.is_dir() else []
        hint = did_you_mean(folder.name, beside, otherwise="name a folder of .tar files or a pattern of them in quotes")
        raise DataError(f"{PREFIX}{pattern}: no .tar file there{hint}")
    return found


def _name(pattern: str) -> str:
    """ "data/train-*.tar" -> "data", "data/" -> "data": how the set is called."""
    path = Path(os.path.abspath(Path(pattern).expanduser()))
    return path.parent.name if glob.has_magic(path.name) else path.name.removesuffix(".tar")


# -- the index ---------------------------------------------------------------------------------------------------------


def _index(paths: Sequence[Path]) -> store.Store:
    """Where every sample lies, from the cache, or from the headers of all shards.

    Arrays: shard (N,), offset (N,), length (N,), and where every sample has them label (N,), location (N, 2). Facts:
    names, bytes and split of the shards, names of the images, classes, and a digest that is the same on every machine.
    """
    h = hashlib.sha256()
    for path in paths:
        about = path.stat()
        h.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    folder = store.store_folder(f"{paths[0].parent.name}-index", h.hexdigest(), {"shards": 1})
    return store.build(folder, lambda part: _scan_all(part, paths))


def _scan_all(folder: Path, paths: Sequence[Path]) -> dict:
    """Writes the index of all shards into a store under construction; returns its facts."""
    digest = hashlib.sha256()
    rows: list[tuple[int, int, int]] = []
    names, notes = [], []
    for number, path in enumerate(paths):
        for name, offset, length, note in _scan(path, digest):
            rows.append((number, offset, length))
            names.append(name)
            notes.append(note)
    if not rows:
        raise DataError(
            f"{paths[0].name}: holds no images ({', '.join(IMAGES)}), nor do the other shards; see the docs"
        )
    shard, offset, length = np.array(rows, np.int64).T
    np.save(folder / "shard.npy", shard.astype(np.int32))
    np.save(folder / "offset.npy", offset)
    np.save(folder / "length.npy", length)
    classes = _keep_notes(folder, notes)
    return {
        "shards": [path.name for path in paths],
        "bytes": [path.stat().st_size for path in paths],
        "split": _split_of(paths),
        "names": names,
        "classes": classes,
        "digest": digest.hexdigest(),
    }


def _scan(path: Path, digest) -> list[tuple[str, int, int, dict]]:
    """(name, offset, length, note) of every sample of a shard. Raises DataError that names the shard and the place."""
    found: list[tuple[str, int, int, dict]] = []
    key, image, note = "", None, {}

    def close_sample() -> None:
        if image is not None:
            found.append((*image, note))

    try:
        size, end = path.stat().st_size, 0
        with open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK if member.isreg() else archive.offset
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    raise DataError(
                        _torn(path, member.offset_data, member.name, member.offset_data + member.size, size)
                    )
                here, suffix = _key(member.name)
                if here != key:
                    close_sample()
                    key, image, note = here, None, {}
                digest.update(f"{member.name}\0{member.size}\0".encode())
                if suffix in IMAGES and image is None:
                    if member.size > LARGEST_FILE:
                        raise DataError(f"{path.name}: {member.name} is larger than {readable_bytes(LARGEST_FILE)}")
                    image = member.name, member.offset_data, member.size
                    digest.update(os.pread(raw.fileno(), min(PEEK, member.size), member.offset_data))
                elif suffix in (".cls", ".json") and member.size < 1 << 20:
                    content = os.pread(raw.fileno(), member.size, member.offset_data)
                    digest.update(content)
                    note.update(_note(content, suffix, f"{path.name}: {member.name}"))
            close_sample()
            if os.pread(raw.fileno(), BLOCK, end) != bytes(BLOCK):
                raise DataError(f"{path.name}: ends at byte {size} without the mark of its end; get it again")
    except tarfile.ReadError as error:
        hint = "unpack its compression (gunzip)" if _is_compressed(path) else "get it again"
        raise DataError(f"{path.name}: no whole tar file ({one_line(error)}, byte {end} of {size}); {hint}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path.name}: cannot be read ({one_line(error)}); repair or remove it") from None
    return found


def _torn(path: Path, offset: int, name: str, end: int, size: int) -> str:
    return f"{path.name}: cut short: {name} at byte {offset} ends at byte {end}, the file at {size}; get it again"


def _is_compressed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")


def _key(name: str) -> tuple[str, str]:
    """ "a/0001.seg.png" -> ("a/0001", ".png"), as WebDataset parts names: at the first dot; the last suffix decides."""
    folder, _, leaf = name.rpartition("/")
    stem, _, rest = leaf.partition(".")
    return f"{folder}/{stem}", "." + rest.rpartition(".")[2].lower()


def _note(content: bytes, suffix: str, where: str) -> dict:
    """What a .cls or .json member says of its sample: label, class, location."""
    try:
        if suffix == ".cls":
            text = content.decode().strip()
            return {"label": int(text)} if text.lstrip("-").isdigit() else {"class": text}
        told = json.loads(content)
        kept = {key: told[key] for key in ("label", "class", "location") if key in told}
        if "label" in kept:
            kept["label"] = int(kept["label"])
        if "location" in kept:
            east, north = kept["location"]
            kept["location"] = float(east), float(north)
        return kept
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where}: not understood ({one_line(error)}); see the docs for what it may hold") from None


def _keep_notes(folder: Path, notes: list[dict]) -> list[str]:
    """Writes labels and locations where every sample has them; returns the names of the classes."""
    if all("location" in note for note in notes):
        np.save(folder / "location.npy", np.array([note["location"] for note in notes], np.float32))
    if all("class" in note for note in notes):
        classes = sorted({str(note["class"]) for note in notes})
        number = {name: n for n, name in enumerate(classes)}
        np.save(folder / "label.npy", np.array([number[str(note["class"])] for note in notes], np.int64))
        return classes
    if all("label" in note for note in notes):
        labels = np.array([note["label"] for note in notes], np.int64)
        if labels.min() < 0:
            raise DataError(f"the label of sample {int(labels.argmin())} is {labels.min()}; number classes from 0")
        np.save(folder / "label.npy", labels)
        return [str(n) for n in range(int(labels.max()) + 1)]
    return []


def _split_of(paths: Sequence[Path]) -> list[str] | None:
    """ "train", "val" or "test" of every shard, if all say so: "train-0001.tar" or "train/0001.tar"."""
    found = []
    for path in paths:
        words = [path.parent.name.lower(), path.name.lower().replace("_", "-").split("-")[0].removesuffix(".tar")]
        found.append(next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None))
    return None if None in found else found


# -- reading -----------------------------------------------------------------------------------------------------------


class ShardReader:
    """Bytes of members, by shard and place; whole shards are kept while they fit.

    memory: bytes of shards that are kept at most. held: how many are now. reads: bytes read from disk so far.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], memory: int = MEMORY):
        self.paths, self.sizes, self.memory = list(paths), list(sizes), memory
        self.held, self.reads = 0, 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()  # the least recently used first
        self._lock = threading.Lock()

    def pieces(self, shard: np.ndarray, offset: np.ndarray, length: np.ndarray) -> list[bytes | memoryview]:
        """The bytes of some members, in the order in which they are asked for.

        Shards are read whole if all that are asked for fit into memory together: then the next request most likely
        asks for the same ones. A request that is spread over more of them is read piece by piece.
        """
        asked = np.unique(shard)
        found: list[bytes | memoryview] = [b""] * len(shard)
        with self._lock:
            whole = len(shard) > len(asked) and sum(self.sizes[s] for s in asked) <= self.memory
            for s in asked:
                rows = np.flatnonzero(shard == s)
                content = self._whole(int(s), set(asked.tolist())) if whole or s in self._kept else None
                for row in rows[np.argsort(offset[rows])]:
                    place, size = int(offset[row]), int(length[row])
                    if content is not None:
                        found[row] = memoryview(content)[place : place + size]
                    else:
                        found[row] = self._read(int(s), place, size)
        return found

    def _whole(self, shard: int, needed: set[int]) -> bytes:
        if shard not in self._kept:
            # Those of this request go last: they are needed in a moment.
            for old in [s for s in self._kept if s not in needed] + [s for s in self._kept if s in needed]:
                if self.held + self.sizes[shard] <= self.memory:
                    break
                self.held -= len(self._kept.pop(old))
            content = self._read(shard, 0, self.sizes[shard])
            self._kept[shard] = content
            self.held += len(content)
        self._kept.move_to_end(shard)
        return self._kept[shard]

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        """Raises DataError that names the shard and the place."""
        path = self.paths[shard]
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                parts = []
                while length > sum(map(len, parts)) and (part := file.read(length - sum(map(len, parts)))):
                    parts.append(part)
                content = parts[0] if len(parts) == 1 else b"".join(parts)
        except FileNotFoundError:
            raise DataError(f"{path.name}: vanished while it was in use; put it back, then --resume") from None
        except OSError as error:
            raise DataError(f"{path.name}: cannot be read at byte {offset} ({error.strerror}); then --resume") from None
        if len(content) < length:
            end = offset + len(content)
            raise DataError(f"{path.name}: cut short at byte {end} while it was in use; put it back, then --resume")
        self.reads += len(content)
        return content


class ShardField:
    """The images of a data set in shards, (N, C, H, W): like an array, but decoded when they are asked for.

    field[index] with an array of sample numbers (or a slice, or one number) gives an array of the images in that order.
    digest: hash of the index, for `Data.digest`, which so needs not decode every image.
    """

    def __init__(self, reader: ShardReader, index: store.Store, chosen: np.ndarray, size: int | None, bands: list[str]):
        self._reader, self._chosen = reader, chosen
        self._shard, self._offset, self._length = (index.arrays[name] for name in ("shard", "offset", "length"))
        self._names = index.facts["names"]
        first = int(chosen[0])
        (raw,) = self._bytes(np.array([first]))
        root = reader.paths[0].parent.name
        self._form = _form_of(bytes(raw), self._where(first), root, size, bands)
        self._sensor = PUBLISHED_SENSOR.get(root, "")
        self.dtype = np.dtype(self._form.dtype)
        self.shape = (len(chosen), *self._form.shape)
        self.ndim = len(self.shape)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        wishes = repr((self._form, store.hash_of_bytes(np.ascontiguousarray(chosen, np.int64).tobytes())))
        self.digest = hashlib.sha256((index.facts["digest"] + wishes).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index) -> np.ndarray:
        asked = np.arange(len(self))[index]
        numbers = self._chosen[np.atleast_1d(asked)]
        raws = self._bytes(numbers)
        out = np.empty((len(numbers), *self._form.shape), self.dtype)

        def fill(row: int) -> None:
            _decode(raws[row], self._where(int(numbers[row])), self._form, out[row])

        if len(numbers) < 8 or store.workers() == 1:
            for row in range(len(numbers)):
                fill(row)
        else:
            with ThreadPoolExecutor(store.workers()) as pool:  # decoders free the interpreter
                list(pool.map(fill, range(len(numbers))))
        return out[0] if np.ndim(asked) == 0 else out

    def input(self, moments: tuple[tuple[float, ...], tuple[float, ...]]) -> Input:
        return Input(self._form.bands, self._form.size, *moments, self._sensor)

    def _bytes(self, numbers: np.ndarray) -> list[bytes | memoryview]:
        return self._reader.pieces(self._shard[numbers], self._offset[numbers], self._length[numbers])

    def _where(self, number: int) -> str:
        shard, offset = int(self._shard[number]), int(self._offset[number])
        return f"{self._reader.paths[shard].name}, byte {offset}: {self._names[number]}"


def _moments(index: store.Store, image: ShardField, train: np.ndarray):
    """Mean and deviation of the bands over the training part, remembered beside the index."""
    key = store.hash_of_bytes(image.digest.encode() + train.astype(np.int64).tobytes())
    path = index.folder / f"moments-{key}.json"
    try:
        mean, std = json.loads(path.read_text(encoding="utf-8"))
        return tuple(mean), tuple(std)
    except (OSError, ValueError, TypeError):
        mean, std = band_moments(image, train)
        store.remember(path, json.dumps([mean, std]).encode())
        return mean, std


# -- decoding ----------------------------------------------------------------------------------------------------------


def _form_of(raw: bytes, where: str, root: str, size: int | None, wanted: list[str]) -> decode.Form:
    """The form that the first image gives to all; see `decode.form_of`. An array's is the same with mode "array"."""
    if not where.lower().endswith(ARRAYS):
        return decode.form_of(raw, where, root, size, wanted)
    pixels = _array(raw, where)
    if size not in (None, pixels.shape[1]) or pixels.shape[1] != pixels.shape[2]:
        shape = f"{pixels.shape[1]} x {pixels.shape[2]} pixels"
        raise DataError(f"{where}: {shape}; arrays are neither cropped nor resized: store them square, at their size")
    names = {1: ("grey",), 3: ("red", "green", "blue")}.get(len(pixels), tuple(str(n + 1) for n in range(len(pixels))))
    picks = pick_bands(names, wanted, where)
    return decode.Form(tuple(names[n] for n in picks), picks, pixels.shape[1], str(pixels.dtype), "array")


def _decode(raw: bytes | memoryview, where: str, form: decode.Form, out: np.ndarray) -> None:
    """Writes one image into `out` (C, H, W)."""
    if form.mode != "array":
        if where.lower().endswith(ARRAYS):
            raise DataError(f"{where}: an array among pictures; keep to one kind of image in a set")
        decode.decode(bytes(raw), where, form, out)
        return
    pixels = _array(raw, where)
    if pixels.shape[1:] != form.shape[1:] or len(pixels) <= max(form.picks) or str(pixels.dtype) != form.dtype:
        found, first = f"{pixels.shape} {pixels.dtype}", f"{form.size} x {form.size} {form.dtype}"
        raise DataError(f"{where}: is {found}, but the first image {first}; store all in one form")
    out[...] = pixels[list(form.picks)]


def _array(raw: bytes | memoryview, where: str) -> np.ndarray:
    """(C, H, W) from the bytes of an .npy or .npz; (H, W) and (H, W, C) are turned. Objects are never unpickled."""
    try:
        loaded = np.load(io.BytesIO(raw), allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            names = loaded.files
            loaded = loaded["image" if "image" in names else names[0]]
    except (ValueError, OSError, EOFError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{where}: cannot be decoded ({one_line(error)}); get the shard again") from None
    pixels = loaded[None] if loaded.ndim == 2 else loaded
    if pixels.ndim != 3 or pixels.dtype.kind not in "uif":
        raise DataError(f"{where}: holds {loaded.dtype} {loaded.shape}; expected numbers (C, H, W) or (H, W, C)")
    if pixels.shape[2] < min(pixels.shape[:2]):  # bands are fewer than pixels
        pixels = pixels.transpose(2, 0, 1)
    if pixels.dtype.kind == "f":
        return np.nan_to_num(pixels.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
    if pixels.dtype in (np.uint8, np.int16, np.uint16, np.int32):
        return pixels
    raise DataError(f"{where}: holds {pixels.dtype}; store uint8, uint16, int16 or float32")
