"""The files of a folder or of a zip archive, by name, read into memory one at a time; nothing is extracted to disk.

Names are relative, with forward slashes, sorted. An archive is refused before anything in it is read when a name leads
outside it, when it is encrypted, or when it would unpack to far more than its own size (a zip bomb). Python's zip
reader stops each file at the size that was declared for it, so the check of declared sizes holds.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from refimpl.data.dataset import DataError
from refimpl.data.words import one_line, readable_bytes

LARGEST_FILE = 4 << 30  # bytes of one unpacked file
HARMLESS_TOTAL = 1 << 30  # an archive that unpacks to less than this is never called a bomb
LARGEST_RATIO = 200  # unpacked : packed; images are compressed already, masks reach about 100
ENCRYPTED = 0x1  # bit of a zip entry's flags

_LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def check_archive(archive: zipfile.ZipFile, name: str) -> None:
    """Raise DataError when the archive `name` is encrypted, reaches outside itself, or is a zip bomb."""
    total = 0
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[:1]:
            raise DataError(f"{name}: the entry {entry.filename!r} points outside the archive; do not use this archive")
        if entry.flag_bits & ENCRYPTED:
            raise DataError(f"{name}: {entry.filename} is encrypted; unpack the archive and pass the folder")
        if entry.file_size > LARGEST_FILE:
            size = readable_bytes(entry.file_size)
            raise DataError(f"{name}: {entry.filename} unpacks to {size}; the limit is {readable_bytes(LARGEST_FILE)}")
        total += entry.file_size
    packed = max(1, os.fstat(archive.fp.fileno()).st_size)
    if total > HARMLESS_TOTAL and total / packed > LARGEST_RATIO:
        raise DataError(
            f"{name}: {readable_bytes(packed)} would unpack to {readable_bytes(total)}, like a zip bomb; "
            "unpack it yourself if you trust it, and pass the folder"
        )


def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive at `path`, checked. Raises DataError when it is no whole zip archive or not a safe one."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError) as error:
        raise DataError(f"{path.name}: not a complete zip archive ({one_line(error)}); download it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    try:
        check_archive(archive, path.name)
    except DataError:
        archive.close()
        raise
    return archive


class Files:
    """Files below `path` (a folder or a zip archive). `read` may be called from several threads at once.

    name: of the folder or archive itself. names: relative names, sorted. Hidden files and the litter of operating
    systems are left out.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, path.name
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            found = (
                Path(folder, file).relative_to(path).as_posix()
                for folder, _, files in os.walk(path, onerror=_unreadable)
                for file in files
            )
        else:
            self._archive = open_zip(path)
            found = (entry.filename for entry in self._archive.infolist() if not entry.is_dir())
        self.names = sorted(name for name in found if _wanted(name))

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_) -> None:
        if self._archive:
            self._archive.close()

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises DataError that names it."""
        try:
            if self._archive is None:
                return (self.path / name).read_bytes()
            return self._archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"{self.where(name)}: damaged in the archive ({one_line(error)}); get the archive again"
            ) from None
        except OSError as error:
            raise DataError(
                f"{self.where(name)}: cannot be read ({error.strerror or error}); check its permissions"
            ) from None

    def where(self, name: str) -> str:
        """How messages name a file: the archive or folder, then the name inside it."""
        return f"{self.name}: {name}"


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part in _LITTER for part in parts)


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")
