"""Random numbers as a pure function of (seed, step, row of the global batch, stream).

Why not a generator: a generator has a hidden state. Its numbers depend on the device, on how many processes share the
batch and on everything drawn before, so a run could neither be resumed bit-equal nor be split over processes without
changing its result. Here every sample of the *global* batch owns a row number, and each number is a hash of that row:

    u = hash(seed, step, stream, row, column)

so that two processes with half a batch each draw exactly what one process draws for the whole batch, the CPU and the
GPU agree (normal numbers up to rounding), and resuming needs nothing but the step number. The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), computed in wrapping
64-bit integers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (zero-filling) right shift of int64, which torch only offers as an arithmetic one."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def mix_seeds(*parts: int) -> int:
    """One signed 64-bit seed from several integers; the same on every machine."""
    state = 0
    for part in parts:
        state = (state + 0x9E3779B97F4A7C15 + (part & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return _signed(state)


def epoch_generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    """CPU random numbers of an epoch, the same on every process; each purpose has its own."""
    return torch.Generator().manual_seed(mix_seeds(seed, -1 - epoch, purpose))


class Draws:
    """The random numbers of one step, one row per sample of this process's part of the batch.

    Args:
        seed: the run's seed.
        step: the optimiser step (or any counter; epochs use negative ones).
        rows: (B,) int64, each sample's position in the global batch. Its device is where numbers are made.

    Every call takes a fresh stream, so the order of calls matters and must not depend on the data's values.
    """

    def __init__(self, seed: int, step: int, rows: Tensor):
        self.rows = rows
        self._key = mix_seeds(seed, step)
        self._stream = 0

    def __len__(self) -> int:
        return self.rows.numel()

    def to(self, device: torch.device | str) -> Draws:
        """The same numbers, continued on another device."""
        moved = Draws.__new__(Draws)
        moved.rows, moved._key, moved._stream = self.rows.to(device), self._key, self._stream
        return moved

    def first(self, rows: int) -> Draws:
        """The same numbers for the first rows only."""
        part = self.to(self.rows.device)
        part.rows = self.rows[:rows]
        return part

    def each(self, parts: int) -> Draws:
        """Independent numbers for `parts` pieces of every sample (tiles, frames), in rows sample * parts + piece."""
        pieces = Draws.__new__(Draws)
        self._stream += 1
        pieces.rows = (self.rows[:, None] * parts + torch.arange(parts, device=self.rows.device)).flatten()
        pieces._key, pieces._stream = mix_seeds(self._key, self._stream), 0
        return pieces

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32, uniform on [low, high)."""
        columns = math.prod(shape)
        self._stream += 1
        start = mix_seeds(self._key, self._stream)
        row_keys = _mix(self.rows * _GOLDEN + start)
        column = torch.arange(columns, device=self.rows.device) * _MIX_2
        bits = _shift(_mix(row_keys[:, None] + column), 40)  # 24 bits: exact in float32
        unit = bits.to(torch.float32) * 2.0**-24
        return (low + (high - low) * unit).reshape(len(self), *shape)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float32, standard normal (Box and Muller, 1958)."""
        radius = torch.sqrt(-2.0 * torch.log1p(-self.uniform(*shape)))
        return radius * torch.cos(2.0 * math.pi * self.uniform(*shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64, uniform on 0 .. high-1."""
        return (self.uniform(*shape) * high).long().clamp_(max=high - 1)

    def coin(self, probability: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true with the given probability."""
        return self.uniform(*shape) < probability

    def permutation(self, n: int) -> Tensor:
        """(B, n) int64, an independent uniform permutation of 0 .. n-1 in each row."""
        return self.uniform(n).argsort(dim=1, stable=True)
