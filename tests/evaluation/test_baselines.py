import numpy as np
import pytest
import torch

from refimpl.evaluation.baselines import band_statistics


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
def test_an_image_gives_four_numbers_per_band(dtype):
    images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).to(dtype)
    flat = images.numpy().astype(np.float64).reshape(2, 3, 20)
    wanted = np.concatenate([flat.mean(2), flat.std(2), flat.min(2), flat.max(2)], axis=1)
    np.testing.assert_allclose(band_statistics(images).numpy(), wanted, rtol=1e-6)


def test_a_spectrum_is_its_own_mean_minimum_and_maximum():
    spectra = torch.rand(3, 7)
    mean, std, low, high = band_statistics(spectra).split(7, dim=1)
    assert torch.equal(mean, spectra) and torch.equal(low, spectra) and torch.equal(high, spectra)
    assert torch.equal(std, torch.zeros(3, 7))


def test_a_series_pools_its_dates():
    series = torch.rand(2, 6, 3, 4, 4)  # (B, T, C, H, W)
    as_image = series.movedim(2, 1).reshape(2, 3, 6 * 4, 4)
    torch.testing.assert_close(band_statistics(series, band_axis=2), band_statistics(as_image))


def test_order_of_pixels_does_not_matter():
    images = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(band_statistics(images.flip(2, 3)), band_statistics(images))
