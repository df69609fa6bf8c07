"""Item 6: a run that is killed and resumed ends, bit by bit, where an uninterrupted one does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import smoke
import torch

from refimpl.engine import loop
from refimpl.engine.checkpoint import newest_checkpoint

STEPS = 2 * smoke.EPOCH_STEPS
SAVE_EVERY = 2
KILLED_IN = 5  # the checkpoints of 2 and 4 steps remain: one in either epoch, neither at its start


class Killed(Exception):
    pass


def train(name: str, folder: Path, *, kill_in: int | None = None, say=None) -> None:
    """Trains (or resumes) in `folder`; with `kill_in`, dies in that step's last forward pass, half of it done."""
    data = smoke.smoke_data(name)
    method = smoke.build(name, data)
    if kill_in is not None:
        forward, left = method.forward, iter(range(kill_in * len(method.turns) + len(method.turns) - 1))

        def dying(batch, turn="all"):
            if next(left, None) is None:
                raise Killed
            return forward(batch, turn)

        method.forward = dying
    recipe = smoke.recipe(name)
    loop.train(method, data, recipe, seed=5, precision="fp32", folder=folder, save_every=SAVE_EVERY, quiet=True)


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    facts, tensors = newest_checkpoint(folder / "checkpoints")
    assert facts["step"] == STEPS
    return tensors


def assert_same(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert state.keys() == wanted.keys()
    differing = [key for key, value in wanted.items() if not torch.equal(value, state[key])]
    assert not differing, f"{len(differing)} of {len(wanted)} tensors differ, first {differing[:3]}"


@pytest.fixture(scope="session")
def uninterrupted(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    train(name, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def interrupted(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    with pytest.raises(Killed):
        train(name, folder, kill_in=KILLED_IN)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def killed_run(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


def test_state_holds_weights_buffers_and_moments(name, uninterrupted):
    method = smoke.build(name)
    state = final_state(uninterrupted)
    assert {k for k in state if k.startswith("model/")} == {f"model/{k}" for k in method.state_dict()}
    for turn in method.turns:
        trained = {n for n, _ in method.parameters_of(turn)}
        held = {k.split("/")[2] for k in state if k.startswith(f"optimiser/{turn}/")}
        assert held <= trained and held, f"turn {turn} keeps moments of {sorted(held - trained)[:3]}"


def test_resumed_run_equals_uninterrupted_run(name, uninterrupted, killed_run):
    train(name, killed_run)
    assert_same(final_state(killed_run), final_state(uninterrupted))
    logs = []
    for folder in (uninterrupted, killed_run):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        logs.append([(line["step"], line["loss"]) for line in lines])
    assert [step for step, _ in logs[0]] == list(range(STEPS))
    assert logs[1] == logs[0]
    assert not list(killed_run.rglob("*.part"))


def test_damaged_checkpoint_is_passed_over(name, uninterrupted, killed_run, capsys):
    """The newest checkpoint is cut short; the one before it, from the epoch before, leads to the same end."""
    newest = sorted((killed_run / "checkpoints").glob("*.safetensors"))[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    train(name, killed_run)
    assert "damaged checkpoint passed over" in capsys.readouterr().err
    assert_same(final_state(killed_run), final_state(uninterrupted))
