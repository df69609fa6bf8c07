"""Kills training runs and breaks what they stand on; writes a table of what survived."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from refimpl import registry
from refimpl.studies import record
from scripts.fault_table import Faults
from scripts.faults import cases, kills
from scripts.faults.children import load


def _usual() -> list[str]:
    """One method of each family, the first by name."""
    first: dict[str, str] = {}
    for entry in registry.methods().values():
        first.setdefault(entry.family, entry.name)
    return sorted(first.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.faults", description=__doc__)
    parser.add_argument("--methods", nargs="*", help="whose runs are killed (default: one of each family)")
    parser.add_argument("--kills", type=int, default=100, help="kills of each method (default 100)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="processes of a run: 1, 2 or both")
    parser.add_argument("--elastic", type=int, default=0, help="kills under torchrun, which restarts by itself")
    parser.add_argument("--no-cases", action="store_true", help="kills only, none of the other faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file, written anew after every row")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if everything survived, else 1."""
    args = _parser().parse_args(arguments)
    names = _usual() if args.methods is None else [registry.find(name).name for name in args.methods]
    settings = {"kills": args.kills, "processes": args.processes, "seed": args.seed}
    found = Faults(record.now(), record.commit(), record.device_name("cpu"), record.versions(), settings)
    load(names or _usual())

    def keep() -> None:
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(found.as_json(), encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder = Path(temporary)
        for name in names:
            family = registry.find(name).family
            for processes in args.processes:
                place = folder / f"{name}-{processes}"
                place.mkdir()
                found.killed.append(kills.campaign(name, family, args.kills, processes, place, args.seed))
                keep()
            if args.elastic:
                place = folder / f"{name}-torchrun"
                place.mkdir()
                found.killed.append(kills.elastic(name, family, args.elastic, place, args.seed))
                keep()
        if not args.no_cases:
            place = folder / "cases"
            place.mkdir()
            found.cases = cases.try_all(place, args.seed)
            keep()
    _show(found)
    every = all(row.survived for row in found.killed) and all(row.tried == row.survived for row in found.cases)
    return 0 if every else 1


def _show(found: Faults) -> None:
    table = Table("fault", "survived", "said", "kept")
    for row in found.killed:
        how = f"{row.total} kills of {row.method}, {row.launcher}, {row.processes} process(es)"
        table.add_row(how, f"{row.equal}/{row.runs} runs", row.message, "bit-equal" if row.survived else "lost")
    for row in found.cases:
        table.add_row(row.fault, f"{row.survived}/{row.tried}", row.said, row.kept)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
