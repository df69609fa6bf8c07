"""The benchmark's page: what was measured beside other libraries, from the files of catalog/benchmarks."""

from __future__ import annotations

from pathlib import Path

from scripts.comparisons import Bar, Comparison, Fact, Result, bars_of, closest, number, read
from scripts.site.blocks import columns, copy_block, raw
from scripts.site.ladder import day
from scripts.site.links import relative
from scripts.site.text import front_matter, html, made_on, markdown

PAGE = "benchmark/"
TITLE = "Benchmark"
DESCRIPTION = "Training and its parts beside other libraries: the same images, networks and views, measured in turn."
REPEAT = """\
python -m venv peers
peers/bin/pip install -e '.[run]' lightly torchgeo stable-pretraining torchvision
peers/bin/python -m scripts.benchmark --peers all --out catalog/benchmarks/NAME.json"""
MEANING = {
    "data": "Gathering shuffled batches of images that lie in memory.",
    "views": "Making views. Beside each peer, ours makes exactly the operations that the peer makes.",
    "step": "Forward, loss, backward and optimiser on views made beforehand, the same network and heads.",
    "end to end": "From stored images to changed weights, each by its own defaults.",
    "memory": "Peak memory of training, beyond the imported libraries and the images.",
}


def read_all(folder: Path) -> list[tuple[str, Result]]:
    """(file name, result) of every file, the newest first. Raises scripts.comparisons.NotABenchmark."""
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.startswith(("faults-", "scale-"))]
    found = [(path.name, read(path)) for path in paths]
    return sorted(found, key=lambda pair: pair[1].made, reverse=True)


def page(results: list[tuple[str, Result]]) -> str:
    """The Markdown file of the page; without results it says how to get one."""
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION),
        f"# {TITLE}\n",
        f"{DESCRIPTION} Everybody works in turn, round after round, so that a slow moment of the machine slows all;",
        "a ratio is the median over the rounds with its quartiles, and above 1 ours is faster (or smaller). On a CPU",
        "times are core-seconds of the process. What a peer does otherwise is said in its row, and where that is not",
        "the same work, the ratio stands in brackets and no bar counts it.\n",
    ]
    if not results:
        parts.append("No measurement is on record yet.\n")
    for file, result in results:
        parts += _section(file, result)
    parts += [
        "## Repeat it\n",
        "The peers are optional and live best in an environment of their own; one that is missing is left out.\n",
        raw(copy_block(REPEAT)),
        "`python -m scripts.benchmark --help` lists parts, sizes and devices. A file in `catalog/benchmarks/` appears",
        "on this page.\n",
    ]
    return "\n".join(parts)


def _section(file: str, result: Result) -> list[str]:
    bars = bars_of(result)
    met = sum(bar.met for bar in bars)
    record = html(relative(PAGE, f"api/v1/benchmarks/{file}"))
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    settings = ", ".join(f"{name} {_words(value)}" for name, value in result.settings.items() if name != "quick")
    quick = " A quick look, too short to judge by." if result.settings.get("quick") else ""
    parts = [
        f"## {markdown(_heading(result))}\n",
        raw(
            f'<p class="quiet">commit {html(result.commit)} · {html(settings)} · {html(versions)} · '
            f'<a href="{record}">record</a>{quick}</p>'
        ),
    ]
    if bars:
        rows = ([html(bar.what), html(bar.against) or "–", _bound(bar), _verdict(bar)] for bar in bars)
        parts += [
            f"Of {len(bars)} bars that the project set itself, {met} {'is' if met == 1 else 'are'} met, each judged",
            "against the peer that comes closest.\n",
            raw(columns(["bar", "closest peer", "wanted", "found"], rows)),
        ]
    for part in dict.fromkeys(row.part for row in result.comparisons):
        parts += [f"### {markdown(part.capitalize())}\n", f"{MEANING.get(part, '')}\n", raw(_tables(result, part))]
    if result.facts:
        parts += ["### Numbers\n", raw(columns(["what", "value", "remark"], map(_fact, result.facts)))]
    if result.absent:
        left = "; ".join(f"{name}: {why}" for name, why in result.absent.items())
        parts.append(raw(f'<p class="quiet">Left out: {html(left)}</p>'))
    return parts


