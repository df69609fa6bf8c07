import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from refimpl.data.dataset import Data, Input
from refimpl.evaluation import PROTOCOLS, unmixing
from refimpl.evaluation.scores import RANDOM, TRAINED, EvaluationError, pick
from refimpl.evaluation.vca import vca

BANDS, MATERIALS, PIXELS = 40, 4, 600


def toy(noise=0.0, seed=0):
    """A scene with pure pixels in the training split; stored as reflectance x 10,000."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, BANDS)
    spectra = 0.1 + np.exp(-(((place - np.linspace(0.1, 0.9, MATERIALS)[:, None]) / 0.25) ** 2)) / 2
    shares = rng.dirichlet(np.full(MATERIALS, 0.7), PIXELS)
    shares[:MATERIALS] = np.eye(MATERIALS)
    pixels = shares @ spectra + noise * rng.normal(size=(PIXELS, BANDS))
    return Data(
        "toy scene",
        {"spectrum": (pixels * 10000).round().clip(0, 65535).astype(np.uint16)},
        {"spectrum": Input(tuple(f"b{i}" for i in range(BANDS)), 1)},
        {"train": np.arange(400), "val": np.arange(400, 450), "test": np.arange(450, PIXELS)},
        truth={"endmembers": spectra, "abundances": shares},
    )


class Toy(nn.Module):
    """Stands for a method: knows given endmembers, in an order of its own, and unmixes without constraints."""

    needs = ("spectrum",)

    def __init__(self, inputs, spectra=None):
        super().__init__()
        self.inputs = inputs
        self.spectra = nn.Parameter(torch.rand(MATERIALS, BANDS) if spectra is None else torch.tensor(spectra).float())

    def abundances(self, stored):
        return (stored.float() / 10000) @ torch.linalg.pinv(self.spectra)

    def endmembers(self):
        return self.spectra * 0.5  # an angle does not see brightness


def judge(data, spectra, **options):
    method = Toy(data.inputs, spectra)
    return unmixing.evaluate(method, data, fresh=lambda: Toy(data.inputs), **options)


ORDER = [2, 0, 3, 1]


@pytest.fixture(scope="module")
def data():
    return toy()


def test_the_protocol_is_registered():
    assert PROTOCOLS["unmixing"] is unmixing and not unmixing.HIGHER_IS_BETTER


def test_the_right_answer_in_another_order_is_right(data):
    scores = judge(data, data.truth["endmembers"][ORDER])
    assert pick(scores, unmixing.RMSE) < 1e-3 and pick(scores, unmixing.ANGLE) < 1e-6
    assert pick(scores, unmixing.RMSE, unmixing.ORACLE) < 1e-3
    # Pure pixels and hardly any noise (rounding): VCA finds the corners whatever its seed.
    assert pick(scores, unmixing.RMSE, unmixing.VCA_FCLS) < 1e-3
    assert pick(scores, unmixing.ANGLE, unmixing.VCA_FCLS) < 1e-3
    assert pick(scores, unmixing.RMSE, RANDOM) > 0.1 and pick(scores, unmixing.ANGLE, RANDOM) > 0.2
    assert unmixing.headline(scores) == pick(scores, unmixing.RMSE)
    assert len(scores) == 8


def test_rmse_and_angle_by_hand(data):
    guess = np.array([[0.5, 0.5], [1.0, 0.0]])
    truth = np.array([[0.0, 1.0], [0.2, 0.8]])
    ours, theirs = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([[0.0, 3.0, 0.0], [1.0, 1.0, 0.0]])
    # Endmember 0 goes to material 1 (45 degrees apart), endmember 1 to material 0 (no angle).
    rmse, angle = unmixing.both_scores("x", guess, ours, truth, theirs)
    errors = [0.5 - 1.0, 0.5 - 0.0, 1.0 - 0.8, 0.0 - 0.2]
    assert rmse.value == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert angle.value == pytest.approx(np.pi / 8)
    assert angle.lower is None and rmse.lower <= rmse.value <= rmse.upper


def test_matching_minimises_the_sum_not_each_angle():
    """Both endmembers are nearest to material 0; a greedy choice would leave a worse pair for the second."""
    angles = np.radians([0.0, 40.0])
    theirs = np.c_[np.cos(angles), np.sin(angles)]
    ours_angles = np.radians([-10.0, 5.0])
    ours = np.c_[np.cos(ours_angles), np.sin(ours_angles)]
    _, angle = unmixing.both_scores("x", np.eye(2), ours, np.eye(2), theirs)
    assert np.degrees(angle.value) == pytest.approx((10 + 35) / 2)


def test_spectral_angles():
    a = np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    found = unmixing.spectral_angles(a, np.array([[5.0, 0.0], [-1.0, 0.0], [1.0, 1e-9]]))
    wanted = [[0, np.pi, 1e-9], [np.pi / 4, 3 * np.pi / 4, np.pi / 4 - 1e-9], [np.pi / 2] * 3]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_units_and_a_scale_for_each_true_endmember_do_not_matter(data):
    """Some published truths scale each endmember to a peak of 1, so that they do not rebuild the cube."""
    spectra = data.truth["endmembers"]
    peaked = {**data.truth, "endmembers": spectra / spectra.max(1, keepdims=True) * [[1], [3], [0.2], [1]]}
    scores = judge(dataclasses.replace(data, truth=peaked), spectra[ORDER])
    plain = judge(data, spectra[ORDER])
    for metric in (unmixing.RMSE, unmixing.ANGLE):
        for features in (TRAINED, RANDOM, unmixing.ORACLE, unmixing.VCA_FCLS):
            assert pick(scores, metric, features) == pytest.approx(pick(plain, metric, features), abs=1e-5)


def test_noise_orders_the_references():
    data = toy(noise=0.02)
    scores = judge(data, data.truth["endmembers"])
    best, found, untrained = (pick(scores, unmixing.RMSE, f) for f in (unmixing.ORACLE, unmixing.VCA_FCLS, RANDOM))
    assert 0 < best < found < untrained
    spread = next(s for s in scores if s.metric == unmixing.RMSE and s.features == unmixing.VCA_FCLS)
    assert spread.lower < spread.value < spread.upper  # over seeds
    trained = next(s for s in scores if s.metric == unmixing.RMSE and s.features == TRAINED)
    assert trained.lower < trained.value < trained.upper


def test_the_truth_of_training_pixels_and_the_method_stay_untouched(data):
    torch.manual_seed(1)
    method = Toy(data.inputs, data.truth["endmembers"]).train()
    before, draws = method.spectra.detach().clone(), torch.get_rng_state()
    scores = unmixing.evaluate(method, data, fresh=lambda: Toy(data.inputs))
    assert torch.equal(method.spectra, before) and method.training and method.spectra.grad is None
    assert torch.equal(torch.get_rng_state(), draws)
    assert unmixing.evaluate(method, data, fresh=lambda: Toy(data.inputs)) == scores

    nonsense = data.truth["abundances"].copy()
    nonsense[:450] = np.random.default_rng(3).dirichlet(np.ones(MATERIALS), 450)
    other = unmixing.evaluate(
        method, dataclasses.replace(data, truth={**data.truth, "abundances": nonsense}), fresh=lambda: Toy(data.inputs)
    )
    for features in (TRAINED, RANDOM, unmixing.VCA_FCLS):
        assert pick(other, unmixing.RMSE, features) == pick(scores, unmixing.RMSE, features)


def test_vca_is_not_misled_by_dark_noisy_pixels():
    """A material as dark as water: along rays its noise looks like corners, and the other projection is kept."""
    data, rng = toy(), np.random.default_rng(4)
    spectra, shares = data.truth["endmembers"].copy(), data.truth["abundances"].copy()
    spectra[1] *= 0.02
    shares[4:104] = np.eye(MATERIALS)[1]
    pixels = shares @ spectra + 0.01 * rng.normal(size=(PIXELS, BANDS))

    def mean_angle(find):
        found = [find(seed) for seed in range(5)]
        return np.mean([unmixing.both_scores("", shares, corners, shares, spectra)[1].value for corners in found])

    assert mean_angle(lambda seed: vca(pixels, MATERIALS, seed)) > 0.5  # by its own rule
    assert mean_angle(lambda seed: unmixing.best_vca(pixels, MATERIALS, seed, torch.device("cpu"))) < 0.25


def test_patches_are_judged_by_their_centre_pixel(data):
    patches = np.random.default_rng(0).integers(0, 9000, (PIXELS, BANDS, 3, 3)).astype(np.uint16)
    patches[:, :, 1, 1] = data.fields["spectrum"]
    windows = dataclasses.replace(data, fields={"patch": patches}, inputs={"patch": data.inputs["spectrum"]})
    np.testing.assert_array_equal(unmixing.pixel_spectra(windows), data.fields["spectrum"].astype(float))


def test_progress_rises_to_one(data):
    seen = []
    judge(data, data.truth["endmembers"], progress=lambda what, share: seen.append(share))
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1


def test_what_cannot_be_judged_is_named(data):
    spectra = data.truth["endmembers"]
    with pytest.raises(EvaluationError, match=r"toy scene: the protocol 'unmixing' needs the truth .* it has none"):
        judge(dataclasses.replace(data, truth={}), spectra)
    with pytest.raises(EvaluationError, match="trained: 3 endmembers of 40 bands, but the truth has 4 of 40"):
        judge(data, spectra[:3])
    with pytest.raises(EvaluationError, match="needs the split 'test'"):
        judge(dataclasses.replace(data, splits={"train": data.splits["train"]}), spectra)
    short = {**data.truth, "abundances": data.truth["abundances"][:10]}
    with pytest.raises(EvaluationError, match=r"true abundances have shape \(10, 4\)"):
        judge(dataclasses.replace(data, truth=short), spectra)
    broken = Toy(data.inputs, spectra)
    broken.endmembers = lambda: broken.spectra * float("nan")
    with pytest.raises(EvaluationError, match="endmembers, trained: NaN or infinity"):
        unmixing.evaluate(broken, data, fresh=lambda: Toy(data.inputs))


def test_the_fingerprint_holds_what_makes_scores_comparable(data):
    method = Toy(data.inputs)
    same = unmixing.fingerprint(method, data)
    assert unmixing.fingerprint(Toy(data.inputs), toy()) == same
    assert unmixing.fingerprint(method, dataclasses.replace(data, name="other")) != same
    fewer = {"endmembers": data.truth["endmembers"][:3], "abundances": data.truth["abundances"][:, :3]}
    assert unmixing.fingerprint(method, dataclasses.replace(data, truth=fewer)) != same
