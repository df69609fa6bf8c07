"""What training runs survive: kills at random moments and other faults, from catalog/benchmarks/faults-*.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripts.fault_table import Faults, read
from scripts.site.blocks import columns, copy_block, raw
from scripts.site.ladder import day
from scripts.site.text import front_matter, html, markdown

PAGE = "survival/"
TITLE = "What a run survives"
DESCRIPTION = "Training runs killed at random moments, and every other fault that was tried, with what became of them."
REPEAT = "python -m scripts.faults --kills 100 --out catalog/benchmarks/faults-NAME.json"


def read_all(folder: Path) -> list[Faults]:
    """Every fault table, the newest first. Raises scripts.fault_table.NotFaults."""
    return sorted(map(read, folder.glob("faults-*.json")), key=lambda table: table.made, reverse=True)


def page(tables: list[Faults]) -> str:
    """The Markdown file of the page; without tables it says how to get one."""
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION),
        f"# {TITLE}\n",
        "Every run here is the real command line in a process of its own. A killed run is resumed and killed again,",
        "then left to end; it counts as survived when weights, losses and scores are those of an undisturbed run, bit",
        "by bit.\n",
    ]
    if not tables:
        parts.append("No table is on record yet.\n")
    for table in _joined(tables):
        parts += _section(table)
    return "\n".join([*parts, "## Repeat it\n", raw(copy_block(REPEAT))])


def _joined(tables: list[Faults]) -> list[Faults]:
    """Tables of one machine and the same versions as one, which has the day of the newest and every commit."""
    found: dict[str, Faults] = {}
    for table in tables:
        key = f"{table.device} {table.versions}"
        if first := found.get(key):
            commits = list(dict.fromkeys([*first.commit.split(", "), table.commit]))
            rows = {"killed": [*first.killed, *table.killed], "cases": [*first.cases, *table.cases]}
            table = replace(first, commit=", ".join(commits), **rows)
        found[key] = table
    return list(found.values())


def _section(table: Faults) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    parts = [
        f"## {markdown(table.device)}, {markdown(day(table.made))}\n",
        raw(f'<p class="quiet">commit {html(table.commit)} · {html(versions)}</p>'),
    ]
    if table.killed:
        kills, runs = sum(row.total for row in table.killed), sum(row.runs for row in table.killed)
        equal = sum(row.equal for row in table.killed)
        head = ["method", "processes", "kills", "runs bit-equal", "killed while", "remark"]
        rows = (
            [
                html(row.method),
                html(f"{row.processes}, {row.launcher}"),
                str(row.total),
                f"{row.equal} of {row.runs}",
                html(", ".join(f"{phase} {count}" for phase, count in row.kills.items() if count)),
                html(row.message) or "–",
            ]
            for row in table.killed
        )
        parts += ["### Killed\n", f"{kills} kills; {equal} of {runs} runs ended bit-equal.\n", raw(columns(head, rows))]
    if table.cases:
        head = ["fault", "survived", "what was said", "what was kept"]
        rows = (
            [html(row.fault), f"{row.survived} of {row.tried}", html(row.said) or "–", html(row.kept)]
            for row in table.cases
        )
        tried, survived = sum(row.tried for row in table.cases), sum(row.survived for row in table.cases)
        said = f"{survived} of {tried} survived: one clear line where one is due, and nothing lost.\n"
        parts += ["### Other faults\n", said, raw(columns(head, rows))]
    return parts
