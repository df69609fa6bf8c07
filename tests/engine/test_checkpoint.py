"""Checkpoints: written whole or not at all, checked when read, of any shape of buffer."""

from __future__ import annotations

import json
import os

import pytest
import torch
from torch import nn

from refimpl.engine import checkpoint
from refimpl.engine.checkpoint import CheckpointError, newest_checkpoint, save_checkpoint
from refimpl.engine.errors import OutputError


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"model/w": torch.full((3,), value), "model/n": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path):
    for step in (2, 4):
        save_checkpoint(tmp_path, step, tensors(step), {"note": "kept"})
    return tmp_path


def newest(folder) -> tuple[int, list[str]]:
    said: list[str] = []
    found = newest_checkpoint(folder, said.append)
    return (found[0]["step"] if found else -1), said


def test_the_newest_is_read_back(folder):
    facts, found = newest_checkpoint(folder)
    assert facts["step"] == 4 and facts["note"] == "kept"
    assert torch.equal(found["model/w"], torch.full((3,), 4.0)) and int(found["model/n"]) == 7


def test_only_the_newest_two_are_kept(folder):
    save_checkpoint(folder, 6, tensors(6), {})
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000004.json",
        "00000004.safetensors",
        "00000006.json",
        "00000006.safetensors",
    ]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, empty, os.unlink])
def test_damaged_tensors_are_passed_over_with_a_message(folder, damage):
    damage(folder / "00000004.safetensors")
    step, said = newest(folder)
    assert step == 2
    assert len(said) == 1 and "00000004.safetensors: damaged checkpoint passed over" in said[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": 4}', b"\xff\xfe"])
def test_damaged_note_is_passed_over_with_a_message(folder, content):
    (folder / "00000004.json").write_bytes(content)
    step, said = newest(folder)
    assert step == 2 and len(said) == 1


def test_all_damaged_is_none(folder):
    for path in folder.glob("*.safetensors"):
        flip_a_bit(path)
    step, said = newest(folder)
    assert step == -1 and len(said) == 3 and "none of 2 checkpoints is sound; beginning again" in said[-1]


def test_nothing_there_is_none(tmp_path):
    assert newest(tmp_path / "missing") == (-1, [])


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_death_while_writing_leaves_the_former_one(folder, monkeypatch, dies_at):
    """Dies at the tensors' or at the note's renaming: the note is the commit."""
    calls, replace = [], os.replace

    def dying(*args):
        calls.append(args)
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(folder, 6, tensors(6), {})
    assert newest(folder) == (4, [])
    assert not [p for p in folder.iterdir() if ".part" in p.name]
    save_checkpoint(folder, 6, tensors(6), {})
    assert newest(folder) == (6, [])


def test_a_full_disk_leaves_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    checkpoint.write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        checkpoint.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_cleared_away(folder):
    torn = folder / ".00000006.safetensors.123.part"
    torn.write_bytes(b"half")
    assert newest(folder) == (4, [])
    save_checkpoint(folder, 6, tensors(6), {})
    assert not torn.exists()


class Net(nn.Module):
    def __init__(self, queue: int = 4, width: int = 3):
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.register_buffer("queue", torch.zeros(queue, 2))


def trained(net: Net) -> dict[str, torch.optim.Optimizer]:
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net.layer(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()
    return {"all": optimiser}


def test_restored_run_takes_the_same_next_step():
    torch.manual_seed(0)
    net = Net(queue=6)
    optimisers = trained(net)
    saved = checkpoint.tensors_of(net, optimisers)
    other = Net(queue=0)  # sized by the data later
    fresh = {"all": torch.optim.AdamW(other.parameters(), lr=0.1)}
    checkpoint.restore(saved, other, fresh)
    assert other.queue.shape == (6, 2)
    for n, o in ((net, optimisers), (other, fresh)):
        o["all"].zero_grad()
        n.layer(torch.ones(1, 3)).square().sum().backward()
        o["all"].step()
    for a, b in zip(net.parameters(), other.parameters()):
        assert torch.equal(a, b)


def test_saved_tensors_do_not_follow_the_weights():
    net = Net()
    saved = checkpoint.tensors_of(net, {})
    with torch.no_grad():
        net.layer.weight.add_(1)
    assert not torch.equal(saved["model/layer.weight"], net.layer.weight)


def test_another_network_is_refused_in_one_line():
    saved = checkpoint.tensors_of(Net(width=3), {})
    with pytest.raises(CheckpointError, match="does not fit this model") as caught:
        checkpoint.restore(saved, Net(width=5), {})
    assert "\n" not in str(caught.value)


def test_notes_are_plain_json(folder):
    note = json.loads((folder / "00000004.json").read_text())
    assert set(note) == {"step", "sha256", "note"} and len(note["sha256"]) == 64
