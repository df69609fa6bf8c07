"""Outputs that are there whole or not at all: written beside their place and renamed when they are complete."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refimpl.data.words import readable_bytes
from refimpl.engine.errors import OutputError


def refuse_existing(target: Path) -> None:
    """Raise OutputError where something lies at `target` already; only an empty folder may."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise OutputError(f"{target}: exists already; choose another --out or remove it first")


def refuse_too_large(target: Path, size: int, remedy: str) -> None:
    """Raise OutputError where the disk of `target` has not room for `size` bytes; before hours of work, not after."""
    there = next(folder for folder in target.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise OutputError(
            f"{target}: needs {readable_bytes(size)} but the disk has {readable_bytes(free)} free; {remedy}"
        )


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends, and is removed when it ends by an error.

    Raises OutputError: `target` exists, or cannot be written.
    """
    with _built(target) as part:
        yield part
        _to_disk(part)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `target` when the block ends, and is removed when it ends by an error.

    Raises OutputError: `target` exists and is not an empty folder, or cannot be written.
    """
    with _built(target) as part:
        part.mkdir()
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                _to_disk(file)


@contextmanager
def _built(target: Path) -> Iterator[Path]:
    refuse_existing(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for torn in target.parent.glob(f".{glob.escape(target.name)}.*.part*"):
            if _orphaned(torn):
                _remove(torn)
        with _leaves_on_sigterm():
            yield part
        os.replace(part, target)
    except OSError as error:
        if error.errno is None or type(error).__module__.startswith("refimpl"):  # not of the file system
            raise
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else f"cannot be written ({error.strerror})"
        raise OutputError(f"{target}: {reason}; choose another --out") from None
    finally:
        _remove(part)


@contextmanager
def _leaves_on_sigterm() -> Iterator[None]:
    """A scheduler's SIGTERM ends the process as an error would: what is half written is removed."""

    def leave(number: int, _frame) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _orphaned(part: Path) -> bool:
    """Whether the process that wrote a part was killed. Where the system does not tell, no."""
    number = part.name.partition(".part")[0].rpartition(".")[2]
    return Path("/proc/self").exists() and not Path("/proc", number).exists()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
