"""Item 12: the command on every entry's page, from data to report, in this process."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from refimpl import registry
from refimpl.cli import main
from refimpl.studies.run import Options, open_for
from refimpl.studies.saved import load_method


@pytest.fixture(scope="session")
def smoke_run(name, tmp_path_factory):
    """Folder of a finished smoke run, made by the very words that the page shows."""
    folder = tmp_path_factory.mktemp(name) / "run"
    command = registry.find(name).command.split()
    assert command[:3] == ["python", "-m", "refimpl"]
    assert main([*command[3:], "--out", str(folder), "--device", "cpu", "--quiet"]) == 0
    yield folder
    shutil.rmtree(folder)


def test_smoke_command_leaves_a_complete_run(name, smoke_run):
    for file in ("config.json", "metrics.jsonl", "weights.safetensors", "record.json", "report.html"):
        assert (smoke_run / file).stat().st_size > 0, file
    assert not list(smoke_run.rglob("*.part"))
    losses = [json.loads(line)["loss"] for line in (smoke_run / "metrics.jsonl").read_text().splitlines()]
    assert losses and np.isfinite(losses).all()
    record = json.loads((smoke_run / "record.json").read_text())
    assert record["data"]["synthetic"] is True
    features = {score["features"] for score in record["scores"]}
    assert "trained" in features and len(features) > 1, f"judged beside nothing: {features}"
    assert all(np.isfinite(score["value"]) for score in record["scores"])


def test_saved_encoder_embeds(name, smoke_run):
    method = load_method(smoke_run).eval()
    data = open_for(Options(name, smoke=True))
    stored = data.take(method.needs[0], torch.arange(8))
    with torch.no_grad():
        features = method.embed(stored)
        halves = torch.cat([method.embed(part) for part in stored.split(4)])
    assert features.shape == (8, method.encoder.width)
    assert torch.isfinite(features).all()
    assert features.std(dim=0).max() > 0, "eight different samples, one feature vector"
    torch.testing.assert_close(halves, features, rtol=1e-3, atol=1e-4, msg="features depend on the other samples")
