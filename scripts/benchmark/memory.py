"""Peak memory of training, each measured in a process of its own that does nothing else.

    python -m scripts.benchmark.memory '{"who": "ours", ...}'     prints megabytes

Counted is what comes on top of the imported libraries and the images: these cost memory whether one trains or not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from scripts.benchmark import ours, work
from scripts.benchmark.pairs import quartiles, ratio
from scripts.benchmark.peers import PEERS
from scripts.benchmark.settings import VIEWS, Settings, wanted
from scripts.comparisons import Comparison

STEPS = 4  # the optimiser's moments exist after one; the rest is for what libraries keep between steps
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Unmeasurable(RuntimeError):
    """The child could not do it; str() is one line."""


def resident_mb(line: str) -> float:
    """Of this process: "VmRSS" now, "VmHWM" at its highest, in MB."""
    for row in STATUS.read_text().splitlines():
        if row.startswith(line + ":"):
            return float(row.split()[1]) * 1024 / 1e6
    raise Unmeasurable(f"{STATUS} has no {line}")


class Peak:
    """Largest memory between entering and leaving, beyond what there was, as `mb`."""

    def __init__(self, device: torch.device):
        self.device, self.mb = device, 0.0

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device) / 1e6
        else:
            CLEAR.write_text("5")  # forgets the highest value so far
            self._before = resident_mb("VmRSS")
        return self

    def __exit__(self, *_) -> None:
        cuda = self.device.type == "cuda"
        highest = torch.cuda.max_memory_allocated(self.device) / 1e6 if cuda else resident_mb("VmHWM")
        self.mb = highest - self._before


def train_once(spec: dict) -> float:
    """What the child does: a few steps of one library from stored images on; returns MB."""
    from scripts.benchmark.training import peer_steps, whole_step

    device = torch.device(spec["device"])
    torch.set_num_threads(spec["threads"])
    who, method, backbone = spec["who"], spec["method"], spec["backbone"]
    peers = () if who == "ours" else (PEERS[who],)
    s = Settings(device, peers, size=spec["size"], batch=spec["batch"], images=spec["images"])
    images = s.made(spec["bands"])
    if who == "ours":
        with Peak(device) as peak:
            ours.train_for(ours.build(method, backbone, images), images, STEPS, s.batch, "auto", device)
        return peak.mb
    crops, operations = work.crops(VIEWS[method], s.size), wanted(VIEWS[method], images.bands)
    peers[0].load().step(method, *ours.backbone(backbone, images), images)  # its imports happen here
    with Peak(device) as peak:
        run = peer_steps(s, method, backbone, images, bf16=False)[who]
        whole = whole_step(s, peers[0], run, images, crops, operations)
        for _ in range(STEPS):
            whole()
    if s.failed:
        raise Unmeasurable("; ".join(s.failed.values()))
    return peak.mb


def in_child(spec: dict) -> float:
    """MB, by a process of its own. Raises Unmeasurable."""
    command = [sys.executable, "-m", "scripts.benchmark.memory", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not last.startswith("MB "):
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unmeasurable(f"{spec['who']}, {spec['method']}: {reason}")
    return float(last.split()[1])


def memory(s: Settings, repeats: int = 1) -> Iterator[Comparison]:
    """Peak memory of training from stored images on, each by its own defaults."""
    if s.device.type == "cpu" and not CLEAR.exists():
        return  # only Linux lets a process forget its highest memory
    for bands in s.bands[:1]:
        images = work.make_images(2, bands, s.size)
        for method, backbone in s.pairs():
            crops, operations = work.crops(VIEWS[method], s.size), wanted(VIEWS[method], bands)

            def able(peer, method=method, backbone=backbone, images=images, crops=crops, operations=operations):
                module = peer.load()
                if module.sample(images, crops, operations) is None:
                    return False
                return module.step(method, *ours.backbone(backbone, images), images) is not None

            spec = {
                "method": method,
                "backbone": backbone,
                "bands": bands,
                "size": s.size,
                "batch": s.batch,
                "images": s.images,
                "threads": torch.get_num_threads(),
                "device": str(s.device),
            }
            mine = [in_child({**spec, "who": "ours"}) for _ in range(repeats)]
            found = {}
            for peer in s.peers:
                with s.attempt(peer, f"memory of {method}, {backbone}"):
                    if able(peer):
                        found[peer.name] = [in_child({**spec, "who": peer.name}) for _ in range(repeats)]
            for name, theirs in found.items():
                less = ratio(mine, theirs)
                yield Comparison(
                    "memory",
                    f"{method}, {backbone}, {bands} bands",
                    name,
                    "MB",
                    quartiles(mine)[1],
                    quartiles(theirs)[1],
                    less.median,
                    less.low,
                    less.high,
                    repeats,
                    note="beyond imports and images",
                )


if __name__ == "__main__":
    print("MB", round(train_once(json.loads(sys.argv[1])), 1))
