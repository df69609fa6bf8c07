"""Real processes: a run killed and resumed, and a run under torchrun, against the same run in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
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
    assert_same_end(folder, uninterrupted)


TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--monitor-interval", "0.1"]


def finish(processes: list[subprocess.Popen], logs: list[Path]) -> list[int]:
    """The exit statuses; ends what takes too long."""
    deadline = time.monotonic() + LIMIT
    try:
        return [process.wait(max(0.0, deadline - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired:
        raise AssertionError("no end: " + " / ".join(log.read_text()[-2000:] for log in logs)) from None
    finally:
        for process in processes:
            process.terminate()  # torchrun ends its workers
        for process in processes:
            process.wait()


@pytest.fixture(scope="module")
def in_two(options, tmp_path_factory) -> Path:
    """The same run in two processes, undisturbed."""
    folder, log = (tmp_path_factory.mktemp("two") / name for name in ("run", "log"))
    process = start([*TORCHRUN, "-m", "refimpl", *options, "--out", str(folder)], log, OMP_NUM_THREADS="1")
    assert finish([process], [log]) == [0], log.read_text()[-2000:]
    return folder


def assert_same_end(folder: Path, wanted: Path) -> None:
    assert losses(folder) == losses(wanted)
    for name in ("weights.safetensors", f"checkpoints/{STEPS:08d}.safetensors"):
        assert (folder / name).read_bytes() == (wanted / name).read_bytes(), name
    assert not list(folder.rglob("*.part"))


def test_torchrun_gives_the_losses_of_one_process(uninterrupted, in_two):
    one, two = losses(uninterrupted), losses(in_two)
    assert [step for step, _ in two] == [step for step, _ in one]
    # Adam magnifies the rounding of float32 from step to step; local negatives would differ by ln 2 at once.
    np.testing.assert_allclose([loss for _, loss in two], [loss for _, loss in one], rtol=0.02)
    np.testing.assert_allclose(two[0][1], one[0][1], rtol=1e-5)
    scores = [json.loads((f / "record.json").read_text())["scores"] for f in (uninterrupted, in_two)]
    assert len(scores[0]) == len(scores[1]) > 0


def test_torchrun_starts_a_killed_worker_again(options, in_two, tmp_path):
    """Killed in step 8, after the checkpoint of step 6; by itself the run ends as the undisturbed one does."""
    folder, log = tmp_path / "run", tmp_path / "log"
    script = Path(__file__).parent.parent / "two_processes" / "mortal.py"
    command = [*TORCHRUN, "--max-restarts", "1", str(script), "8", *options, "--out", str(folder)]
    process = start(command, log, OMP_NUM_THREADS="1")
    assert finish([process], [log]) == [0], log.read_text()[-2000:]
    assert "Signal 9" in log.read_text() or "exitcode: -9" in log.read_text(), "nobody was killed"
    assert_same_end(folder, in_two)


def test_sigterm_to_torchrun_stops_all_workers_with_a_checkpoint(options, tmp_path):
    """The main worker gets it twice, from torchrun and from outside, as where a scheduler signals all processes."""
    folder, log = tmp_path / "run", tmp_path / "log"
    command = [*TORCHRUN, "-m", "refimpl", *options, "--epochs", "1000", "--out", str(folder)]
    process = start(command, log, OMP_NUM_THREADS="1")
    try:
        deadline = time.monotonic() + LIMIT
        while len(losses(folder)) < 5:
            assert process.poll() is None, f"the run ended by itself: {log.read_text()}"
            assert time.monotonic() < deadline, f"no fifth step within {LIMIT:.0f} s: {log.read_text()}"
            time.sleep(0.01)
        os.kill(int((folder / ".lock").read_text()), signal.SIGTERM)
    finally:
        process.terminate()
    finish([process], [log])
    done = len(losses(folder))
    assert f"refimpl: stopped after step {done}; continue with --resume" in log.read_text(), log.read_text()[-2000:]
    assert (folder / "checkpoints" / f"{done:08d}.json").exists()
    assert "exitcode" not in log.read_text(), "a worker was ended before it left by itself"


def test_two_machines_do_what_one_does_and_go_on_after_a_lost_worker(options, in_two, tmp_path):
    """Two launchers with a worker each that meet over the network, here the loopback; one is killed in step 8."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    meeting += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    meeting += ["--max-restarts", "1", "--monitor-interval", "0.1"]
    script = str(Path(__file__).parent.parent / "two_processes" / "mortal.py")
    # Only the machine that lost its worker counts an attempt: the others must be told to resume.
    command = ["torch.distributed.run", *meeting, script, "8", *options, "--resume", "--out", str(tmp_path / "run")]
    logs = [tmp_path / "log0", tmp_path / "log1"]
    processes = [start(command, log, OMP_NUM_THREADS="1") for log in logs]
    assert finish(processes, logs) == [0, 0], " / ".join(log.read_text()[-2000:] for log in logs)
    assert any("exitcode: -9" in log.read_text() for log in logs), "nobody was killed"
    assert_same_end(tmp_path / "run", in_two)
