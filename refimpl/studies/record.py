"""Run records: what was run, on what, by which code, and what came out (schema: catalog/schema/run.schema.json)."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import subprocess
from pathlib import Path

import numpy
import timm
import torch

from refimpl import registry


def now() -> str:
    """The present moment in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def commit() -> str:
    """The checkout's commit, with "+changes" when files differ from it; "unknown" outside a checkout."""
    try:
        where = {"cwd": registry.ROOT, "capture_output": True, "text": True, "check": True, "timeout": 20}
        revision = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **where).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--", "."], **where).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return revision + ("+changes" if changed else "")


def device_name(device: torch.device | str) -> str:
    """The accelerator's name, or the processor's with the number of threads used."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"CPU {model}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
    }


def as_json(made: dict) -> bytes:
    """A record as a file: a line per key, so that a change shows as one and a curve does not fill pages."""
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in made.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def run_record(
    config: dict, begun: dict, data_facts: dict, trained: dict, scores: list[dict], fingerprint: str, started: str
) -> dict:
    """The record of one run.

    Args:
        config: everything that was set. begun: commit and code_hash of the code that the training began with.
        data_facts: name, digest, synthetic, samples, source.
        trained: seconds, images_per_second, peak_memory_mb, curve, device.
    """
    name = config["method"]
    identity = hashlib.sha256(json.dumps([config, data_facts, started], sort_keys=True).encode()).hexdigest()[:8]
    return {
        "record": "run",
        "schema": 1,
        "id": identity,
        "method": name,
        "data": data_facts,
        "protocol": registry.find(name).protocol,
        "config": config,
        "seed": config["seed"],
        "commit": begun["commit"],
        "code_hash": begun["code_hash"],
        "started": started,
        "seconds": round(trained["seconds"], 1),
        "device": trained["device"],
        "versions": versions(),
        "peak_memory_mb": round(trained["peak_memory_mb"]),
        "images_per_second": round(trained["images_per_second"], 1),
        "curve": [[step, round(loss, 5)] for step, loss in trained["curve"]],
        "scores": scores,
        "fingerprint": fingerprint,
    }
