"""A trained method on disk: weights.safetensors, whose header says everything needed to build the network again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from refimpl.data.dataset import Input
from refimpl.engine.checkpoint import CheckpointError, load_model, write_atomically
from refimpl.engine.method import Method
from refimpl.studies.build import build_method

WEIGHTS = "weights.safetensors"


def save_method(folder: Path, name: str, backbone: str | None, hyper: dict, method: Method) -> None:
    """Writes `folder/weights.safetensors` atomically."""
    header = {
        "method": name,
        "backbone": backbone or method.backbone,
        "hyper": hyper,
        "inputs": {field: asdict(value) for field, value in method.inputs.items()},
    }
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in method.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(tensors, metadata={"refimpl": json.dumps(header)}))


def load_method(run: str | Path) -> Method:
    """The trained method of a run folder (or of a weights file), in evaluation mode on the CPU.

    Raises:
        CheckpointError: no finished run there, or a file that this project did not write; one line with the remedy.
    """
    path = Path(run)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.exists():
        raise CheckpointError(f"{path}: no trained weights there; finish the run (python -m refimpl run ... --resume)")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["refimpl"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not weights of a run ({error}); name a run folder") from None
    inputs = {
        field: Input(tuple(v["bands"]), v["size"], tuple(v["mean"]), tuple(v["std"]), v["sensor"])
        for field, v in header["inputs"].items()
    }
    method = build_method(header["method"], inputs, backbone=header["backbone"], **header["hyper"])
    load_model(tensors, method)
    return method.eval()
