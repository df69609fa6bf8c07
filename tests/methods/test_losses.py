"""Items 3, 4 and 11: the loss on ordinary, permuted, odd and many-banded input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import smoke
import torch

from refimpl import registry
from refimpl.data.dataset import DataError

# Float32 sums in another order differ in the seventh digit; networks and normalisations magnify that.
PERMUTED = 2e-4


def loss_and_gradients(method, batch, *, bf16: bool = False) -> dict[str, float]:
    """Every turn's loss after its backward pass. Fails at a loss or a gradient that is not finite."""
    found = {}
    for turn in method.turns:
        method.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = method(batch, turn).loss
        assert loss.dim() == 0, f"turn {turn}: the loss must be a scalar, not {tuple(loss.shape)}"
        assert torch.isfinite(loss), f"turn {turn}: loss {loss.item()}"
        loss.backward()
        bad = [n for n, p in method.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        assert not bad, f"turn {turn}: gradients of {bad[:3]} are not finite"
        found[turn] = loss.item()
    return found


@pytest.fixture(scope="session")
def started(name):
    """(method, data) at the start of epoch 0. Tests leave its parameters as they are."""
    data = smoke.smoke_data(name)
    method = smoke.build(name, data)
    smoke.start_epoch(method, data)
    return method, data


def test_permuting_the_batch_leaves_the_loss(name):
    data = smoke.smoke_data(name)
    index = smoke.first_samples(data)
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(3))
    found = []
    for places in (torch.arange(len(index)), order):
        method = smoke.still(smoke.build(name, data))
        smoke.start_epoch(method, data)
        # A sample brings its random numbers along.
        batch = smoke.prepared(method, data, index[places], rows=places)
        found.append({turn: loss.item() for turn, loss in smoke.losses(method, batch).items()})
    for turn, loss in found[0].items():
        assert found[1][turn] == pytest.approx(loss, rel=PERMUTED, abs=PERMUTED), turn


def test_same_draws_same_batch(name, started):
    """A prepared batch is a function of (data, seed, step, rows) and holds nothing that asks for a gradient."""
    method, data = started
    index = smoke.first_samples(data)
    one, same = (smoke.prepared(method, data, index) for _ in range(2))
    assert one.keys() == same.keys()
    for key in one:
        assert torch.equal(one[key], same[key]), f"{key} differs between two preparations with the same draws"
        assert not one[key].requires_grad, key


def test_bf16_is_finite_and_near(name, started):
    method, data = started
    batch = smoke.prepared(method, data, smoke.first_samples(data))
    torch.manual_seed(0)
    exact = loss_and_gradients(method, batch)
    torch.manual_seed(0)
    half = loss_and_gradients(method, batch, bf16=True)
    for turn, loss in exact.items():
        # Three significant digits through a few layers; this catches a logarithm or a softmax taken in bf16.
        assert half[turn] == pytest.approx(loss, rel=0.1, abs=0.1), turn


def test_two_samples_suffice(name, started):
    method, data = started
    loss_and_gradients(method, smoke.prepared(method, data, smoke.first_samples(data, 2)))


def _half_zero_half_most(values: np.ndarray) -> np.ndarray:
    """Pixels that are either 0 or the largest number the type holds, in a pattern that differs between samples."""
    largest = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1e4
    coin = np.random.default_rng(5).random(values.shape) < 0.5
    return np.where(coin, largest, 0).astype(values.dtype)


ODD = {
    "all zero": np.zeros_like,
    "one constant": lambda values: np.full_like(values, 77),
    "extremes": _half_zero_half_most,
}


@pytest.mark.parametrize("what", ODD)
def test_odd_input_is_finite(name, started, what):
    method, data = started
    odd = smoke.with_field_values(data, ODD[what])
    loss_and_gradients(method, smoke.prepared(method, odd, smoke.first_samples(data, 8)))


@pytest.mark.parametrize("bands", [1, 2, 13, 200])
def test_any_number_of_bands(name, bands):
    """Three bands are what most other tests use. (A video has three in any case.)"""
    data = smoke.toy_data(bands)
    method = smoke.build(name, data)
    smoke.start_epoch(method, data)
    loss = loss_and_gradients(method, smoke.prepared(method, data, smoke.first_samples(data, 4)))
    assert all(math.isfinite(v) for v in loss.values())
    first = registry.find(name).needs[0]
    stored = data.take(first, torch.arange(3))
    with torch.no_grad():
        assert method.eval().embed(stored).shape == (3, method.encoder.width)


def test_an_epoch_over_identical_samples_ends_in_numbers_or_in_a_sentence(name):
    """Clustering, whitening, corners of a simplex: none exists when all samples are alike."""
    data = smoke.with_field_values(smoke.smoke_data(name), lambda values: np.full_like(values, 77))
    method = smoke.build(name, data)
    try:
        smoke.start_epoch(method, data)
    except DataError as refusal:
        assert "\n" not in str(refusal)
        return
    loss_and_gradients(method, smoke.prepared(method, data, smoke.first_samples(data)))
