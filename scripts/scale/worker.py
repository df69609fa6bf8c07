"""One process of a measured training; started by torchrun with its work as JSON (see `scripts.scale.__main__.Work`).

Leaves in the folder of the run, for every process, when each step ended; the main one adds losses and weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from refimpl.data.known import open_data
from refimpl.engine import distributed, loop, sharding
from refimpl.studies.build import build_method
from refimpl.studies.run import choose_device


def main(work: dict) -> None:
    torch.set_num_threads(1)
    device = choose_device(work["device"])
    data = open_data("synthetic", size=work["size"], samples=work["samples"], seed=0)
    method = build_method(work["method"], data.inputs, backbone=work["backbone"], seed=0)
    before = {
        name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in method.named_parameters()
    }
    clocks, held = [], 0
    follow = method.after_step

    def noting(progress) -> None:
        nonlocal held
        follow(progress)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        clocks.append((time.time(), time.process_time()))
        held = sharding.held_bytes(method, ())[0]

    method.after_step = noting
    recipe = method.recipe.but(batch=work["batch"], epochs=work["steps"])
    with distributed.process_group(device):
        steps = {"max_steps": work["steps"], "precision": "fp32", "compiles": "off", "quiet": True}
        trained = loop.train(method, data, recipe, device=device, shard=work["sharded"], **steps)
        folder, rank = Path(work["folder"]), distributed.rank()
    found = {"clocks": clocks, "held": held, "losses": [loss for _, loss in trained.curve]}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if rank == 0:
        weights = {name: value.detach().cpu().contiguous() for name, value in method.named_parameters()}
        save_file(weights, folder / "after.safetensors")
        save_file(before, folder / "before.safetensors")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # what torch's threads do while Python ends is of no interest here
