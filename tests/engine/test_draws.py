"""Random numbers are a function of (seed, step, row, stream), uniform, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from refimpl.engine.draws import Draws, mix_seeds

MANY = 4096
UNLIKELY = 1e-4  # p-value below which a fixed seed's sample is no longer believed to be uniform


def draws(rows, seed: int = 7, step: int = 11) -> Draws:
    return Draws(seed, step, torch.as_tensor(rows))


def everything(d: Draws) -> dict[str, torch.Tensor]:
    """One call of each kind, in a fixed order."""
    return {
        "uniform": d.uniform(2, 3),
        "normal": d.normal(4),
        "integers": d.integers(1000, 2),
        "coin": d.coin(0.3, 5),
        "permutation": d.permutation(6),
        "scalar": d.uniform(low=-2.0, high=3.0),
    }


def test_a_row_has_its_numbers_whatever_shares_its_batch():
    whole = everything(draws(range(8)))
    order = [5, 0, 7, 2]
    some = everything(draws(order))
    for kind, value in whole.items():
        assert torch.equal(value[order], some[kind]), kind


def test_two_processes_draw_what_one_draws():
    whole = everything(draws(range(8)))
    first, second = everything(draws(range(4))), everything(draws(range(4, 8)))
    for kind, value in whole.items():
        assert torch.equal(torch.cat([first[kind], second[kind]]), value), kind


def test_seed_step_row_and_stream_all_matter():
    base = draws([3]).uniform(16)
    d = draws([3])
    d.uniform(16)
    others = {
        "seed": draws([3], seed=8).uniform(16),
        "step": draws([3], step=12).uniform(16),
        "row": draws([4]).uniform(16),
        "stream": d.uniform(16),
    }
    for what, other in others.items():
        assert not torch.any(base == other), what


def test_moving_continues_the_stream():
    stays, moves = draws(range(4)), draws(range(4))
    stays.uniform(2), moves.uniform(2)
    assert torch.equal(stays.normal(3), moves.to("cpu").normal(3))


def test_values_of_today():
    """Golden values: a changed hash would change every published run."""
    d = draws([0, 1, 12345])
    assert mix_seeds(1, 2, 3) == 7702586659592502839
    assert mix_seeds(0) == -2152535657050944081
    expected = [[13301193, 9612718], [11709444, 6762435], [7852011, 3042470]]
    assert (d.uniform(2).double() * 2**24).long().tolist() == expected
    assert d.integers(1000, 2).tolist() == [[462, 653], [27, 806], [625, 394]]
    assert d.permutation(5).tolist() == [[3, 4, 0, 1, 2], [0, 2, 1, 3, 4], [4, 0, 1, 2, 3]]


def test_mixing_is_splitmix64():
    """The tensor code against Python's big integers."""
    mask = 2**64 - 1

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    start = mix_seeds(mix_seeds(7, 11), 1) & mask
    for row in (0, 1, 99, 2**31):
        key = mix((row * 0x9E3779B97F4A7C15 + start) & mask)
        expected = [(mix((key + c * 0x94D049BB133111EB) & mask) >> 40) / 2**24 for c in range(3)]
        assert draws([row]).uniform(3).tolist() == [expected]


@pytest.mark.parametrize("along", ["rows", "columns", "steps", "seeds"])
def test_uniform_and_uncorrelated_along_every_axis(along):
    if along == "rows":
        values = draws(range(MANY)).uniform()
    elif along == "columns":
        values = draws([0]).uniform(MANY)[0]
    elif along == "steps":
        values = torch.cat([draws([0], step=step).uniform() for step in range(MANY // 4)])
    else:
        values = torch.cat([draws([0], seed=seed).uniform() for seed in range(MANY // 4)])
    values = values.double().numpy()
    assert values.min() >= 0 and values.max() < 1
    counts, _ = np.histogram(values, bins=64, range=(0, 1))
    assert stats.chisquare(counts).pvalue > UNLIKELY
    pairs, *_ = np.histogram2d(values[:-1], values[1:], bins=8, range=((0, 1), (0, 1)))
    assert stats.chisquare(pairs.ravel()).pvalue > UNLIKELY


def test_the_other_distributions():
    d = draws(range(MANY))
    normal = d.normal(4).double().numpy().ravel()
    assert stats.kstest(normal, "norm").pvalue > UNLIKELY
    integers = d.integers(10).numpy()
    assert integers.min() == 0 and integers.max() == 9
    assert stats.chisquare(np.bincount(integers)).pvalue > UNLIKELY
    coins = int(d.coin(0.2).sum())
    assert stats.binomtest(coins, MANY, 0.2).pvalue > UNLIKELY
    assert not d.coin(0.0).any() and d.coin(1.0).all()
    permutations = d.permutation(4).numpy()
    assert (np.sort(permutations, 1) == np.arange(4)).all()
    codes = permutations @ np.array([64, 16, 4, 1])
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > UNLIKELY


def test_pieces_of_a_sample_have_numbers_of_their_own():
    rows = torch.arange(6)
    pieces = Draws(1, 2, rows).each(3)
    drawn = pieces.uniform(2)
    assert len(pieces) == 18 and drawn.shape == (18, 2) and len(drawn.flatten().unique()) == 36
    # A half of the batch has the same pieces, and asking for them does not repeat numbers of the sample itself.
    assert torch.equal(Draws(1, 2, rows[3:]).each(3).uniform(2), drawn[9:])
    whole = Draws(1, 2, rows)
    first, second = whole.each(3).uniform(2), whole.each(3).uniform(2)
    assert not torch.equal(first, second) and torch.equal(first, drawn)


def test_the_first_rows_keep_their_numbers():
    draws = Draws(1, 2, torch.arange(6))
    draws.uniform(1)
    part = draws.first(2)
    assert torch.equal(part.uniform(3), draws.uniform(3)[:2])
