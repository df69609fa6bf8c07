"""Things from the air: only their shape tells them apart, and each has a front."""

import numpy as np
import pytest

from refimpl.data import known
from refimpl.data.dataset import DataError
from refimpl.data.synthetic import objects


@pytest.fixture(scope="module")
def data():
    return objects.make(samples=400, size=32, seed=0)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(data):
    again, other = objects.make(400, 32, 0), objects.make(400, 32, 1)
    assert np.array_equal(again.fields["image"], data.fields["image"])
    assert not np.array_equal(other.fields["image"], data.fields["image"])
    assert not np.array_equal(other.fields["label"], data.fields["label"])


def test_classes_are_even_and_splits_share_no_sample(data):
    assert np.bincount(data.fields["label"]).tolist() == [40] * len(objects.CLASSES)
    rows = np.concatenate(list(data.splits.values()))
    assert np.array_equal(np.sort(rows), np.arange(400))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [240, 60, 100]


def test_colour_does_not_name_the_class(data):
    """Class means of each band's mean lie close together beside what images of one class differ by."""
    colour, label = data.fields["image"].mean((2, 3)), data.fields["label"]
    means = np.stack([colour[label == c].mean(0) for c in range(len(objects.CLASSES))])
    within = np.mean([colour[label == c].std(0) for c in range(len(objects.CLASSES))])
    assert means.std(0).max() < 0.5 * within


@pytest.mark.parametrize("thing", objects.CLASSES)
def test_everything_has_a_front_and_stays_inside(thing):
    c = np.linspace(-1, 1, 65)
    u, v = np.meshgrid(c, -c)

    def painted(u, v):
        """The paint on top, -1 where there is none."""
        seen = np.full(u.shape, -1)
        for distance, paint in objects.SHAPES[thing](u, v):
            seen[distance < 0] = paint
        return seen

    upright = painted(u, v)
    here = upright >= 0
    assert 0.05 < here.mean() < 0.6
    assert (painted(*np.meshgrid(np.array([-1.25, 1.25]), np.array([-1.25, 1.25]))) < 0).all()
    for turned in (np.rot90(upright, k) for k in (1, 2, 3)):
        either = here | (turned >= 0)
        assert (upright != turned)[either].mean() > 0.1


def test_the_front_is_up(data):
    """Half of a class looks more like the other half than like the other half upside down."""
    label = data.fields["label"]
    for c, name in enumerate(objects.CLASSES):
        images = data.fields["image"][label == c].mean(1)
        shape = np.abs(images - images.mean((1, 2), keepdims=True))  # things may be bright or dark
        first, second = shape[::2].mean(0), shape[1::2].mean(0)
        upright, upside_down = (np.corrcoef(first.ravel(), s.ravel())[0, 1] for s in (second, second[::-1]))
        assert upright > upside_down, name


def test_the_registry_of_data_opens_it_with_the_bands_asked_for():
    one = known.open_data("synthetic-objects", samples=60, size=24, bands="B03")
    assert one.fields["image"].shape == (60, 1, 24, 24)
    assert one.name == "synthetic-objects" and one.synthetic


@pytest.mark.parametrize("wrong", [{"samples": 10}, {"size": 8}])
def test_sizes_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        objects.make(**wrong)
