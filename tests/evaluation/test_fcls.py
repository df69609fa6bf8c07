import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls

from refimpl.evaluation.fcls import fcls


def scene(count, bands=60, pixels=40, noise=0.05, seed=0):
    """Smooth, strongly correlated spectra (condition of their Gram matrix about 1e4), shares of few materials."""
    rng = np.random.default_rng(seed)
    endmembers = rng.random((count, bands)).cumsum(1) / bands * 2
    shares = rng.dirichlet(np.full(count, 0.4), pixels)
    return shares @ endmembers + noise * rng.normal(size=(pixels, bands)), endmembers, shares


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_agrees_with_nnls_with_a_heavy_row_of_ones(count):
    spectra, endmembers, _ = scene(count)
    ours = fcls(torch.tensor(spectra), torch.tensor(endmembers)).numpy()
    heavy = 1e4
    system = np.vstack([endmembers.T, heavy * np.ones(count)])
    reference = np.array([nnls(system, np.append(pixel, heavy))[0] for pixel in spectra])
    np.testing.assert_allclose(ours, reference, atol=1e-5)


def test_agrees_with_a_general_constrained_optimiser():
    spectra, endmembers, _ = scene(4, pixels=10)
    ours = fcls(torch.tensor(spectra), torch.tensor(endmembers)).numpy()
    for pixel, shares in zip(spectra, ours):
        found = minimize(
            lambda a, pixel=pixel: ((pixel - a @ endmembers) ** 2).sum(),
            np.full(4, 0.25),
            jac=lambda a, pixel=pixel: 2 * (a @ endmembers - pixel) @ endmembers.T,
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(shares, found.x, atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
def test_abundances_are_shares_whatever_the_pixel(noise):
    spectra, endmembers, _ = scene(5, pixels=500, noise=noise)
    shares = fcls(torch.tensor(spectra), torch.tensor(endmembers))
    assert shares.shape == (500, 5) and shares.min() >= 0
    torch.testing.assert_close(shares.sum(1), torch.ones(500, dtype=torch.float64))


def test_noise_free_pixels_give_their_true_shares():
    spectra, endmembers, shares = scene(6, pixels=200, noise=0.0)
    np.testing.assert_allclose(fcls(torch.tensor(spectra), torch.tensor(endmembers)).numpy(), shares, atol=1e-7)


def test_no_share_can_be_moved_to_a_better_place():
    """Optimality itself: moving weight from a material that is there to any other does not lower the error."""
    spectra, endmembers, _ = scene(7, pixels=300, noise=0.2)
    shares = fcls(torch.tensor(spectra), torch.tensor(endmembers)).numpy()
    slope = (shares @ endmembers - spectra) @ endmembers.T
    highest_used = np.where(shares > 1e-9, slope, -np.inf).max(1)
    assert (highest_used - slope.min(1)).max() < 1e-8


def test_units_order_and_chunks_do_not_matter():
    spectra, endmembers, _ = (torch.tensor(v) for v in scene(4))
    shares = fcls(spectra, endmembers)
    torch.testing.assert_close(fcls(spectra * 1e4, endmembers * 1e4), shares, atol=1e-8, rtol=0)
    torch.testing.assert_close(fcls(spectra, endmembers, chunk=7), shares, atol=1e-12, rtol=0)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(fcls(spectra, endmembers[order]), shares[:, order], atol=1e-8, rtol=0)
    torch.testing.assert_close(fcls(spectra.flip(0), endmembers), shares.flip(0), atol=1e-12, rtol=0)


def test_integer_spectra():
    spectra, endmembers, shares = scene(3, noise=0.0)
    counts = torch.tensor(np.round(spectra * 1e4).astype(np.int32))
    np.testing.assert_allclose(fcls(counts, torch.tensor(endmembers * 1e4)).numpy(), shares, atol=0.01)


def test_the_same_endmember_twice_still_fits_as_well_as_once():
    spectra, endmembers, _ = scene(3)
    once = fcls(torch.tensor(spectra), torch.tensor(endmembers)).numpy()
    doubled = np.vstack([endmembers, endmembers[1:2]])
    twice = fcls(torch.tensor(spectra), torch.tensor(doubled)).numpy()
    assert (twice >= 0).all()
    np.testing.assert_allclose(twice.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(twice @ doubled, once @ endmembers, atol=1e-5)


def test_one_endmember_and_no_pixels():
    assert fcls(torch.rand(4, 6), torch.rand(1, 6)).tolist() == [[1.0]] * 4
    assert fcls(torch.rand(0, 6), torch.rand(3, 6)).shape == (0, 3)
