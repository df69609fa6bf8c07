"""Rung 4 says "learned" only where training paid, on every seed, and every proof's settings can be built."""

import functools

import pytest
import torch

from refimpl import registry
from refimpl.data import known
from refimpl.methods.joint_embedding.simclr import SimCLR
from refimpl.studies import build, verify

CPU = torch.device("cpu")
TINY = {"samples": 160, "size": 16, "backbone": "resnet10t", "epochs": 1, "batch": 32}


@pytest.fixture(scope="module")
def outcome():
    """What one short run with one band says, with nothing asked of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimCLR, "proof", {**TINY, "bands": "B03", "margin": -1000.0})
        return verify.learns("simclr", CPU, seeds=(0,))


def test_the_proof_names_its_data_and_counts_its_gain(outcome):
    assert outcome["data"] == "synthetic, B03 alone"
    assert outcome["margin"] == pytest.approx(outcome["trained"][0] - outcome["random"][0])
    assert set(outcome["others"]) == {"band statistics"}


@pytest.mark.parametrize("gains, required, passed", [((3, 1), 2, True), ((3, 1), 2.5, False), ((9, -1), 2, False)])
def test_the_margin_holds_for_the_mean_and_the_sign_for_every_seed(monkeypatch, gains, required, passed):
    class Protocol:
        HIGHER_IS_BETTER = True

        @staticmethod
        def evaluate(method, data, *, seed, fresh, device):
            return [Score("trained", 50.0 + gains[seed]), Score("random initialisation", 50.0)]

        @staticmethod
        def headline(scores, features="trained"):
            return next(s.value for s in scores if s.features == features)

    class Score:
        metric, unit = "accuracy", "%"

        def __init__(self, features, value):
            self.features, self.value = features, value

    monkeypatch.setattr(SimCLR, "proof", {**TINY, "margin": required})
    monkeypatch.setattr(verify, "train", lambda *args, **settings: None)
    monkeypatch.setattr(verify, "PROTOCOLS", {"scene": Protocol})
    result = verify.learns("simclr", CPU, seeds=(0, 1))
    assert result["margin"] == sum(gains) / 2
    assert result["passed"] is passed


@functools.cache
def _small(needs: tuple, size: int, bands: str | None, spec: str | None):
    spec = spec or next(name for name in known.matching(needs) if name.startswith("synthetic"))
    return known.open_data(spec, size=size, samples=60, needs=needs, bands=bands)


def test_the_settings_of_the_proof_exist_and_build(name):
    cls = build.method_class(name)
    proof = dict(cls.proof)
    assert proof.pop("margin") > 0 and proof.pop("samples") >= 1000
    wishes = [proof.pop(wish, None) for wish in ("size", "bands", "data")]
    data = _small(tuple(registry.find(name).needs), *wishes)
    backbone = proof.pop("backbone", None)
    hyper, changes = build.split_settings(cls, proof)
    method = build.build_method(name, data.inputs, backbone=backbone, seed=0, **{**cls.settings_for(data), **hyper})
    assert cls.recipe.but(**changes).epochs > 0
    rows = torch.as_tensor(data.splits["train"][:2])
    assert method.eval().embed(data.take(method.needs[0], rows)).shape == (2, method.encoder.width)
