"""EGU-Net: what it finds in a scene before the first epoch, and that guidance makes it unmix."""

from __future__ import annotations

import numpy as np
import pytest
import smoke
import torch

from refimpl.data.dataset import Data, DataError, Input, band_moments
from refimpl.engine import checkpoint
from refimpl.engine.draws import Draws
from refimpl.engine.loop import train
from refimpl.evaluation.unmixing import RMSE, both_scores
from refimpl.methods.hyperspectral.egu_net import EGUNet, endmember_bundle


@pytest.fixture(scope="module")
def scene() -> Data:
    """600 pixels of three materials in 30 bands, under varying light, with a little noise."""
    rng = np.random.default_rng(0)
    endmembers = 1000 + 3000 * (1 + np.sin(np.linspace(0, 4, 30) * np.array([[1], [2], [3]]) + [[0], [1], [2]]))
    abundances = rng.dirichlet(np.full(3, 0.5), 600)
    light = rng.uniform(0.6, 1.2, (600, 1))
    spectrum = (light * (abundances @ endmembers) + rng.normal(0, 20, (600, 30))).clip(0).astype(np.uint16)
    everything = np.arange(600)
    field = Input(tuple(f"b{i}" for i in range(30)), 1, *band_moments(spectrum, everything))
    truth = {"endmembers": endmembers, "abundances": abundances}
    return Data("mixtures", {"spectrum": spectrum}, {"spectrum": field}, {"train": everything}, truth=truth)


def build(scene: Data, **hyper) -> EGUNet:
    torch.manual_seed(0)
    return EGUNet(scene.inputs, endmembers=3, **hyper)


def abundance_error(method: EGUNet, scene: Data) -> float:
    method.eval()
    with torch.no_grad():
        guess = method.abundances(scene.take("spectrum", torch.arange(600))).double().numpy()
        corners = method.endmembers().double().numpy()
    scores = both_scores("", guess, corners, scene.truth["abundances"], scene.truth["endmembers"])
    return next(score.value for score in scores if score.metric == RMSE)


def trained(scene: Data, **hyper) -> EGUNet:
    method = build(scene, **hyper)
    train(method, scene, method.recipe.but(epochs=20, batch=100), quiet=True)
    return method


def test_training_unmixes(scene):
    """Measured: 0.29 untrained, 0.09 trained (120 steps)."""
    assert abundance_error(trained(scene), scene) < 0.5 * abundance_error(build(scene), scene)


def test_reconstruction_alone_does_not_unmix(scene, monkeypatch):
    """The paper's point: without the guide the code of the autoencoder means nothing in particular."""
    monkeypatch.setattr("refimpl.methods.hyperspectral.egu_net.guidance", lambda logits, y: 0.0 * logits.sum())
    guess = trained(scene)
    monkeypatch.undo()
    assert abundance_error(guess, scene) > 2 * abundance_error(trained(scene), scene)


def test_bundle_holds_nearly_pure_pixels_that_are_labelled_right(scene):
    found, pure = endmember_bundle(scene.fields["spectrum"].astype(float), 3, 25, np.random.default_rng(0))
    assert found.shape == (3, 30) and pure.shape == (3 * 24, 30)
    method = build(scene)
    smoke.start_epoch(method, scene)
    assert torch.all(method.y >= 0)
    torch.testing.assert_close(method.y.sum(1), torch.ones(len(method.y)))
    # The share of the largest material, 1 in a pure pixel: far above that of the scene's pixels.
    impurity, usual = 1 - float(method.y.amax(1).mean()), 1 - scene.truth["abundances"].max(1).mean()
    assert impurity < 0.6 * usual


def test_a_dark_material_hides_no_other():
    """Along rays the noise of a dark material, such as water, outshines the corners of all others."""
    rng = np.random.default_rng(1)
    endmembers = np.stack([np.linspace(1, 2, 30), np.linspace(2, 1, 30), np.full(30, 0.05)])
    spectra = rng.dirichlet(np.full(3, 0.3), 600) @ endmembers + rng.normal(0, 0.03, (600, 30))
    found, _ = endmember_bundle(spectra, 3, 25, rng)
    distance = np.linalg.norm(found[:, None] - endmembers, axis=2).min(0)
    assert (distance < 0.5).all()  # the two bright ones are 3 apart, and 8 from the dark one


def test_bundle_is_found_once_and_is_a_function_of_the_seed(scene):
    one, two, other = (build(scene) for _ in range(3))
    smoke.start_epoch(one, scene, seed=1)
    smoke.start_epoch(two, scene, seed=1)
    smoke.start_epoch(other, scene, seed=2)
    assert torch.equal(one.pure, two.pure) and torch.equal(one.y, two.y) and torch.equal(one.scene, two.scene)
    assert not torch.equal(one.pure, other.pure)
    smoke.start_epoch(one, scene, epoch=1, seed=1)
    assert torch.equal(one.pure, two.pure)


def test_checkpoint_carries_the_bundle(scene):
    method, fresh = build(scene), build(scene)
    smoke.start_epoch(method, scene)
    checkpoint.load_model(method.state_dict(), fresh)
    assert torch.equal(fresh.pure, method.pure) and torch.equal(fresh.endmembers(), method.scene)


def test_dropout_keeps_the_mean_and_can_be_turned_off(scene):
    for rate in (0.0, 0.25):
        method = build(scene, dropout=rate)
        smoke.start_epoch(method, scene)
        draws = Draws(0, 0, torch.arange(200))
        keep = method.prepare(method.draw(scene, torch.arange(200), draws), draws)["keep"]
        assert float((keep == 0).float().mean()) == pytest.approx(rate, abs=0.01)
        assert float(keep.mean()) == pytest.approx(1.0, abs=0.02)


def test_what_cannot_work_is_named(scene):
    with pytest.raises(DataError, match="choose block between 3 and 600"):
        smoke.start_epoch(build(scene, block=2), scene)
    method = build(scene)
    with pytest.raises(DataError, match="before_epoch"):
        method.prepare({"spectrum": torch.zeros(4, 30)}, Draws(0, 0, torch.arange(4)))
