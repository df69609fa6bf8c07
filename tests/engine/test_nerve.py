"""What goes wrong in a run is said in one line, and nothing that was saved is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import weakref

import numpy as np
import pytest
import torch
from lines import PER_EPOCH, RECIPE, Line, line, line_data, train

from refimpl.data.dataset import Data
from refimpl.engine import checkpoint, log, nerve
from refimpl.engine.errors import OutputError, Stopped, TrainingError
from refimpl.engine.method import Output

STEPS = 3 * PER_EPOCH


@pytest.fixture
def data() -> Data:
    return line_data()


def at_call(method: Line, call: int, act) -> Line:
    """The method, which does `act()` in its `call`-th forward pass (from 0)."""
    forward, calls = method.forward, iter(range(10**6))

    def acting(batch, turn="all"):
        if next(calls) == call:
            act()
        return forward(batch, turn)

    method.forward = acting
    return method


# -- one writer per folder ---------------------------------------------------------------------------------------------


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(tmp_path):
    message = rf"{tmp_path}: another run is writing there \(process {os.getpid()}\)"
    with nerve.FolderLock(tmp_path), pytest.raises(TrainingError, match=message):
        nerve.FolderLock(tmp_path)
    nerve.FolderLock(tmp_path).close()


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / ".weights.safetensors.123.part").write_bytes(b"half")
    (tmp_path / "metrics.jsonl").touch()
    with nerve.FolderLock(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "metrics.jsonl"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be written"):
        nerve.FolderLock(tmp_path / "file")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written"):
        train(line(line_data()), line_data(), folder=tmp_path / "file" / "run")


# -- signals -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def heard_by(handler, number: int):
    """Within it `handler` gets the signal, whoever got it before."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", nerve.SIGNALS)
def test_a_signal_lets_a_step_end_and_the_run_resumes_to_the_same_weights(data, tmp_path, number):
    whole = line(data, noise=0.5)
    train(whole, data)
    before = signal.getsignal(number)
    stopped = at_call(line(data, noise=0.5), 6, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Stopped, match="stopped after step 8; continue with --resume") as caught:
        train(stopped, data, folder=tmp_path, save_every=100)
    assert caught.value.signal == number and signal.getsignal(number) is before
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "00000008.json", "00000008.safetensors"]  # fmt: skip
    resumed = line(data, seed=9, noise=0.5)
    train(resumed, data, folder=tmp_path)
    assert torch.equal(resumed.line.weight, whole.line.weight)


@pytest.mark.parametrize("number", nerve.SIGNALS)
def test_a_signal_during_the_last_step_is_handed_on(data, tmp_path, monkeypatch, number):
    got = []
    with heard_by(lambda *_: got.append(number), number):
        train(at_call(line(data), STEPS - 1, lambda: os.kill(os.getpid(), number)), data, folder=tmp_path)
    assert got == [number] and (tmp_path / "checkpoints" / f"{STEPS:08d}.json").exists()


def test_nobody_who_listens_is_no_reason_to_stop(monkeypatch):
    from refimpl.engine import progress

    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as gone:
        monkeypatch.setattr("sys.stderr", gone)
        monkeypatch.setattr(progress.console, "quiet", False)
        progress.say("a")
        with progress.Bar("training", 2, every=0) as bar:
            bar.advance()
            bar.advance()
        monkeypatch.undo()
        os.dup2(2, gone.fileno())  # so that it can be closed
    assert progress.console.quiet is False


