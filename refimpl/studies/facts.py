"""What must travel with an encoder or its features, so that whoever gets them can use them rightly."""

from __future__ import annotations

import json
from pathlib import Path

from refimpl.engine.checkpoint import CheckpointError
from refimpl.engine.method import Method

UNITS = "mean and std are in the units of the stored numbers: normalised = (stored - mean) / std"


def read_record(run: Path) -> dict:
    """The record of a finished run. Raises CheckpointError where there is none."""
    path = run / "record.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no record there; finish the run first (python -m refimpl run ... --resume)"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); judge the run again (refimpl evaluate)") from None


def encoder_facts(method: Method, record: dict) -> dict:
    """JSON values: what the encoder reads, what it was trained on, and which run made it. No path of any machine."""
    view = method.encoder.input
    data = record["data"]
    return {
        "method": record["method"],
        "backbone": record["config"]["backbone"],
        "features": method.encoder.width,
        "bands": list(view.bands),
        "size": view.size,
        "mean": list(view.mean),
        "std": list(view.std),
        "units": UNITS,
        "sensor": view.sensor,
        "trained_on": {key: data[key] for key in ("name", "synthetic", "samples", "source", "digest")},
        "run": {key: record[key] for key in ("id", "started", "commit", "code_hash", "seed", "versions")},
    }
