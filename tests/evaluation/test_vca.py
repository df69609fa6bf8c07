import numpy as np
import pytest

from refimpl.evaluation.scores import EvaluationError
from refimpl.evaluation.vca import find_corners, signal_to_noise, vca


def scene(count=4, bands=50, pixels=800, decibel=None, seed=0):
    """Mixed pixels, of which the first `count` are pure."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, bands)
    endmembers = 0.2 + np.exp(-(((place - np.linspace(0.1, 0.9, count)[:, None]) / 0.2) ** 2))
    shares = rng.dirichlet(np.ones(count), pixels)
    shares[:count] = np.eye(count)
    clean = shares @ endmembers
    if decibel is None:
        return clean, endmembers
    noise = np.sqrt(np.square(clean).mean() / 10 ** (decibel / 10))
    return clean + noise * rng.normal(size=clean.shape), endmembers


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_pure_pixels_without_noise_are_found_exactly(count, seed):
    spectra, endmembers = scene(count)
    rows, found = find_corners(spectra, count, seed)
    assert sorted(rows) == list(range(count))
    np.testing.assert_allclose(found, endmembers[rows], atol=1e-10)


def test_brightness_of_a_pixel_does_not_matter_without_noise():
    spectra, _ = scene()
    brightness = np.random.default_rng(1).uniform(0.3, 3.0, (800, 1))
    rows, _ = find_corners(spectra * brightness, 4)
    assert sorted(rows) == [0, 1, 2, 3]


def test_black_pixels_do_no_harm():
    spectra, _ = scene()
    spectra[100:120] = 0
    assert sorted(find_corners(spectra, 4)[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("decibel, worst", [(40, 0.02), (15, 0.25)])
def test_both_branches_come_close_in_noise(decibel, worst):
    spectra, endmembers = scene(3, decibel=decibel)
    assert (signal_to_noise(spectra, 3) > 15 + 10 * np.log10(3)) == (decibel == 40)
    found = vca(spectra, 3)
    cosine = (found @ endmembers.T) / np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(endmembers, axis=1))
    angles = np.arccos(np.clip(cosine, -1, 1))
    assert set(angles.argmin(1)) == {0, 1, 2} and angles.min(1).max() < worst


@pytest.mark.parametrize("bands", [8, 50])  # with 8 bands half of the noise lies within the signal subspace
@pytest.mark.parametrize("decibel", [10, 20, 35])
def test_noise_is_estimated_well(decibel, bands):
    spectra, _ = scene(decibel=decibel, bands=bands, pixels=4000)
    assert signal_to_noise(spectra, 4) == pytest.approx(decibel, abs=0.5)


def test_no_noise_is_infinitely_good():
    assert signal_to_noise(scene()[0], 4) == np.inf


def test_a_seed_and_a_generator_give_the_same_and_the_generator_moves_on():
    spectra, _ = scene(decibel=15)
    rng = np.random.default_rng(7)
    np.testing.assert_array_equal(vca(spectra, 4, 7), vca(spectra, 4, rng))
    np.testing.assert_array_equal(vca(spectra, 4, 7), vca(spectra, 4, 7))
    assert not np.array_equal(vca(spectra, 4, 7), vca(spectra, 4, rng))


def test_fewer_pixels_than_bands():
    spectra, endmembers = scene(3, bands=50, pixels=20)
    rows, found = find_corners(spectra, 3)
    assert sorted(rows) == [0, 1, 2]
    np.testing.assert_allclose(found, endmembers[rows], atol=1e-10)


@pytest.mark.parametrize("count", [0, 1, 51])
def test_an_impossible_number_of_endmembers_is_named(count):
    with pytest.raises(EvaluationError, match=f"VCA: {count} endmembers asked of 800 pixels with 50 bands.*2 to 50"):
        vca(scene()[0], count)
