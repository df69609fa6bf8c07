"""Bytes out of .tar files: whole shards are read in one go and kept while they fit."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refimpl.data.dataset import DataError


class ShardReader:
    """Bytes of members, by shard and place.

    memory: bytes of shards that are kept at most. held: how many are now. reads: bytes read from disk so far.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], memory: int):
        self.paths, self.sizes, self.memory = list(paths), list(sizes), memory
        self.held, self.reads = 0, 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()  # the least recently used first
        self._lock = threading.Lock()

    def pieces(self, shard: np.ndarray, offset: np.ndarray, length: np.ndarray) -> list[bytes | memoryview]:
        """The bytes of some members, in the order in which they are asked for.

        Shards are read whole if all that are asked for fit into memory together: then the next request most likely
        asks for the same ones. A request for one member, or spread over more shards, is read piece by piece.
        """
        found: list[bytes | memoryview] = [b""] * len(shard)
        asked = [int(s) for s in np.unique(shard)]
        whole = len(shard) > 1 and sum(self.sizes[s] for s in asked) <= self.memory
        with self._lock:
            for s in asked:
                rows = np.flatnonzero(shard == s)
                rows = rows[np.argsort(offset[rows])]
                places = [(int(offset[row]), int(length[row])) for row in rows]
                if whole or s in self._kept:
                    content = memoryview(self._whole(s, asked))
                    parts = [content[start : start + size] for start, size in places]
                else:
                    parts = self._read(s, places)
                for row, part in zip(rows, parts):
                    found[row] = part
        return found

    def _whole(self, shard: int, asked: Sequence[int]) -> bytes:
        if shard not in self._kept:
            # Those of this request go last: they are needed in a moment.
            for old in sorted(self._kept, key=lambda s: s in asked):
                if self.held + self.sizes[shard] <= self.memory:
                    break
                self.held -= len(self._kept.pop(old))
            (self._kept[shard],) = self._read(shard, [(0, self.sizes[shard])])
            self.held += len(self._kept[shard])
        self._kept.move_to_end(shard)
        return self._kept[shard]

    def _read(self, shard: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at some places (offset, length) of a file. Raises DataError that names it and the remedy."""
        path, found = self.paths[shard], []
        try:
            with open(path, "rb", buffering=0) as file:
                for offset, length in places:
                    parts, end = [], offset
                    # A read may return less than was asked for, and never more than 2 GiB.
                    while end < offset + length and (part := os.pread(file.fileno(), offset + length - end, end)):
                        parts.append(part)
                        end += len(part)
                    if end < offset + length:
                        raise DataError(
                            f"{path.name}: cut short at byte {end} while it was in use; put it back, then --resume"
                        )
                    found.append(parts[0] if len(parts) == 1 else b"".join(parts))
                    self.reads += length
        except FileNotFoundError:
            raise DataError(f"{path.name}: vanished while it was in use; put it back, then --resume") from None
        except OSError as error:
            raise DataError(
                f"{path.name}: cannot be read ({error.strerror}) while it was in use; mend that, then --resume"
            ) from None
        return found
