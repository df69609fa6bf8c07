"""One file over HTTP: resumed where it broke off, checked, and under its name only when it is whole and right.

Bytes go to `<name>.part`. A later call, in this process or after a crash, asks the server for the rest (HTTP Range) and
starts over when the server cannot do that. Passing faults are tried again with growing pauses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from refimpl.data.dataset import DataError
from refimpl.data.store import alone, hash_of
from refimpl.data.words import one_line, readable_bytes
from refimpl.engine.progress import console

TRIES = 5  # in a row without a single new byte
PAUSE = 1.0  # seconds before the second try; doubles with each
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may cure


@dataclass(frozen=True)
class Remote:
    """A file to fetch. checksum: "md5:..." or "sha256:...". size: bytes, 0 where unknown."""

    url: str
    name: str
    checksum: str
    size: int = 0


class _Passing(Exception):
    """A fault that another try may cure; its text says which."""


def download(remote: Remote, folder: Path, *, pause: float = PAUSE) -> Path:
    """The path of the file in `folder`, fetched if it is not there already.

    A file that is there was checked when it was put there; only its size is looked at again. Raises DataError, one
    line that says what is wrong and what would help: no network, refused by the server, disk full, wrong checksum.
    """
    target = folder / remote.name
    part = folder / f"{remote.name}.part"
    try:
        if _present(remote, target):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if _present(remote, target):  # another process was faster
                return target
            with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client, _progress(remote) as advance:
                _fetch(client, remote, part, advance, pause)
            _check(remote, part)
            os.replace(part, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            missing = readable_bytes(remote.size - _length(part)) if remote.size else "some space"
            raise DataError(
                f"{remote.name}: the disk is full at {folder}; free {missing} "
                "and run the command again, it goes on where it stopped"
            ) from None
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); set REFIMPL_CACHE elsewhere"
        ) from None
    return target


def _present(remote: Remote, target: Path) -> bool:
    if not target.is_file():
        return False
    size = target.stat().st_size
    if remote.size and size != remote.size:
        raise DataError(f"{target}: has {size:,} bytes, not {remote.size:,}; remove it and run the command again")
    return True


def _fetch(client: httpx.Client, remote: Remote, part: Path, advance, pause: float) -> None:
    """Fill `part` to its end, over as many connections as it takes."""
    failures = 0
    while True:
        before = _length(part)
        try:
            return _connect(client, remote, part, advance)
        except (httpx.TransportError, _Passing) as error:
            failures = 1 if _length(part) > before else failures + 1
            if failures >= TRIES:
                raise DataError(
                    f"{remote.name}: no connection to {httpx.URL(remote.url).host} ({one_line(error)}); check the "
                    f"network and run the command again, it goes on after {readable_bytes(_length(part))}; "
                    f"or fetch {remote.url} by other means and pass its path"
                ) from None
            time.sleep(pause * 2 ** (failures - 1))


def _connect(client: httpx.Client, remote: Remote, part: Path, advance) -> None:
    """One connection: ask for what is missing and append it to `part`."""
    have = _length(part)
    if remote.size and have == remote.size:
        return
    # Without "identity" a server may compress on the fly, and ranges would count compressed bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with client.stream("GET", remote.url, headers=headers) as reply:
        if reply.status_code == 416:  # the part is as long as the file or longer: the checksum will tell
            total = reply.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return
            part.unlink()
            raise _Passing("the part on disk is longer than the file")
        if reply.status_code in _PASSING:
            raise _Passing(f"HTTP {reply.status_code}")
        if reply.status_code not in (200, 206):
            raise DataError(
                f"{remote.name}: {remote.url} answers HTTP {reply.status_code}; the file may have moved: "
                "fetch it by other means and pass its path"
            )
        resumed = reply.status_code == 206 and _starts_at(reply) == have
        if reply.status_code == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise _Passing("the server sent another range than was asked for")
        if not resumed:
            have = 0
        length = reply.headers.get("Content-Length", "")
        expected = have + int(length) if length.isdecimal() else remote.size
        advance(have, expected)
        with part.open("ab" if resumed else "wb") as file:
            for block in reply.iter_raw():  # as it arrives, so that a break loses nothing
                file.write(block)
                have += len(block)
                advance(have, expected)
            file.flush()
            os.fsync(file.fileno())
    if expected and have < expected:
        raise _Passing(f"the connection ended after {have} of {expected} bytes")


def _starts_at(reply: httpx.Response) -> int:
    start = reply.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdecimal() else -1


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check(remote: Remote, part: Path) -> None:
    algorithm, _, wanted = remote.checksum.partition(":")
    with part.open("rb") as file:
        found = hash_of(file, algorithm)
    if found != wanted:
        part.unlink()
        raise DataError(
            f"{remote.name}: what {httpx.URL(remote.url).host} sent has {algorithm} {found}, not {wanted}, and was "
            "removed; run the command again, and if that repeats the published file has changed"
        )


@contextlib.contextmanager
def _progress(remote: Remote):
    """Gives advance(bytes so far, bytes in all); a bar with speed and time left on a terminal, silent elsewhere."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(remote.name, total=remote.size or None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
