"""Checkpoints that a kill at any moment cannot spoil, in a format that executes nothing when read.

A checkpoint is one safetensors file of every tensor that influences the next step (parameters, buffers, optimiser
moments) and one JSON file that names it, its SHA-256 and the step. Both are written beside their place and renamed;
the JSON last, so it is the commit. A checkpoint whose hash does not match is passed over for the one before it.
Random numbers need no saving: they are a function of the step (`refimpl.engine.draws`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from refimpl.engine.errors import OutputError
from refimpl.engine.sharding import fill, is_sharded, whole

KEEP = 2


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message is one line with the remedy."""


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees either all of it or the former one.

    Raises:
        OutputError: the disk is full, the folder read-only or gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room or choose another --out") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def tensors_of(module: nn.Module, optimisers: dict[str, torch.optim.Optimizer], keep: bool = True) -> dict[str, Tensor]:
    """Every tensor a run's next step depends on, by a flat name, whole and on the CPU.

    Where weights are sharded, all processes must ask together; keep=False is for those that only lend their slices.
    """
    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    names = {id(p): name for name, p in module.named_parameters()}
    for turn, optimiser in optimisers.items():
        for parameter, state in optimiser.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser/{turn}/{names[id(parameter)]}/{key}"] = value
    # One at a time, and in the same order on every process: optimisers keep theirs in the order in which they were
    # restored, which is safetensors' and differs from process to process.
    wholes = ((name, whole(value.detach())) for name, value in sorted(tensors.items()))
    # safetensors refuses tensors that share memory; clones also free us of views into larger storage.
    return {name: value.cpu().clone().contiguous() for name, value in wholes if keep}


def restore(tensors: dict[str, Tensor], module: nn.Module, optimisers: dict[str, torch.optim.Optimizer]) -> None:
    """The inverse of `tensors_of`. Buffers may have another shape than now (a queue or labels sized by the data).

    Raises:
        CheckpointError: a parameter is missing or has another shape, as with another backbone.
    """
    device = next(module.parameters()).device
    model = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
    load_model(model, module)
    parameters = dict(module.named_parameters())
    for turn, optimiser in optimisers.items():
        optimiser.state.clear()
        prefix = f"optimiser/{turn}/"
        for name, value in tensors.items():
            if name.startswith(prefix):
                parameter, key = name.removeprefix(prefix).rsplit("/", 1)
                owner = parameters[parameter]
                if (
                    value.shape == owner.shape
                ):  # moments must lie in memory as their weights do (channels_last, sharded)
                    value = fill(torch.empty_like(owner.detach(), dtype=value.dtype), value)
                optimiser.state[owner][key] = value.detach().to(device)


def load_model(model: dict[str, Tensor], module: nn.Module) -> None:
    """Loads parameters and buffers by name; buffers take the saved shape.

    Raises:
        CheckpointError: names or shapes of parameters differ.
    """
    for name, buffer in module.named_buffers():
        if name in model and model[name].shape != buffer.shape:
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner).register_buffer(leaf, torch.empty_like(model[name], device=buffer.device))
    for name, parameter in module.named_parameters():
        if is_sharded(parameter) and name in model and model[name].shape == parameter.shape:
            model[name] = fill(torch.empty_like(parameter.detach()), model[name])
    try:
        module.load_state_dict(model)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"the checkpoint does not fit this model ({detail}); use the run's own settings"
        ) from None


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict) -> None:
    """Writes checkpoint `step` into `folder` and removes all but the newest `KEEP`.

    Raises:
        OutputError: it cannot be written; those before it are untouched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
    content = save(tensors)
    write_atomically(folder / f"{step:08d}.safetensors", content)
    note = {"step": step, "sha256": hashlib.sha256(content).hexdigest(), **facts}
    write_atomically(folder / f"{step:08d}.json", json.dumps(note).encode())
    for torn in folder.glob(".*.part"):  # of a process that was killed while it wrote
        torn.unlink(missing_ok=True)
    for old in sorted(folder.glob("*.json"))[:-KEEP]:
        old.unlink()
    kept = {note.stem for note in folder.glob("*.json")}
    for weights in folder.glob("*.safetensors"):  # also those whose note was never written
        if weights.stem not in kept:
            weights.unlink(missing_ok=True)


def newest_checkpoint(folder: Path, say=print) -> tuple[dict, dict[str, Tensor]] | None:
    """(facts, tensors) of the newest sound checkpoint, or None; a damaged one is reported through `say`."""
    notes = sorted(folder.glob("*.json"), reverse=True)
    for note in notes:
        tensors = note.with_suffix(".safetensors")
        try:
            facts = json.loads(note.read_text(encoding="utf-8"))
            content = tensors.read_bytes()
            if hashlib.sha256(content).hexdigest() != facts["sha256"]:
                raise ValueError("its checksum does not match")
            return facts, load(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"{tensors}: damaged checkpoint passed over ({error}); trying the one before it")
    if notes:
        say(f"{folder}: none of {len(notes)} checkpoints is sound; beginning again from step 0")
    return None
