"""The verification ladder's rungs 2 to 4, computed: does it run, does it match its reference, does it learn?

Each rung that was climbed is written, with the hash of the code it depends on, to
`catalog/results/<method>.verify.<cpu|cuda>.json`; the site shows it until that code changes.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from refimpl import references, registry
from refimpl.data import known
from refimpl.engine.checkpoint import write_atomically
from refimpl.engine.loop import train
from refimpl.engine.progress import say
from refimpl.evaluation import PROTOCOLS
from refimpl.evaluation.scores import RANDOM, TRAINED
from refimpl.studies import build, record
from refimpl.studies.run import RESULTS, choose_device

RUNGS = ("runs", "matches", "learns")
SEEDS = (0, 1, 2)


def verify(name: str, *, device: str = "cpu", rungs: list[str] | None = None, folder: str | Path | None = None) -> bool:
    """Climbs the rungs asked for, writes the record, prints a line per rung; True if all passed.

    Rungs not asked for keep what an earlier record says of them, unless the code has changed since.
    Raises:
        registry.UnknownMethod; TrainingError where the device does not exist.
    """
    registry.find(name)
    where = choose_device(device)
    path = Path(folder or RESULTS) / f"{name}.verify.{where.type}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rungs"] if path.exists() else {}
    before = {rung: result for rung, result in before.items() if result["code_hash"] == registry.rung_hash(name, rung)}
    climbed = {}
    for rung in rungs or RUNGS:
        began = time.monotonic()
        result = {"runs": runs, "matches": matches, "learns": learns}[rung](name, where)
        climbed[rung] = {**result, "code_hash": registry.rung_hash(name, rung)}
        mark, style = ("passed", "green") if result["passed"] else ("FAILED", "red")
        say(f"{name:<18} {rung:<8} {mark}  {_line(rung, result)}  ({time.monotonic() - began:.0f} s)", style=style)
    made = {
        "record": "verification",
        "schema": 1,
        "method": name,
        "device": record.device_name(where),
        "commit": record.commit(),
        "made": record.now(),
        "versions": record.versions(),
        "rungs": {rung: {**before, **climbed}[rung] for rung in RUNGS if rung in {**before, **climbed}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, record.as_json(made))
    return all(result["passed"] for result in climbed.values())


def runs(name: str, device: torch.device) -> dict:
    """Rung 2: the very command that the page shows, in a process of its own."""
    command = registry.find(name).command
    with tempfile.TemporaryDirectory() as temporary:
        words = [sys.executable, *shlex.split(command)[1:], "--device", device.type, "--out", f"{temporary}/run"]
        began = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, cwd=registry.ROOT.parent, check=False)
        seconds = time.monotonic() - began
        result = {"passed": done.returncode == 0, "command": command, "seconds": round(seconds, 1)}
        if done.returncode:
            say(done.stderr.strip()[-2000:])
            return {**result, "peak_memory_mb": 0}
        made = json.loads(Path(temporary, "run", "record.json").read_text(encoding="utf-8"))
    return {**result, "peak_memory_mb": made["peak_memory_mb"], "images_per_second": made["images_per_second"]}


def matches(name: str, device: torch.device) -> dict:
    """Rung 3: every case of its independent reference."""
    references.DEVICE = device
    checks = references.checks(name)
    listed = [{"name": c.name, "error": float(c.error), "tolerance": c.tolerance} for c in checks]
    return {"passed": all(c.passed for c in checks), "checks": listed}


def learns(name: str, device: torch.device, seeds: tuple[int, ...] = SEEDS) -> dict:
    """Rung 4: trained features beat the same network at random initialisation by the stated margin, on every seed.

    The margin holds for the mean over seeds, the sign for each of them. Better is what the protocol says is better.
    """
    entry, cls = registry.find(name), build.method_class(name)
    protocol = PROTOCOLS[entry.protocol]
    proof = dict(cls.proof)
    required, samples, size = proof.pop("margin"), proof.pop("samples"), proof.pop("size")
    backbone, bands, spec = (proof.pop(wish, None) for wish in ("backbone", "bands", "data"))
    hyper, changes = build.split_settings(cls, proof)
    recipe = cls.recipe.but(**changes)
    spec = spec or next(n for n in known.matching(entry.needs) if n.startswith("synthetic"))
    outcome: dict[str, list[float]] = {}
    for seed in seeds:
        data = known.open_data(spec, size=size, samples=samples, seed=seed, needs=entry.needs, bands=bands)

        def make(seed: int, data=data):
            fitted = {**cls.settings_for(data), **hyper}
            return build.build_method(name, data.inputs, backbone=backbone, seed=seed, **fitted)

        def twin(seed: int = seed + 1000):
            return make(seed).eval()

        method = make(seed)
        train(method, data, recipe, seed=seed, device=device)
        scores = protocol.evaluate(method.eval(), data, seed=seed, fresh=twin, device=device)
        for features in dict.fromkeys(score.features for score in scores):
            outcome.setdefault(features, []).append(round(protocol.headline(scores, features), 4))
    sign = 1 if protocol.HIGHER_IS_BETTER else -1
    headline = next(s for s in scores if s.features == TRAINED and s.value == protocol.headline(scores))
    gains = [sign * (a - b) for a, b in zip(outcome[TRAINED], outcome[RANDOM])]
    return {
        "passed": statistics.mean(gains) >= required and min(gains) > 0,
        "metric": headline.metric,
        "unit": headline.unit or "1",
        "data": f"{spec}, {bands} alone" if bands else spec,
        "trained": outcome.pop(TRAINED),
        "random": outcome.pop(RANDOM),
        "others": outcome,
        "margin": round(statistics.mean(gains), 4),
        "required": required,
    }


def _line(rung: str, result: dict) -> str:
    if rung == "runs":
        return f"{result['seconds']} s, {result['peak_memory_mb']} MB"
    if rung == "matches":
        bad = [f"{c['name']} ({c['error']:.1e})" for c in result["checks"] if not c["error"] <= c["tolerance"]]
        return "; ".join(bad) or f"{len(result['checks'])} checks"
    mean = {key: statistics.mean(result[key]) for key in ("trained", "random")}
    unit = "" if result["unit"] == "1" else f" {result['unit']}"
    return (
        f"{result['metric']} {mean['trained']:.4g} against {mean['random']:.4g}{unit}, "
        f"better by {result['margin']:.4g} (needs {result['required']:g})"
    )