def _heading(result: Result) -> str:
    """What was trained, where and when: so are two results of one machine and day told apart."""
    methods, networks = (", ".join(result.settings.get(what, [])) for what in ("methods", "backbones"))
    trained = " with ".join(part for part in (methods, networks) if part)
    return ", ".join(part for part in (trained, made_on({"device": result.device}), day(result.made)) if part)


def _words(value: object) -> str:
    return " ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def _bound(bar: Bar) -> str:
    return f"{'≥' if bar.sign == '>=' else '≤'} {bar.wanted:g}"


def _verdict(bar: Bar) -> str:
    return f"{bar.found:.3g} {'✓ met' if bar.met else '✗ missed'}"


def _tables(result: Result, part: str) -> str:
    """A table per piece of work, so that what its rows share is said once."""
    rows = [row for row in result.comparisons if row.part == part]
    longest = max(1.0, *(row.high for row in rows))
    nearest = set(closest(result.comparisons).values())
    blocks = []
    for case in dict.fromkeys(row.case for row in rows):
        group = [row for row in rows if row.case == case]
        # In the order of whoever does the most.
        operations = max((row.operations for row in group), key=len)
        head = f'<p class="label">{html(case)}</p>'
        if operations:
            head += f'<p class="quiet">{html(", ".join(operations))}</p>'
        lines = [
            [_peer(row, operations), number(row.ours), number(row.theirs), _ratio(row, longest, row in nearest)]
            for row in group
        ]
        unit = group[0].unit
        blocks.append(head + columns(["peer", f"ours, {unit}", f"theirs, {unit}", "ratio"], lines))
    return f"<div>{''.join(blocks)}</div>"


def _peer(row: Comparison, operations: tuple[str, ...]) -> str:
    """Its name, its note, and which of the operations of this work it (and ours beside it) goes without."""
    missing = [o for o in operations if o not in row.operations]
    without = f"both without {', '.join(missing)}" if missing else ""
    remark = "; ".join(filter(None, (without, row.note)))
    return html(row.peer) + (f"<br><small>{html(remark)}</small>" if remark else "")


def _ratio(row: Comparison, longest: float, stands_out: bool) -> str:
    shown = f"{row.ratio:.2f}" if row.equal else f"({row.ratio:.2f})"
    shown = f"<b>{shown}</b>" if stands_out else shown
    spread = f" <small>[{row.low:.2f},&nbsp;{row.high:.2f}]</small>" if row.rounds > 1 else ""
    return f"{shown}{spread} {drawn(row, longest)}"


def drawn(row: Comparison, longest: float, width: int = 120, height: int = 10) -> str:
    """A ratio as a bar with its quartiles; the upright line is 1. longest: the ratio at the right edge."""

    def x(value: float) -> str:
        return f"{min(max(value, 0.0), longest) / longest * width:.1f}"

    colour = "var(--quiet)" if not row.equal else "var(--accent)" if row.ratio >= 1 else "var(--warm)"
    whisker = f'<path d="M{x(row.low)} 5H{x(row.high)}" stroke="currentColor"/>' if row.rounds > 1 else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<rect y="2" width="{x(row.ratio)}" height="6" style="fill:{colour}"/>'
        f'<path d="M{x(1.0)} 0V{height}" stroke="currentColor"/>{whisker}</svg>'
    )


def _fact(fact: Fact) -> list[str]:
    unit = "" if fact.unit == "1" else f" {fact.unit}"
    shown = f"{fact.value:.1%}" if fact.unit == "1" else number(fact.value) + unit
    return [html(f"{fact.part}: {fact.case}"), html(shown), html(fact.note) or "–"]
