"""Decode once, then read from memory-mapped integers.

Every set that is opened from image files is decoded a single time into `.npy` arrays, (N, C, H, W) and beside it what
the files tell of each sample, with a JSON manifest. They lie in the cache folder (`~/.cache/refimpl`, or the
folder named by REFIMPL_CACHE), each under a key made of

- the content: the SHA-256 of an archive; for a folder, of its file names, sizes and modification times;
- what was asked for: bands, size, subset;
- the version of this format.

The SHA-256 of an archive is remembered by path, size and modification time, so that opening a set again reads one
small JSON file and maps the arrays. A store is written in a folder of its own and renamed when it is complete: what a
killed process leaves behind is never read, and is removed the next time. Of several processes that want the same set
(torchrun), one decodes and the others wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from refimpl.data.dataset import DataError
from refimpl.data.decode import Form, decode
from refimpl.data.files import Files
from refimpl.data.places import Place
from refimpl.data.words import readable_bytes
from refimpl.engine.checkpoint import write_atomically
from refimpl.engine.progress import Bar, console

FORMAT = 1  # raise when what a manifest means changes; older stores are then decoded again
CHUNK = 256  # images that one thread decodes before it takes the next piece


@dataclass(frozen=True)
class Store:
    """A decoded set: memory-mapped arrays by field name, and the facts of its manifest."""

    folder: Path
    arrays: dict[str, np.ndarray]
    facts: dict


class Mapped(np.memmap):
    """A memory-mapped array that, whenever some of it is asked for, first looks whether its file is still whole.

    Touching what lies beyond the end of a file that was cut short ends the process (SIGBUS) before it can say why.
    """

    def __getitem__(self, index):
        if self._mmap is not None and self._mmap.size() < len(self._mmap):  # the size of the file now, and when mapped
            raise DataError(f"{self.filename}: was cut short while it was in use; --resume decodes it again")
        found = super().__getitem__(index)
        return found.view(np.ndarray) if isinstance(found, Mapped) and found._mmap is None else found

    def __array_wrap__(self, found, context=None, return_scalar=False):
        found = np.asarray(found)  # what is computed from it lies in memory
        return found if found.ndim else found[()]


def cache_folder() -> Path:
    """Where decoded sets and downloads lie: REFIMPL_CACHE, or ~/.cache/refimpl."""
    named = os.environ.get("REFIMPL_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "refimpl"


def fingerprint(path: Path) -> str:
    """Hash of the content of a file, or of the names, sizes and modification times below a folder (64 hex digits)."""
    if path.is_dir():
        h = hashlib.sha256()
        for name in Files(path).names:
            try:
                about = (path / name).stat()
            except OSError as error:
                raise DataError(
                    f"{path.name}: {name}: cannot be read ({error.strerror}); repair or remove it"
                ) from None
            h.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
        return h.hexdigest()
    about = path.stat()
    memo = cache_folder() / "sha256" / hash_of_bytes(os.fsencode(path.resolve()))
    stamp = f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"
    with contextlib.suppress(OSError, ValueError):
        known, value = memo.read_text(encoding="utf-8").rsplit(" ", 1)
        if known == stamp and re.fullmatch(r"[0-9a-f]{64}", value):
            return value
    try:
        with path.open("rb") as file:
            value = hash_of(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    remember(memo, f"{stamp} {value}".encode())
    return value


def hash_of(file: BinaryIO, algorithm: str = "sha256") -> str:
    """Hash of an open file, as hexadecimal digits."""
    h = hashlib.new(algorithm)
    while block := file.read(1 << 20):
        h.update(block)
    return h.hexdigest()


def hash_of_bytes(content: bytes) -> str:
    """Short hash of some bytes (16 hexadecimal digits), for file names."""
    return hashlib.sha256(content).hexdigest()[:16]


def remember(path: Path, content: bytes) -> None:
    """Keep a small result in a file if that is possible; without it the next opening is only slower."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def store_folder(name: str, content: str, asked: dict) -> Path:
    """The folder of the store of a set called `name` with the fingerprint `content`, for these wishes."""
    key = json.dumps([FORMAT, content, asked], sort_keys=True)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:40]
    return cache_folder() / "decoded" / f"{plain}-{hash_of_bytes(key.encode())}"


