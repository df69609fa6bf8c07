"""The table on the terminal and the plot."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.comparisons import Comparison, Fact, Result, bars_of, number


def line(row: Comparison | Fact) -> str:
    """A row in one line, for those who wait."""
    if isinstance(row, Fact):
        return f"{row.part}: {row.case}: {number(row.value)} {row.unit if row.unit != '1' else ''}".rstrip()
    return f"{row.part}: {row.case}: {row.ratio:.2f} x {row.peer}"


def tables(result: Result, console: Console) -> None:
    """Prints everything; colours only where the console is a terminal."""
    console.print(f"{result.device}; commit {result.commit}; {result.made}", markup=False, highlight=False)
    for part in dict.fromkeys(row.part for row in result.comparisons):
        table = Table("work", "peer", "ours", "theirs", "unit", "ratio", "quartiles", "remark", title=part)
        for row in (r for r in result.comparisons if r.part == part):
            spread = f"{row.low:.2f} to {row.high:.2f}" if row.rounds > 1 else "one run"
            colour = "" if not row.equal else "green" if row.ratio > 1 else "red"
            shown = f"[{colour}]{row.ratio:.2f}[/{colour}]" if colour else f"({row.ratio:.2f})"
            speeds = number(row.ours), number(row.theirs), row.unit
            table.add_row(escape(row.case), escape(row.peer), *speeds, shown, spread, escape(row.note))
        console.print(table)
    if result.facts:
        table = Table("part", "what", "value", "unit", "remark", title="numbers")
        for fact in result.facts:
            unit = "" if fact.unit == "1" else fact.unit
            table.add_row(fact.part, escape(fact.case), number(fact.value), unit, escape(fact.note))
        console.print(table)
    table = Table("bar", "wanted", "found", "closest peer", "", title="bars")
    for bar in bars_of(result):
        verdict = "[green]met[/green]" if bar.met else "[red]missed[/red]"
        table.add_row(escape(bar.what), f"{bar.sign} {bar.wanted:g}", f"{bar.found:.3g}", bar.against, verdict)
    console.print(table)
    for name, how in result.absent.items():
        console.print(f"{name}: {how}", markup=False, highlight=False)


def plot(result: Result, path: Path) -> None:
    """A bar per comparison, with its quartiles; the file's ending says which format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in result.comparisons if row.equal]
    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.26 * max(1, len(rows))), layout="constrained")
    places = range(len(rows))
    spread = [[r.ratio - r.low for r in rows], [r.high - r.ratio for r in rows]]
    colours = ["#0a6a57" if row.ratio >= 1 else "#b45f06" for row in rows]
    axes.barh(places, [r.ratio for r in rows], xerr=spread, color=colours, height=0.7)
    axes.set_yticks(places, [f"{r.part}: {r.case} / {r.peer}" for r in rows], fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than the peer (memory: smaller), with quartiles")
    axes.set_title(result.device, fontsize=9)
    figure.savefig(path)
    pyplot.close(figure)
