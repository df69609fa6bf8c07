"""What several processes gain and what they change: the page of catalog/benchmarks/scale-*.json."""

from __future__ import annotations

from pathlib import Path

from scripts.comparisons import number
from scripts.scale_table import KINDS, STRONG, WEAK, Scale, Scaled, read
from scripts.site.blocks import columns, copy_block, raw
from scripts.site.ladder import day
from scripts.site.links import relative
from scripts.site.text import front_matter, html, markdown

PAGE = "scale/"
TITLE = "Several processes"
DESCRIPTION = "The same training by one process and by several: what they gain, what they cost, what the loss does."
REPEAT = "python -m scripts.scale --processes 1 2 4 --out catalog/benchmarks/scale-NAME.json"
HEAD = ["processes", "batch", "images/s", "times one", "core-s/image", "cores busy", "undisturbed", "weights held"]
MEANING = {
    STRONG: "One batch is shared by all: the same training, done by more. Losses and weights stand beside those of one "
    "process; without a mistake they differ by the rounding of float32, which the optimiser magnifies step by step.",
    WEAK: "Each process has a batch of its own, as large as that of one: more work a step, and another training.",
}


def read_all(folder: Path) -> list[tuple[str, Scale]]:
    """(file name, table) of every file, the newest first. Raises scripts.scale_table.NotScale."""
    found = [(path.name, read(path)) for path in sorted(folder.glob("scale-*.json"))]
    return sorted(found, key=lambda pair: pair[1].made, reverse=True)


def page(tables: list[tuple[str, Scale]]) -> str:
    """The Markdown file of the page; without tables it says how to get one."""
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION),
        f"# {TITLE}\n",
        f"{DESCRIPTION} Each run is started by torchrun, as [Run it anywhere](running.md) shows, and everybody runs in",
        "turn, round after round. Images a second are those of all processes together, by the clock on the wall, so",
        "whatever else the machine does counts; core-seconds do not see that. *Sharded* is `--shard`.\n",
    ]
    if not tables:
        parts.append("No measurement is on record yet.\n")
    for file, table in tables:
        parts += _section(file, table)
    return "\n".join([*parts, "## Repeat it\n", raw(copy_block(REPEAT))])


def _section(file: str, table: Scale) -> list[str]:
    record = html(relative(PAGE, f"api/v1/benchmarks/{file}"))
    versions = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    told = ("method", "backbone", "size", "steps", "warm_up", "rounds", "precision")
    settings = ", ".join(f"{name} {table.settings[name]}" for name in told if name in table.settings)
    quick = " A quick look, too short to judge by." if table.settings.get("quick") else ""
    parts = [
        f"## {markdown(table.device)}, {markdown(day(table.made))}\n",
        raw(
            f'<p class="quiet">commit {html(table.commit)} · {html(settings)} · {html(versions)} · '
            f'<a href="{record}">record</a>{quick}</p>'
        ),
    ]
    if table.device_type == "cpu":
        said = f"This machine has {table.cores} core{'s' * (table.cores > 1)}."
        if any(row.processes > table.cores for row in table.rows):
            said += " More processes than that share them, and gain no speed: such rows show what sharing costs."
        parts.append(
            f"{said} In the bars, the upright line is what a machine that loses nothing would reach. *Cores busy* is "
            "how many this training got, on average: fewer than it has processes where it waited, or the machine did "
            "other work, of which more processes take more. "
            "*Undisturbed* is how many times one process's images its core-seconds would allow alone.\n"
        )
    for kind, what in KINDS.items():
        rows = [row for row in table.rows if row.kind == kind]
        alone = table.alone(kind)
        if kind == WEAK and rows and alone and alone not in rows:
            rows.insert(0, alone)
        if rows:
            compared = any(row.loss is not None for row in rows)
            head = [*HEAD, "loss differs by", "weights differ by"] if compared else HEAD
            lines = (_line(table, row, compared) for row in rows)
            parts += [f"### {markdown(what.capitalize())}\n", f"{MEANING[kind]}\n", raw(columns(head, lines))]
    return parts


def _line(table: Scale, row: Scaled, compared: bool) -> list[str]:
    speed, most = table.speed_up(row), max(table.possible(other) for other in table.rows)
    spread = f" <small>[{number(row.low)},&nbsp;{number(row.high)}]</small>" if row.low < row.high else ""
    alone = table.alone(row.kind)
    cells = [
        html(f"{row.processes}{', sharded' * row.sharded}"),
        str(row.batch),
        html(number(row.images_per_second)) + spread,
        "–" if speed is None else f"{speed:.2f} {drawn(speed, table.possible(row), most)}",
        html(number(row.core_seconds)),
        f"{row.core_seconds * row.images_per_second:.2f}",
        "–" if alone is None else f"≤ {table.possible(row) * alone.core_seconds / row.core_seconds:.2f}",
        html(f"{number(row.held)} MiB"),
    ]
    return cells + ([_part(row.loss), _part(row.weights)] if compared else [])


def _part(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def drawn(speed: float, possible: float, longest: float, width: int = 80, height: int = 10) -> str:
    """A speed-up as a bar; the upright line is what is possible. longest: the speed-up at the right edge."""

    def x(value: float) -> str:
        return f"{min(value / longest, 1.0) * (width - 1):.1f}"

    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<rect y="2" width="{x(speed)}" height="6" style="fill:var(--accent)"/>'
        f'<path d="M{x(possible)} 0V{height}" stroke="currentColor"/></svg>'
    )