def load(folder: Path) -> Store | None:
    """The store in `folder`, or None when there is no complete one. Nothing is read but the manifest."""
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        arrays = {}
        for name, about in facts["arrays"].items():
            path = folder / f"{name}.npy"
            if path.stat().st_size != about["bytes"]:
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False).view(Mapped)
            if [list(arrays[name].shape), str(arrays[name].dtype)] != [about["shape"], about["dtype"]]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Store(folder, arrays, facts)


def build(folder: Path, fill: Callable[[Path], dict]) -> Store:
    """The store in `folder`, made by `fill` if it is not there.

    fill(temporary folder) writes arrays as `<field>.npy` and returns facts for the manifest (JSON values).
    Raises DataError when the cache folder cannot be written or the disk is full.
    """
    if store := load(folder):
        return store
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if store := load(folder):  # another process was faster
                return store
            part = folder.with_name(f"{folder.name}.part")
            for old in (part, folder):  # half of a killed process; a store whose files were damaged
                shutil.rmtree(old, ignore_errors=True)
            part.mkdir()
            try:
                _complete(part, fill(part))
                os.replace(part, folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            reason = "the disk is full; free some space or set REFIMPL_CACHE to a folder on another disk"
        else:
            reason = f"cannot be written ({error.strerror or error}); set REFIMPL_CACHE to a folder that can"
        raise DataError(f"cache folder {cache_folder()}: {reason}") from None
    return load(folder) or _vanished(folder)


def _vanished(folder: Path) -> Store:
    raise DataError(f"{folder}: was changed while it was written; run the command again")


def _complete(part: Path, facts: dict) -> None:
    """Write the manifest last, with the size of every array, after their bytes have reached the disk."""
    arrays = {}
    for path in sorted(part.glob("*.npy")):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays[path.stem] = {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "bytes": path.stat().st_size,
        }
    write_atomically(part / "manifest.json", json.dumps({**facts, "format": FORMAT, "arrays": arrays}).encode())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder about to be made; the system frees it when the process ends, however it ends.

    Windows has no flock; there the final rename alone keeps half-written results from being read.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path.with_name(f"{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
    """A writable memory-mapped array whose disk space is taken at once: a full disk is an error then, not a crash."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def workers() -> int:
    """Threads that decode: one per core that this process may use, 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


def decode_all(files: Files, names: list[str], form: Form, path: Path) -> list[Place | None]:
    """Decode the named image files into one array at `path`, (N, C, H, W), with a progress bar; where each lies.

    Threads suffice: Pillow and GDAL free the interpreter while they decode.
    """
    size = readable_bytes(len(names) * int(np.prod(form.shape)) * np.dtype(form.dtype).itemsize)
    out = new_array(path, (len(names), *form.shape), form.dtype)
    places: list[Place | None] = [None] * len(names)

    def piece(start: int) -> int:
        stop = min(start + CHUNK, len(names))
        # Filled in ordinary memory first: writing strided pixels straight into a mapped file is much slower.
        block = np.empty((stop - start, *form.shape), form.dtype)
        for n in range(start, stop):
            places[n] = decode(files.read(names[n]), files.where(names[n]), form, block[n - start])
        out[start:stop] = block
        return stop - start

    with (
        Bar(f"decoding {files.path.name} once ({size})", len(names), quiet=not console.is_terminal) as bar,
        ThreadPoolExecutor(workers()) as pool,
    ):
        try:
            for done in pool.map(piece, range(0, len(names), CHUNK)):
                bar.advance(steps=done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    out.flush()
    return places
