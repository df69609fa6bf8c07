"""Real processes: a run killed and resumed, and a run under torchrun, against the same run in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toys import toy

from refimpl.cli import main

LIMIT = 120.0  # seconds for a process to start, import torch on a busy machine, and take a few steps
STEPS = 12


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> list[str]:
    """A small run of SimCLR on a file of 80 images: 12 steps, a checkpoint every 3."""
    data = toy(samples=80)
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, image=data.fields["image"], label=data.fields["label"])
    settings = ["--backbone", "test_resnet", "--batch", "16", "--epochs", "4", "--set", "dim=16", "--precision", "fp32"]
    return ["run", "simclr", "--data", str(path), "--device", "cpu", "--quiet", *settings]


@pytest.fixture(scope="module")
def uninterrupted(options, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert main([*options, "--out", str(folder)]) == 0
    assert [step for step, _ in losses(folder)] == list(range(STEPS))
    return folder


def losses(folder: Path) -> list[tuple[int, float]]:
    with contextlib.suppress(OSError):
        lines = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
        return [(line["step"], line["loss"]) for line in map(json.loads, lines)]
    return []


def start(command: list[str], log: Path, **variables: str) -> subprocess.Popen:
    with open(log, "w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command], stdout=output, stderr=output, env={**os.environ, **variables}
        )


def test_killed_process_resumes_to_the_same_bytes(options, uninterrupted, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    process = start(["refimpl", *options, "--out", str(folder)], log)
    try:
        deadline = time.monotonic() + LIMIT
        while len(losses(folder)) < 5:  # in the second epoch, beyond the checkpoint of step 3
            assert process.poll() is None, f"the run ended by itself: {log.read_text()}"
            assert time.monotonic() < deadline, f"no fifth step within {LIMIT:.0f} s: {log.read_text()}"
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "weights.safetensors").exists(), "it was killed too late to prove anything"

    assert main([*options, "--out", str(folder), "--resume"]) == 0
    assert losses(folder) == losses(uninterrupted)
    for name in ("weights.safetensors", f"checkpoints/{STEPS:08d}.safetensors"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    assert not list(folder.rglob("*.part"))


def test_torchrun_gives_the_losses_of_one_process(options, uninterrupted, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "refimpl"]
    process = start([*launcher, *options, "--out", str(folder)], log, OMP_NUM_THREADS="1")
    try:
        code = process.wait(LIMIT)
    finally:
        process.kill()
    assert code == 0, log.read_text()[-2000:]
    one, two = losses(uninterrupted), losses(folder)
    assert [step for step, _ in two] == [step for step, _ in one]
    # Adam magnifies the rounding of float32 from step to step; local negatives would differ by ln 2 at once.
    np.testing.assert_allclose([loss for _, loss in two], [loss for _, loss in one], rtol=0.02)
    np.testing.assert_allclose(two[0][1], one[0][1], rtol=1e-5)
    scores = [json.loads((f / "record.json").read_text())["scores"] for f in (uninterrupted, folder)]
    assert len(scores[0]) == len(scores[1]) > 0