def test_a_second_signal_is_not_caught(data, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # A shell starts what runs in the background with this signal ignored, and the tests may be run there.
    with heard_by(signal.default_int_handler, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        train(at_call(line(data), 3, twice), data, folder=tmp_path)


# -- memory ------------------------------------------------------------------------------------------------------------


class Large(Line):
    """Has room for three samples at a time."""

    def forward(self, batch, turn="all"):
        if len(batch["x"]) > 3:
            raise torch.OutOfMemoryError("tried to allocate more than there is")
        return super().forward(batch, turn)


def test_a_batch_that_does_not_fit_names_one_that_does(data):
    method = Large(data.inputs)
    with pytest.raises(TrainingError, match=r"step 0: a batch of 16 does not fit .* 2 fits: use --set batch=2, or"):
        train(method, data, RECIPE.but(batch=16))
    assert all(p.grad is None for p in method.parameters())
    train(Large(data.inputs), data, RECIPE.but(batch=2), max_steps=2)


def test_what_a_failed_step_had_computed_is_gone_before_smaller_batches_are_tried(data):
    """An error holds the functions that it came through, and they what they had computed: most of the memory."""
    held: list[weakref.ref] = []

    class Forgetful(Large):
        def forward(self, batch, turn="all"):
            if len(batch["x"]) <= 3:
                assert not any(activations() is not None for activations in held)
            activations = torch.ones(10)
            held.append(weakref.ref(activations))
            return super().forward(batch, turn)

    with pytest.raises(TrainingError, match="2 fits"):
        train(Forgetful(data.inputs), data, RECIPE.but(batch=16))
    assert len(held) == 4  # 16, 8, 4 and 2


def test_a_method_that_compares_samples_is_not_told_to_accumulate(data):
    method = Large(data.inputs)
    method.couples_samples = True
    with pytest.raises(TrainingError, match=r"use --set batch=2$"):
        train(method, data, RECIPE.but(batch=16))


def test_where_nothing_fits_that_is_said(data):
    method = Large(data.inputs)
    method.forward = lambda batch, turn="all": (_ for _ in ()).throw(MemoryError())
    with pytest.raises(TrainingError, match="no batch of any size fits"):
        train(method, data)


def test_other_errors_pass_as_they_are(data):
    method = line(data)
    method.forward = lambda batch, turn="all": (_ for _ in ()).throw(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(method, data)


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_a_sample_that_is_not_finite_is_named_and_the_checkpoints_stay_sound(data, tmp_path):
    spectrum = data.fields["spectrum"].astype(np.float32)
    method = line(data)
    train(method, data)
    last = method.seen[8][1]  # a sample of the ninth step ...
    first = next(step for step, seen in enumerate(method.seen) if last in seen)
    spectrum[last, 2] = np.nan
    holed = Data(data.name, {"spectrum": spectrum}, data.inputs, data.splits)
    with pytest.raises(TrainingError) as caught:
        train(line(data), holed, folder=tmp_path, save_every=1)
    assert f"step {first}: the loss is not finite" in str(caught.value)
    assert f"sample {last} of the data holds NaN or infinity in its spectrum" in str(caught.value)
    found = checkpoint.newest_checkpoint(tmp_path / "checkpoints")
    assert (found[0]["step"] if found else 0) == first
    assert all(torch.isfinite(value).all() for value in (found[1].values() if found else ()))


def test_a_loss_that_is_not_finite_on_good_data_blames_the_rate(data):
    method = line(data)
    method.forward = lambda batch, turn="all": Output((method.line.weight * float("inf")).sum())
    with pytest.raises(TrainingError, match="lower --set lr or use --precision fp32"):
        train(method, data)


# -- disks -------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while_costs_nothing(data, tmp_path, monkeypatch, capsys):
    whole = line(data, noise=0.5)
    train(whole, data)
    save = checkpoint.save_checkpoint

    def full(folder, step, *rest):
        if step in (2, 3, 4):
            raise OutputError(f"{folder}/{step}: cannot be written (No space left on device)")
        save(folder, step, *rest)

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    method = line(data, noise=0.5)
    train(method, data, folder=tmp_path, save_every=1)
    assert torch.equal(method.line.weight, whole.line.weight)
    said = capsys.readouterr().err
    assert said.count("the run goes on, its last checkpoint is of step 1") == 3


def test_a_disk_that_is_full_at_the_end_is_an_error_and_what_was_saved_stays(data, tmp_path, monkeypatch):
    save = checkpoint.save_checkpoint

    def full(folder, step, *rest):
        if step == STEPS:
            raise OutputError("no room")
        save(folder, step, *rest)

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    with pytest.raises(OutputError):
        train(line(data), data, folder=tmp_path, save_every=1)
    assert checkpoint.newest_checkpoint(tmp_path / "checkpoints")[0]["step"] == STEPS - 1


def test_metrics_that_cannot_be_written_do_not_end_a_run(tmp_path, capsys):
    metrics = log.Log(tmp_path, 0, 1, quiet=True)
    metrics._file = open("/dev/full", "a")  # noqa: SIM115  every write to it fails for want of room
    for step in range(3):
        metrics.write(step, 0.1, {"loss": torch.tensor(1.0)}, None)
    metrics.close()
    assert [step for step, _ in metrics.curve()] == [0, 1, 2]
    assert capsys.readouterr().err.count("the run goes on without its metrics") == 1


def test_a_line_torn_in_the_middle_of_the_metrics_is_passed_over(data, tmp_path):
    train(line(data), data, folder=tmp_path, max_steps=4)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(f'{lines[0]}\n{{"step": 1, "lo{lines[1]}\n{lines[2]}\n{lines[3]}\n')
    trained = train(line(data), data, folder=tmp_path, max_steps=4)
    assert [json.loads(row)["step"] for row in path.read_text().splitlines()] == [0, 2, 3]
    assert [step for step, _ in trained.curve] == [0, 2, 3]
