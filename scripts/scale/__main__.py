"""Measures the same training by one process and by several: images a second, core-seconds, and what the loss does."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from refimpl.studies import record
from scripts.scale_table import STRONG, WEAK, Scale, Scaled

USUAL = {"backbone": "resnet18", "size": 64, "batch": 64, "steps": 10, "warm_up": 2, "rounds": 3}
QUICK = {"backbone": "test_resnet", "size": 32, "batch": 8, "steps": 4, "warm_up": 1, "rounds": 1}
LIMIT = 1800.0  # seconds of one run


@dataclass(frozen=True)
class Work:
    """What a worker does. steps: `warm_up` ones, whose time does not count, included. samples: of the data set."""

    method: str
    backbone: str
    size: int
    batch: int
    steps: int
    warm_up: int
    samples: int
    device: str
    processes: int = 1
    sharded: bool = False
    folder: str = ""


@dataclass(frozen=True)
class Seen:
    """What one run left behind. seconds, cpu: wall clock, and core-seconds of all processes, of the counted steps."""

    seconds: float
    cpu: float
    held: int
    losses: list[float]
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


class RunFailed(RuntimeError):
    """A run that did not end well; str() is one line."""


def carry_out(work: Work) -> Seen:
    """Runs it under torchrun. Raises RunFailed."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={work.processes}"]
        what = json.dumps(asdict(replace(work, folder=folder)))
        done = subprocess.run(
            [sys.executable, "-m", *launcher, "-m", "scripts.scale.worker", what],
            capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode:
            # torchrun adds a page of its own to what the process said that failed first.
            said = next((line for line in done.stderr.splitlines() if "Error: " in line), "no message")
            raise RunFailed(f"{work.processes} processes: {said}")
        place = Path(folder)
        found = [json.loads((place / f"{rank}.json").read_text()) for rank in range(work.processes)]
        before, after = (load_file(place / f"{name}.safetensors") for name in ("before", "after"))
    spans = [(run["clocks"][work.warm_up - 1], run["clocks"][-1]) for run in found]
    return Seen(
        seconds=max(last[0] for _, last in spans) - min(first[0] for first, _ in spans),
        cpu=sum(last[1] - first[1] for first, last in spans),
        held=max(run["held"] for run in found),
        losses=found[0]["losses"],
        before=before,
        after=after,
    )


def plan(work: Work, processes: Sequence[int]) -> list[tuple[str, Work]]:
    """(kind, work) of every run; one process stands in both kinds at once."""
    strong = [(STRONG, replace(work, processes=n)) for n in processes]
    strong += [(STRONG, replace(work, processes=n, sharded=True)) for n in processes if n > 1]
    return strong + [(WEAK, replace(work, processes=n, batch=n * work.batch)) for n in processes if n > 1]


def difference(found: Seen, wanted: Seen) -> tuple[float, float]:
    """Of losses (the largest relative one) and of final weights (as a share of the way that training moved them)."""
    losses = max(abs(a - b) / abs(b) for a, b in zip(found.losses, wanted.losses, strict=True))

    def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        squares = [(one[name].double() - value.double()).square().sum() for name, value in other.items()]
        return float(torch.stack(squares).sum().sqrt())

    return losses, distance(found.after, wanted.after) / distance(wanted.after, wanted.before)


def row(kind: str, work: Work, seen: Sequence[Seen], alone: Seen | None) -> Scaled:
    """seen: one for each round. alone: what one process did with the same batch."""
    images = work.batch * (work.steps - work.warm_up)
    rates = [images / run.seconds for run in seen]
    loss, weights = difference(seen[0], alone) if alone else (None, None)
    return Scaled(
        kind, work.processes, work.sharded, work.batch, statistics.median(rates), min(rates), max(rates),
        statistics.median(run.cpu for run in seen) / images, seen[0].held / 2**20, loss, weights,
    )  # fmt: skip


def measure(work: Work, processes: Sequence[int], rounds: int, run=carry_out, said: Callable = print) -> list[Scaled]:
    """Everybody runs in turn, round after round, so that a slow moment of the machine slows all."""
    planned = plan(work, processes)
    seen: dict[tuple[str, Work], list[Seen]] = {each: [] for each in planned}
    for number in range(rounds):
        for each in planned:
            kind, one = each
            seen[each].append(run(one))
            rate = one.batch * (one.steps - one.warm_up) / seen[each][-1].seconds
            how = f"{one.processes} processes{', sharded' * one.sharded}, batch {one.batch} ({kind})"
            said(f"round {number + 1}/{rounds}: {how}: {rate:.1f} images/s")
    reference = seen.get((STRONG, replace(work, processes=1)))
    compared = {STRONG: reference and reference[0], WEAK: None}
    return [row(kind, one, seen[kind, one], compared[kind] if one.processes > 1 else None) for kind, one in planned]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.scale", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="default: 1 2 4")
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--backbone", help=f"default: {USUAL['backbone']}")
    parser.add_argument("--size", type=int, help=f"pixels (default: {USUAL['size']})")
    parser.add_argument("--batch", type=int, help=f"images of one process (default: {USUAL['batch']})")
    parser.add_argument("--steps", type=int, help=f"default: {USUAL['steps']}, of which some warm up")
    parser.add_argument("--rounds", type=int, help=f"default: {USUAL['rounds']}")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="small and few: shows that it works, measures little")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the table goes")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    usual = QUICK if args.quick else USUAL
    chosen = {key: getattr(args, key, None) or value for key, value in usual.items()}
    rounds, processes = chosen.pop("rounds"), sorted(set(args.processes))
    wrong = next((n for n in processes if n < 1 or chosen["batch"] % n), None)
    if wrong is not None or chosen["steps"] <= chosen["warm_up"]:
        uneven = f"a batch of {chosen['batch']} cannot be shared by {wrong} processes evenly"
        print(f"scale: {'no step is left to count' if wrong is None else uneven}; choose others", file=sys.stderr)
        return 2
    # The training split, 60 %, must hold a batch of the largest run; the simulator makes no fewer than 40.
    samples = max(40, 2 * max(processes) * chosen["batch"])
    work = Work(args.method, **chosen, samples=samples, device=args.device)
    torch.set_num_threads(1)
    settings = {**asdict(work), "rounds": rounds, "processes": processes, "precision": "fp32", "quick": args.quick}
    for key in ("folder", "sharded", "device"):
        del settings[key]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    about = record.now(), record.commit(), record.device_name(args.device), args.device, cores, record.versions()
    try:
        found = Scale(*about, settings, measure(work, processes, rounds))
    except (RunFailed, subprocess.TimeoutExpired) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(found.as_json(), encoding="utf-8")
    _show(found)
    return 0


def _show(found: Scale) -> None:
    table = Table("processes", "batch", "images/s", "gain", "core-s/image", "MiB", "loss", "weights")
    for each in found.rows:
        speed, loss, weights = found.speed_up(each), each.loss, each.weights
        table.add_row(
            f"{each.kind} {each.processes}{', sharded' * each.sharded}", str(each.batch),
            f"{each.images_per_second:.1f}", "" if speed is None else f"{speed:.2f}", f"{each.core_seconds:.3f}",
            f"{each.held:.1f}", *("" if value is None else f"{value:.1e}" for value in (loss, weights)),
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
