"""The pictures of a run's report show what they say."""

import numpy as np
import pytest
import torch

from refimpl.data.dataset import Data, Input
from refimpl.studies import report
from refimpl.studies.build import build_method


@pytest.fixture
def sorted_data():
    """Four classes of 60 test images, one class after the other, as archives are sorted."""
    image = np.random.default_rng(0).integers(0, 255, (240, 3, 32, 32), dtype=np.uint8)
    label = np.repeat(np.arange(4), 60)
    splits = {"train": np.arange(240), "test": np.arange(240)}
    inputs = {"image": Input(("a", "b", "c"), 32)}
    return Data("sorted", {"image": image, "label": label}, inputs, splits, classes=("w", "x", "y", "z"))


def test_map_of_features_shows_every_class(sorted_data, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(report, "MAPPED", 40)
    monkeypatch.setattr(report, "_figure", lambda path, figure: shown.extend(figure.axes[0].collections))
    method = build_method("simclr", sorted_data.inputs, backbone="resnet10t").eval()
    assert report.draw_features(tmp_path, method, sorted_data)
    assert [len(dots.get_offsets()) for dots in shown] == [10, 10, 10, 10]


def test_no_map_without_classes(sorted_data, tmp_path):
    unlabelled = sorted_data.only("image")
    method = build_method("simclr", unlabelled.inputs, backbone="resnet10t").eval()
    assert report.draw_features(tmp_path, method, unlabelled) is False
    assert not list(tmp_path.iterdir())
    assert torch.is_grad_enabled()
