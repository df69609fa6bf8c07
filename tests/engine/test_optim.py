"""Item 9: end points of the learning rate; what is decayed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from refimpl.engine.method import Recipe
from refimpl.engine.optim import OPTIMISERS, build_optimiser, learning_rate, weight_decay

RECIPE = Recipe(batch=128, lr=1e-3, warmup=0.1)
PEAK = 1e-3 * 128 / 256


@pytest.mark.parametrize("steps", [100, 1000])
def test_learning_rate_end_points(steps):
    warm = steps // 10
    rate = [learning_rate(step, steps, RECIPE) for step in range(steps)]
    assert rate[0] == pytest.approx(PEAK / warm)  # no step is lost on a rate of 0
    assert rate[warm - 1] == pytest.approx(PEAK)
    assert rate[warm] == pytest.approx(PEAK)
    assert rate[warm + (steps - warm) // 2] == pytest.approx(PEAK / 2)
    assert 0 < rate[-1] < PEAK * (3 / (steps - warm)) ** 2  # a cosine ends like a parabola
    assert learning_rate(steps, steps, RECIPE) == pytest.approx(0, abs=1e-12)
    assert rate[:warm] == sorted(rate[:warm]) and rate[warm:] == sorted(rate[warm:], reverse=True)
    assert max(rate) == pytest.approx(PEAK)


def test_learning_rate_without_warm_up_and_with_few_steps():
    plain = RECIPE.but(warmup=0.0)
    assert learning_rate(0, 10, plain) == pytest.approx(PEAK)
    assert learning_rate(0, 1, plain) == pytest.approx(PEAK)
    assert all(learning_rate(step, 3, RECIPE) > 0 for step in range(3))
    assert learning_rate(0, 1, RECIPE.but(warmup=1.0)) == pytest.approx(PEAK)


def test_learning_rate_follows_the_whole_batch():
    doubled = RECIPE.but(accumulate=2)
    assert learning_rate(50, 100, doubled) == pytest.approx(2 * learning_rate(50, 100, RECIPE))
    assert learning_rate(50, 100, RECIPE.but(batch=256)) == pytest.approx(learning_rate(50, 100, doubled))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_vectors_are_not_decayed(kind):
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimiser = build_optimiser(net.named_parameters(), RECIPE.but(optimiser=kind, weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in net.named_parameters()} == {
        "0.weight": 0.3,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_unknown_optimiser_names_the_known():
    with pytest.raises(ValueError, match=r"lion.*adamw, adam, sgd"):
        build_optimiser(nn.Linear(2, 2).named_parameters(), RECIPE.but(optimiser="lion"))


def test_no_parameters_is_an_error_that_torch_names():
    with pytest.raises(ValueError, match="empty"):
        build_optimiser([], RECIPE)


def test_sgd_takes_momentum_from_betas():
    w = nn.Parameter(torch.zeros(2, 2))
    optimiser = build_optimiser([("w", w)], RECIPE.but(optimiser="sgd", lr=1.0, betas=(0.5, 0.0), weight_decay=0.0))
    for _ in range(2):
        w.grad = torch.ones(2, 2)
        optimiser.step()
    assert torch.allclose(w, torch.full((2, 2), -(1 + 1.5)))


def test_weight_decay_follows_a_half_cosine_where_asked():
    assert weight_decay(7, 100, RECIPE) == RECIPE.weight_decay
    rising = RECIPE.but(weight_decay=0.04, weight_decay_end=0.4)
    values = [weight_decay(step, 101, rising) for step in range(101)]
    assert values[0] == pytest.approx(0.04) and values[-1] == pytest.approx(0.4)
    assert values[50] == pytest.approx(0.22) and values == sorted(values)
    assert weight_decay(0, 1, rising) == pytest.approx(0.04)
