"""Which windows of the world are samples: places, dates, labels, and splits that share no ground.

The land is laid out in squares; every square belongs to one split. Inside a square lies a compact grid of overlapping
windows, so that a window has neighbours of the same split within a kilometre (what methods built on spatial proximity
need), and no pixel is ever in two splits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from refimpl.data.synthetic.noise import generator
from refimpl.data.synthetic.patterns import USES, ZONES
from refimpl.data.synthetic.world import World

GSD = 10.0  # metres per pixel
CHUNK = 32  # windows made at a time: their arrays stay in the processor's cache
SHARES = {"train": 0.60, "val": 0.15, "test": 0.25}
_SQUARE = 2400.0  # metres; smallest pitch of squares
_YEARS = (np.datetime64("2018-01-01"), np.datetime64("2022-01-01"))


@dataclass
class Windows:
    """N chosen windows. corner: (N, 2) metres of the south-west corner. label: land use. square: which square."""

    world: World
    size: int
    corner: np.ndarray
    label: np.ndarray
    square: np.ndarray
    splits: dict[str, np.ndarray]

    @property
    def centre(self) -> np.ndarray:
        return (self.corner + self.size * GSD / 2).astype(np.float32)

    def grid(self, chosen: slice) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the pixel centres of some windows, two (n, H, W) arrays; row 0 is the northern edge."""
        step = ((np.arange(self.size) + 0.5) * GSD).astype(np.float32)
        x = self.corner[chosen, 0, None, None] + step[None, None, :]
        y = self.corner[chosen, 1, None, None] + step[::-1][None, :, None]
        x, y = np.broadcast_arrays(x.astype(np.float32), y.astype(np.float32))
        return x, y


def choose(samples: int, size: int, seed: int) -> Windows:
    """Lay out `samples` windows of size x size pixels, classes as even as the land allows."""
    side, stride = size * GSD, 0.75 * size * GSD
    wanted = int(np.ceil(2.8 * samples))  # candidates, of which balancing keeps a part
    per_side = int(np.clip(np.sqrt(wanted / 64), 3, 6))
    squares = int(np.ceil(np.sqrt(max(64, wanted / per_side**2))))
    pitch = max(_SQUARE, side + (per_side - 1) * stride + 100.0)
    world = World(seed, squares * pitch)
    rng = generator(seed, 1)

    inner = np.arange(per_side) * stride
    origin = np.arange(squares) * pitch
    slack = pitch - side - inner[-1]
    jitter = rng.uniform(0, 1, (squares, squares, 2)) * slack * 0.9
    row, column, j, i = np.meshgrid(*map(np.arange, (squares, squares, per_side, per_side)), indexing="ij")
    corner = np.stack([origin[column] + inner[i], origin[row] + inner[j]], -1) + jitter[row, column]
    corner, square = corner.reshape(-1, 2).astype(np.float32), (row * squares + column).ravel()

    label, purity = _labels(world, corner, side)
    chosen = _balanced(label, purity, rng.permutation(squares**2)[square], samples)
    corner, label, square = corner[chosen], label[chosen], square[chosen]
    return Windows(world, size, corner, label, square, _splits(square, label, rng))


def _labels(world: World, corner: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Dominant land use of each window and its share. A line counts if it passes near the window's centre."""
    centre = corner + side / 2
    line = world.uses(centre[:, 0], centre[:, 1], reach=0.22 * side)
    steps = ((np.arange(9) + 0.5) * side / 9).astype(np.float32)
    x = corner[:, 0, None, None] + steps[None, None, :]
    y = corner[:, 1, None, None] + steps[None, :, None]
    use = world.uses(*np.broadcast_arrays(x, y), reach=0.0).reshape(len(corner), -1)
    counts = np.stack([(use == u).mean(1) for u in range(len(USES))], 1)
    is_line, touched = line >= ZONES, world.uses(centre[:, 0], centre[:, 1], reach=0.6 * side) >= ZONES
    label = np.where(is_line, line, counts.argmax(1))
    # A river or highway in the corner of a window of another class makes the window mixed, as foreign ground does.
    return label, np.where(is_line, 1.0, counts.max(1) * np.where(touched, 0.5, 1.0))


def _balanced(label: np.ndarray, purity: np.ndarray, order: np.ndarray, samples: int) -> np.ndarray:
    """Sample numbers, sorted: as many of every class, taken square by square so that neighbours stay together."""
    # Mixed windows come last; within a class, squares follow each other in random order.
    ranked = np.lexsort((order, purity < 0.75, label))
    place = np.empty(len(label), np.int64)
    starts = np.searchsorted(label[ranked], np.arange(len(USES)))
    place[ranked] = np.arange(len(label)) - starts[label[ranked]]
    return np.sort(np.lexsort((order, place // max(1, samples // len(USES))))[:samples])


def _splits(square: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Whole squares to train, val and test. Each square goes where the classes it holds are missing most."""
    names, want = list(SHARES), np.array(list(SHARES.values()))
    present = rng.permutation(np.unique(square))
    count = np.zeros((len(present), len(USES)))
    position = {s: k for k, s in enumerate(present)}
    np.add.at(count, ([position[s] for s in square], label), 1)
    goal = want[:, None] * count.sum(0)
    have, home = np.zeros_like(goal), np.empty(len(present), np.int64)
    for k in np.argsort(-count.sum(1), kind="stable"):
        lacking = ((goal - have) / np.maximum(goal, 1)) @ count[k]
        home[k] = lacking.argmax()
        have[home[k]] += count[k]
    of_sample = home[[position[s] for s in square]]
    return {name: np.flatnonzero(of_sample == i) for i, name in enumerate(names)}


def dates(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) int32 days since 1970-01-01, over four years."""
    first, last = (int(d.astype(np.int64)) for d in (year.astype("datetime64[D]") for year in _YEARS))
    return rng.integers(first, last, n).astype(np.int32)


def in_chunks(
    n: int, make: Callable[[slice, int], dict[str, np.ndarray]], length: int = CHUNK
) -> dict[str, np.ndarray]:
    """Fields of n samples from `make(samples, number of the chunk)`, computed by a few threads.

    Chunks have a fixed length and their own random numbers, so the number of threads changes nothing.
    """
    out: dict[str, np.ndarray] = {}
    chunks = [slice(start, min(start + length, n)) for start in range(0, n, length)]

    def one(number: int) -> None:
        for name, values in make(chunks[number], number).items():
            out[name][chunks[number]] = values

    for name, values in make(chunks[0], 0).items():
        out[name] = np.empty((n, *values.shape[1:]), values.dtype)
        out[name][chunks[0]] = values
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, range(1, len(chunks))))
    return out
