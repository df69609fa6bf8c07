"""Collapse is seen where it is and not where it is not."""

from __future__ import annotations

import pytest
import torch

from refimpl.engine.watch import RANK_FLOOR, STD_FLOOR, collapse_warning, effective_rank, embedding_std


def features(rank: int, n: int = 64, width: int = 32) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, rank, generator=g) @ torch.randn(rank, width, generator=g)


def warning(z: torch.Tensor) -> str | None:
    return collapse_warning(embedding_std(z), effective_rank(z))


def test_random_features_are_alive():
    z = features(32)
    assert embedding_std(z) == pytest.approx(1, abs=0.1)
    assert 20 < effective_rank(z) <= 32
    assert warning(z) is None


def test_one_point_is_a_collapse():
    z = torch.ones(64, 32) + 1e-3 * features(32)
    assert embedding_std(z) < STD_FLOOR
    assert "collapsed" in warning(z)


def test_a_line_is_a_dimensional_collapse():
    z = features(1)
    assert effective_rank(z) == pytest.approx(1, abs=1e-3) and effective_rank(z) < RANK_FLOOR
    assert "line" in warning(z)


@pytest.mark.parametrize("rank", [2, 5, 16])
def test_effective_rank_of_equal_directions_is_their_number(rank):
    z = torch.zeros(2 * rank, 20)
    z[torch.arange(rank), torch.arange(rank)] = 1.0
    z[rank + torch.arange(rank), torch.arange(rank)] = -1.0
    assert effective_rank(z) == pytest.approx(rank, rel=1e-4)


@pytest.mark.parametrize("z", [torch.zeros(8, 4), torch.full((8, 4), 3.0)])
def test_identical_features_give_numbers_not_nan(z):
    assert embedding_std(z) == pytest.approx(0, abs=1e-6)
    assert effective_rank(z) == pytest.approx(1, abs=1e-3)
    assert warning(z)


def test_scale_and_bf16_change_little():
    z = features(8)
    assert embedding_std(100 * z) == pytest.approx(embedding_std(z), rel=1e-4)
    assert effective_rank(100 * z) == pytest.approx(effective_rank(z), rel=1e-3)
    assert effective_rank(z.bfloat16()) < 32 and embedding_std(z.bfloat16()) == pytest.approx(
        embedding_std(z), rel=0.02
    )
