"""Finished run folders, without the time that training takes: their weights are those of initialisation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refimpl.data.dataset import Input
from refimpl.engine.checkpoint import write_atomically
from refimpl.studies import build, record
from refimpl.studies.saved import save_method

RGB = Input(("B04", "B03", "B02"), 32, (90.0, 97.5, 104.0), (50.0, 34.0, 29.0), "Sentinel-2")
SPECTRUM = Input(tuple(f"band{n}" for n in range(6)), 1, (900.0,) * 6, (400.0,) * 6)


def score(features: str, value: float) -> dict:
    half = 1.5
    return {
        "metric": "k-NN accuracy", "value": value, "unit": "%", "lower": value - half, "upper": value + half,
        "features": features,
    }  # fmt: skip


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """make_run(method, backbone, input) -> the folder of a run that looks as `refimpl run` leaves it."""

    def make(name: str, backbone: str, field: Input, *, synthetic: bool = False, judged: bool = True) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "run"
        folder.mkdir()
        method = build.build_method(name, {build.method_class(name).needs[0]: field}, backbone=backbone).eval()
        save_method(folder, name, backbone, {}, method)
        config = {"method": name, "backbone": backbone, "seed": 0, "recipe": vars(method.recipe)}
        data = {"name": "fields", "digest": "0123", "synthetic": synthetic, "samples": 64, "source": "fields.zip"}
        trained = {"seconds": 1.0, "images_per_second": 1.0, "peak_memory_mb": 1, "curve": [], "device": "none"}
        kinds = (("trained", 71.2), ("random initialisation", 60.4), ("band statistics", 55.0)) if judged else ()
        scores = [score(kind, value) for kind, value in kinds]
        begun = {"commit": "abc", "code_hash": "def"}
        made = record.run_record(config, begun, data, trained, scores, "", record.now())
        write_atomically(folder / "record.json", record.as_json(json.loads(json.dumps(made))))
        return folder

    return make


@pytest.fixture(scope="session")
def rgb_run(make_run) -> Path:
    return make_run("simclr", "vit_micro", RGB)


@pytest.fixture(scope="session")
def pixel_run(make_run) -> Path:
    return make_run("egu_net", "spectral_funnel", SPECTRUM)
