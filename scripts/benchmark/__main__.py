"""Measures training and its parts beside other libraries, on the same images, networks and views."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from scripts.benchmark.peers import PEERS, UnknownPeer, choose
from scripts.comparisons import Comparison, Result, as_json

EPILOG = """\
Times of a CPU are core-seconds of this process, so what else runs on the machine hardly counts; everybody works in
turn, and a ratio is the median over the rounds, with its quartiles. Peers are other libraries; those that are not
installed are named and left out. Install them beside this project in an environment of their own:

  python -m venv peers && peers/bin/pip install -e '.[run]' lightly torchgeo stable-pretraining torchvision
  peers/bin/python -m scripts.benchmark --peers all --out catalog/benchmarks/NAME.json
"""
USUAL = {
    "methods": ("simclr", "mae"),
    "backbones": ("resnet18", "vit_tiny_patch16_224"),
    "bands": (3, 13),
    "batch": 128,
    "rounds": 15,
    "step_rounds": 7,
}
QUICK = {
    "methods": ("simclr",),
    "backbones": ("resnet10t",),
    "bands": (3,),
    "batch": 16,
    "rounds": 3,
    "step_rounds": 2,
}


def parser() -> argparse.ArgumentParser:
    from scripts.benchmark.parts import PARTS
    from scripts.benchmark.settings import VIEWS

    made = argparse.ArgumentParser(
        prog="python -m scripts.benchmark",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--peers", default="all", help=f'comma-separated, or "all": {", ".join(PEERS)} (default: all)')
    made.add_argument("--parts", nargs="+", choices=list(PARTS), help="what to measure (default: everything)")
    made.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    made.add_argument("--methods", nargs="+", choices=list(VIEWS), help="default: simclr and mae")
    made.add_argument("--backbones", nargs="+", metavar="NAME", help="default: resnet18 vit_tiny_patch16_224")
    made.add_argument("--size", type=int, default=64, help="pixels (default: 64)")
    made.add_argument("--bands", type=int, nargs="+", metavar="N", help="default: 3 13")
    made.add_argument("--batch", type=int, help="images (default: 128)")
    made.add_argument("--threads", type=int, default=1, help="on a CPU (default: 1)")
    made.add_argument("--workers", type=int, help="loader processes of the peers (default: 0 on a CPU, 8 on a GPU)")
    made.add_argument("--rounds", type=int, help="per comparison (default: 15)")
    made.add_argument("--step-rounds", type=int, help="the same for training steps, which take longer (default: 7)")
    made.add_argument("--out", type=Path, metavar="FILE.json", help="where the result goes")
    made.add_argument("--plot", type=Path, metavar="FILE.svg", help="a bar chart, .svg or .png")
    made.add_argument("--quick", action="store_true", help="small and few: shows that it works, measures little")
    return made


def settings_of(options: argparse.Namespace):
    """Settings and the peers that are absent. Raises UnknownPeer, ValueError."""
    import torch

    from scripts.benchmark.settings import Settings

    device = torch.device(options.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("no CUDA device can be used here; measure with --device cpu")
        device = torch.device("cuda", torch.cuda.current_device())
    names = list(PEERS) if options.peers == "all" else [n for n in options.peers.split(",") if n]
    found, absent = choose(names)
    workers = options.workers if options.workers is not None else (8 if device.type == "cuda" else 0)
    if workers and device.type == "cpu":
        raise ValueError("loader processes are not seen by a CPU's clock; leave out --workers")
    usual = QUICK if options.quick else USUAL
    asked = {
        "methods": options.methods and tuple(options.methods),
        "backbones": options.backbones and tuple(options.backbones),
        "bands": options.bands and tuple(options.bands),
        "batch": options.batch,
        "rounds": options.rounds,
        "step_rounds": options.step_rounds,
    }
    chosen = {**usual, **{name: value for name, value in asked.items() if value}}
    images = 4 * chosen["batch"]
    s = Settings(device, tuple(found), size=options.size, workers=workers, images=images, **chosen)
    if not s.pairs():
        raise ValueError("mae hides tokens, so it needs a transformer; name one with --backbones, such as vit_micro")
    return s, absent


def measure(options: argparse.Namespace, said: Callable[[Result, object], None]) -> Result:
    """Runs every part that was asked for; `said` is told of each row, with all that was found so far.

    Raises UnknownPeer, ValueError.
    """
    import torch

    from refimpl.engine.hardware import keep_freed_memory
    from refimpl.studies.record import commit, device_name, now, versions
    from scripts.benchmark import ours, parts

    s, absent = settings_of(options)
    keep_freed_memory()  # the engine does it too, and it helps everybody
    with ours.threads(options.threads):
        result = Result(
            made=now(),
            commit=commit(),
            device=device_name(s.device),
            device_type=s.device.type,
            threads=torch.get_num_threads(),
            versions={**versions(), **{peer.name: peer.version for peer in s.peers}},
            settings={
                "methods": list(s.methods), "backbones": list(s.backbones), "size": s.size, "bands": list(s.bands),
                "batch": s.batch, "workers": s.workers, "quick": options.quick,
            },
            absent=absent,
        )  # fmt: skip
        # Memory takes a process per peer, each of which imports everything: not for a quick look.
        names = options.parts or [name for name in parts.PARTS if not (options.quick and name == "memory")]
        for row in parts.run(s, names):
            result.add(row)
            result.absent |= s.failed
            said(result, row)
    result.absent |= s.failed
    return result


def keep(result: Result, path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(as_json(result), encoding="utf-8")
        partial.replace(path)


def main(argv: list[str] | None = None) -> int:
    from scripts.benchmark import show

    options = parser().parse_args(argv)
    warnings.filterwarnings("ignore")  # of the peers' imports, about each other
    progress = Console(stderr=True, highlight=False)

    def told(result: Result, row) -> None:
        progress.print(show.line(row), markup=False, soft_wrap=True)
        keep(result, options.out)  # a long run that is stopped leaves what it has found

    try:
        result = measure(options, told)
    except (UnknownPeer, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = f"; {options.out} holds what was found" if options.out and options.out.exists() else ""
        print(f"stopped{kept}", file=sys.stderr)
        return 130
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)  # a file or a pipe has no width of its own
    show.tables(result, console)
    keep(result, options.out)
    if options.out:
        console.print(f"written: {options.out}", markup=False, highlight=False)
    if options.plot and any(isinstance(row, Comparison) for row in result.comparisons):
        show.plot(result, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
