"""The protocol "correspondence": it counts places, and knowing where one is finds none."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refimpl.data import synthetic
from refimpl.evaluation import PROTOCOLS, EvaluationError, correspondence
from refimpl.evaluation.scores import RANDOM, TRAINED, pick


@pytest.fixture(scope="module")
def data():
    return synthetic.make("rgb", samples=60, size=64, seed=0, fields=("series", "dates", "label"), dates=2)


class Toy(nn.Module):
    """Stands for a method: its map is a function of the window."""

    needs = ("series", "dates")

    def __init__(self, data, cells):
        super().__init__()
        self.inputs, self.cells = data.inputs, cells
        self.weight = nn.Parameter(torch.zeros(1))

    @property
    def encoder(self):
        return self

    def normalise(self, stored):
        return stored.float()


def judged(data, cells, untrained=None, **options):
    return correspondence.evaluate(Toy(data, cells), data, fresh=lambda: Toy(data, untrained or cells), **options)


def same_ground_at_all_dates(data):
    series = data.fields["series"].copy()
    series[:, 1] = series[:, 0]
    return dataclasses.replace(data, fields={**data.fields, "series": series})


def with_marked_ground(data):
    """Series whose pixels tell their place on the ground: waves along either axis, the same at both dates."""
    angle = np.pi * np.arange(64) / 64
    waves = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)])
    along, across = (np.broadcast_to(w, (4, 64, 64)) for w in (waves[:, None, :], waves[:, :, None]))
    maps = np.concatenate([along, across])
    series = np.broadcast_to(maps.astype(np.float32), (len(data), 2, *maps.shape))
    return dataclasses.replace(data, fields={**data.fields, "series": series})


def mean_of_cell(x):
    return F.avg_pool2d(x, 8)


def by_place(x):
    """Features that know where in the window a cell is, and nothing of what is there."""
    n = x.shape[-1] // 8
    return torch.eye(n * n).view(1, n * n, n, n).expand(len(x), -1, -1, -1)


def nearly_by_place(x):
    """The same, so that neighbours are alike, with a little of what is there."""
    smooth = F.avg_pool2d(F.pad(by_place(x), (1, 1, 1, 1)), 3, stride=1)
    return torch.cat([smooth, 1e-4 * mean_of_cell(x)], 1)


def test_it_is_a_protocol_and_more_is_better():
    assert PROTOCOLS["correspondence"] is correspondence and correspondence.HIGHER_IS_BETTER


def test_whoever_knows_the_ground_finds_every_place(data):
    scores = judged(with_marked_ground(data), mean_of_cell, by_place)
    assert pick(scores, correspondence.FOUND, TRAINED) > 98
    assert correspondence.headline(scores) == pick(scores, correspondence.FOUND, TRAINED)


@pytest.mark.parametrize("cells", [by_place, nearly_by_place])
def test_knowing_where_one_is_finds_nothing(data, cells):
    scores = judged(same_ground_at_all_dates(data), mean_of_cell, cells)
    assert pick(scores, correspondence.FOUND, RANDOM) == 0.0


def test_features_of_nothing_find_a_tenth(data):
    noise = torch.Generator().manual_seed(0)
    scores = judged(data, lambda x: torch.randn(len(x), 16, 6, 6, generator=noise))
    assert 7 < pick(scores, correspondence.FOUND, TRAINED) < 13


def test_seasons_make_it_hard(data):
    """Mean colours find a place at the same date better than half a series later."""
    same = pick(judged(same_ground_at_all_dates(data), mean_of_cell), correspondence.FOUND, TRAINED)
    apart = pick(judged(data, mean_of_cell), correspondence.FOUND, TRAINED)
    assert apart < same - 10


def test_places_are_counted_as_by_hand():
    """One image, 5 x 5 cells of 8 pixels, moved by three cells to the right."""
    rng = np.random.default_rng(0)
    here = torch.from_numpy(rng.normal(size=(1, 40, 5, 5)))
    there = torch.from_numpy(rng.normal(size=(1, 40, 5, 5)))
    there[..., 0] = here[..., 3]  # found
    there[0, :, :4, 1] = here[0, :, :4, 4]  # found, but for the lowest row,
    there[0, :, 4, 1] = here[0, :, 2, 4]  # which ends two cells off
    hits = correspondence.found_again(F.normalize(here, dim=1), F.normalize(there, dim=1), (0, 24), 40)
    assert hits.shape == (1, 10)
    assert hits.view(5, 2).tolist() == [[True, True]] * 4 + [[True, False]]


@pytest.mark.parametrize("shift, right", [(24, True), (20, True), (28, True), (14, False), (12, False)])
def test_within_the_side_of_a_cell_is_found(shift, right):
    """A cell that ends in the fourth column, wherever between cells its place is."""
    here = torch.eye(25, dtype=torch.float64).view(1, 25, 5, 5)
    there = torch.zeros(1, 25, 5, 5, dtype=torch.float64)
    there[..., 0] = here[..., 3]
    hits = correspondence.found_again(here, there, (0, shift), 40)
    assert hits.view(5, -1)[:, 0].tolist() == [right] * 5


@pytest.mark.parametrize("size", [64, 100, 256])
def test_windows_lie_in_the_image_and_more_than_a_cell_apart_both_ways(size):
    side, pairs = correspondence.windows(size)
    corners = np.array(pairs)  # (pairs, 2, 2)
    assert side % correspondence.CELL == 0 and len(pairs) == correspondence.PAIRS
    assert corners.min() >= 0 and corners.max() + side <= size
    shifts = corners[:, 1] - corners[:, 0]
    assert (np.abs(shifts).max(1) > correspondence.CELL).all() and (np.abs(shifts).max(1) < side).all()
    assert sorted(map(tuple, shifts)) == sorted(map(tuple, -shifts))
    assert (shifts % correspondence.CELL).any(1).all()
    assert correspondence.windows(size) == (side, pairs)


@pytest.mark.parametrize("size", [32, 63])
def test_small_images_are_refused(size):
    with pytest.raises(EvaluationError, match=f"images of {size} pixels .* take 64 or more"):
        correspondence.windows(size)


def test_one_date_no_series_and_broken_weights_are_refused(data):
    lonely = dataclasses.replace(data, fields={**data.fields, "series": data.fields["series"][:, :1]})
    with pytest.raises(EvaluationError, match="two dates or more"):
        judged(lonely, by_place)
    bare = dataclasses.replace(data, fields={"label": data.fields["label"]})
    with pytest.raises(EvaluationError, match="needs the field 'series'"):
        judged(bare, by_place)
    with pytest.raises(EvaluationError, match="NaN or infinity"):
        judged(data, lambda x: by_place(x) * float("nan"))


def test_progress_ends_at_one(data):
    seen = []
    judged(data, by_place, progress=lambda what, share: seen.append(share))
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_the_fingerprint_follows_the_data(data):
    method = Toy(data, by_place)
    same = correspondence.fingerprint(method, data)
    assert correspondence.fingerprint(method, data) == same
    assert correspondence.fingerprint(method, dataclasses.replace(data, name="other")) != same
