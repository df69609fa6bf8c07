"""The page about export and embed: its commands are commands, its Python runs as printed."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from refimpl import cli
from refimpl.studies.embed_files import embed_to_file

PAGE = (Path(__file__).parents[2] / "docs" / "take-away.md").read_text(encoding="utf-8")


def test_commands_parse():
    lines = re.findall(r"^python -m refimpl (.*)$", PAGE, flags=re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        cli._parser().parse_args(shlex.split(line))


def test_extras_exist():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"ssl-for-earth\[(\w+)\]", PAGE):
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def test_python_runs_as_printed(rgb_run, tmp_path, monkeypatch, capsys):
    for name in ("pyarrow", "rasterio"):
        pytest.importorskip(name) if not os.environ.get("CI") else __import__(name)
    import rasterio

    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(60, 130, (4, 3, 32, 32)).astype(np.uint8)
    np.savez("images.npz", x=images)
    about = {"count": 3, "height": 96, "width": 64, "dtype": "uint8", "photometric": "RGB", "crs": "EPSG:32632"}
    place = rasterio.transform.from_origin(0, 0, 10, 10)
    with rasterio.open("scene.tif", "w", driver="GTiff", transform=place, **about) as file:
        file.write(np.resize(images, (3, 96, 64)))
    embed_to_file(rgb_run, "images.npz", "features.parquet", device="cpu", quiet=True)
    embed_to_file(rgb_run, "scene.tif", "map.tif", device="cpu", quiet=True)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "take-away.md", "exec"), {})
    table, scene = capsys.readouterr().out.splitlines()
    assert table == "(4, 128) simclr ['B04', 'B03', 'B02']"
    assert scene == "(128, 3, 2) (320.0, 320.0) 32"
