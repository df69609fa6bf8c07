"""The page on data and API: its examples do on the built site what they say, and every file it names is there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from urllib.request import urlopen

import pytest

from scripts.site.build import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return found


def run(program: list[str]) -> str:
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_that_is_named_is_there(real_site):
    named = re.findall(r"\]\(((?:api|feed|llms)[^)]*)\)", PAGE)
    assert len(named) >= 13
    assert [name for name in named if not (real_site / name).is_file()] == []
    patterns = re.findall(r"`(api/v1/[^`]*\w[>\w])`", PAGE)
    assert len(patterns) >= 4
    assert [p for p in patterns if not list(real_site.glob(re.sub(r"<\w+>", "*", p)))] == []


def test_the_python_example_lists_methods_that_learned(address):
    said = run([sys.executable, "-c", block("python").replace(HERE, address)])
    learned = {
        one["command"]
        for one in json.load(urlopen(f"{address}/api/v1/implementations.json"))["implementations"]
        if next(r["state"] for r in one["ladder"] if r["name"] == "learns") != "open"
    }
    assert set(re.findall(r"python -m refimpl run \w+ --smoke", said)) == learned and learned


def shell(address: str, number: int) -> list[str]:
    """What the example's line of that number prints."""
    first, *lines = block("bash").replace(HERE, address).splitlines()
    for tool in ("curl", *(["jq"] if "jq " in lines[number] else [])):
        if shutil.which(tool) is None:
            assert not os.environ.get("CI"), f"{tool} is missing"
            pytest.skip(f"{tool} is missing")
    return run(["bash", "-c", f"set -e -o pipefail\n{first}\n{lines[number]} || [ $? = 141 ]"]).splitlines()


def test_the_shell_shows_the_best_scores(address):
    rows = list(csv.reader(shell(address, 0)))
    every = csv.DictReader(io.StringIO(urlopen(f"{address}/api/v1/results.csv").read().decode()))
    scores = [
        float(r["value"]) for r in every if r["origin"] == "reproduced" and r["metric"] == "linear probe accuracy"
    ]
    assert [float(row[4]) for row in rows] == sorted(scores, reverse=True)[:3]


def test_the_shell_shows_a_paper(address):
    lines = shell(address, 1)
    assert lines[0].startswith("@inproceedings{chen2020simclr") and "}" in lines


def test_the_shell_shows_links(address):
    lines = shell(address, 2)
    assert len(lines) >= 3 and all(re.fullmatch(r"[a-z_]+ [a-z_]+/[a-z0-9_]+", line) for line in lines)


def test_what_the_spreadsheet_loads_is_a_table(address):
    place = re.search(r'IMPORTDATA\("([^"]+)"\)', PAGE)[1].replace(HERE, address)
    rows = list(csv.reader(io.StringIO(urlopen(place).read().decode("utf-8"))))
    assert rows[0][:3] == ["kind", "id", "name"] and len({len(row) for row in rows}) == 1 and len(rows) > 400
