"""The images of a set of shards: like an array to the engine, but decoded when they are asked for."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refimpl.data import decode, store
from refimpl.data.bands import PUBLISHED_SENSOR, pick_bands
from refimpl.data.dataset import DataError, Input
from refimpl.data.shards.index import ARRAYS
from refimpl.data.shards.reader import ShardReader
from refimpl.data.words import one_line

GROUP = 1024  # images whose bytes are in memory at a time
FEW = 8  # images that are not worth threads
_COLOURS = {1: ("grey",), 3: ("red", "green", "blue")}


class ShardField:
    """(N, C, H, W): field[index] with sample numbers (or a slice, or one number) gives those images in that order.

    digest: hash of the index and of how images are read, for `Data.digest`, which so needs not decode them all.
    """

    def __init__(self, reader: ShardReader, index: store.Store, chosen: np.ndarray, size: int | None, bands: list[str]):
        self.reader, self._chosen, columns = reader, chosen, index.arrays
        self._shard, self._offset, self._length = columns["shard"], columns["offset"], columns["length"]
        self._names = columns["name"]
        (raw,), root = self._bytes(chosen[:1]), reader.paths[0].parent.name
        self._form = form_of(raw, self._where(chosen[0]), root, size, bands)
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
        out = np.empty((len(numbers), *self._form.shape), self.dtype)
        for start in range(0, len(numbers), GROUP):
            part = slice(start, start + GROUP)
            self._decode(numbers[part], out[part])
        return out[0] if np.ndim(asked) == 0 else out

    def input(self, moments: tuple[tuple[float, ...], tuple[float, ...]]) -> Input:
        return Input(self._form.bands, self._form.size, *moments, self._sensor)

    def _decode(self, numbers: np.ndarray, out: np.ndarray) -> None:
        def one(row: int) -> None:
            decode_into(raws[row], self._where(numbers[row]), self._form, out[row])

        raws = self._bytes(numbers)
        if len(numbers) < FEW or store.workers() == 1:
            list(map(one, range(len(numbers))))
            return
        with ThreadPoolExecutor(store.workers()) as pool:  # decoders free the interpreter
            list(pool.map(one, range(len(numbers))))

    def _bytes(self, numbers: np.ndarray) -> list[bytes | memoryview]:
        return self.reader.pieces(self._shard[numbers], self._offset[numbers], self._length[numbers])

    def _where(self, number: int) -> str:
        return f"{self.reader.paths[self._shard[number]].name}: {self._names[number].decode()}"


def form_of(raw: bytes | memoryview, where: str, root: str, size: int | None, wanted: list[str]) -> decode.Form:
    """The form that the first image gives to all; see `decode.form_of`. An array's is the same with mode "array"."""
    if not where.lower().endswith(ARRAYS):
        return decode.form_of(bytes(raw), where, root, size, wanted)
    pixels = _array(raw, where)
    bands, height, width = pixels.shape
    if height != width or size not in (None, height):
        raise DataError(f"{where}: {height} x {width} pixels; arrays are kept as they are: store them square, in size")
    names = _COLOURS.get(bands, tuple(str(n + 1) for n in range(bands)))
    picks = pick_bands(names, wanted, where)
    return decode.Form(tuple(names[n] for n in picks), picks, height, str(pixels.dtype), "array")


def decode_into(raw: bytes | memoryview, where: str, form: decode.Form, out: np.ndarray) -> None:
    """Writes one image into `out` (C, H, W). Raises DataError where it does not fit the form."""
    if where.lower().endswith(ARRAYS) != (form.mode == "array"):
        raise DataError(f"{where}: arrays and pictures in one set; keep to one of them")
    if form.mode != "array":
        decode.decode(bytes(raw), where, form, out)
        return
    pixels = _array(raw, where)
    if pixels.shape[1:] != form.shape[1:] or len(pixels) <= max(form.picks) or str(pixels.dtype) != form.dtype:
        first = f"{form.size} x {form.size} {form.dtype}"
        raise DataError(f"{where}: is {pixels.shape} {pixels.dtype}, but the first image {first}; store all alike")
    out[...] = pixels[list(form.picks)]


def _array(raw: bytes | memoryview, where: str) -> np.ndarray:
    """(C, H, W) from the bytes of an .npy or .npz; (H, W) and (H, W, C) are turned. Objects are never unpickled."""
    try:
        loaded = np.load(io.BytesIO(raw), allow_pickle=False)
        if not isinstance(loaded, np.ndarray):  # of an .npz, the array "image" or the only one
            loaded = loaded["image" if "image" in loaded.files else loaded.files[0]]
    except (ValueError, OSError, EOFError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{where}: cannot be decoded ({one_line(error)}); write it again, as plain numbers") from None
    pixels = loaded[None] if loaded.ndim == 2 else loaded
    if pixels.ndim != 3:
        raise DataError(f"{where}: has the shape {loaded.shape}; expected (C, H, W) or (H, W, C)")
    if pixels.shape[2] < min(pixels.shape[:2]):  # bands are fewer than pixels
        pixels = pixels.transpose(2, 0, 1)
    if pixels.dtype.kind == "f":
        return np.nan_to_num(pixels.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
    if pixels.dtype in (np.uint8, np.int16, np.uint16, np.int32):
        return pixels
    raise DataError(f"{where}: holds {pixels.dtype}; store uint8, uint16, int16 or float32")
