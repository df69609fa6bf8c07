"""A small catalog that is entirely right, in a temporary folder, for tests to damage."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.catalog import FOLDERS, ROOT, Problem
from scripts.validate import validate

FRAMEWORK = """\
id: alpha
name: Alpha
aliases: [Al-pha, Alpha v1]
identity: confirmed
summary: >-
  Pulls two views of one image together and pushes views of other images away.
year: 2020
family: contrastive
paper:
  title: Title of alpha
  authors: [Given Family]
  venue: CVPR
  year: 2020
  arxiv: "2002.05709"
  doi: 10.1000/alpha
code:
  url: https://example.org/alpha
  licence: MIT
modality: [rgb]
tasks: [representation_learning]
facts:
  predicts: the other view
  sensors: [sentinel_2]
relations:
  uses_backbone: [resnet]
  evaluated_on: [landscapes]
  related_to: [survey/overview]
refimpl:
  name: known_method
  fidelity: simplified
  difference: One device instead of many.
results:
  - metric: accuracy
    value: 69.3
    unit: "%"
    dataset: Landscapes
    protocol: linear_probe
    locator: Table 1
    source: paper
sources:
  - key: paper
    arxiv: "2002.05709"
    accessed: 2026-01-02
    supports: [paper, facts]
  - key: code
    url: https://example.org/alpha
    accessed: 2026-01-02
    supports: [code]
corrections:
  - field: full_name
    claimed: something else
    correct: nothing
    source: paper
origin: [F01]
unknown: [relations.solves_pretext_task, code.weights]
last_verified: 2026-01-02
"""

OTHER_FRAMEWORK = """\
id: beta
name: Beta
identity: unidentified
summary: A name for which nothing was found when it was looked for in the usual places.
family: contrastive
closest:
  - title: A real title
    url: https://example.org/close
    why: It does what the name suggests.
modality: [rgb]
facts:
  predicts: the other view
relations:
  extends: [alpha]
refimpl:
  name: simclr
  fidelity: closest
  difference: It is something else.
sources:
  - key: close
    url: https://example.org/close
    accessed: 2026-01-02
    supports: [closest, facts]
last_verified: 2026-01-02
"""

DATASET = """\
id: landscapes
name: Landscapes
identity: confirmed
summary: Images of ten kinds of landscape, each cut from a larger scene, with one label each.
year: 2019
url: https://example.org/landscapes
modality: [multispectral]
facts:
  samples: 100
  image_size: [64, 64]
  bands: 13
  classes: 10
  gsd_m: [10, 20]
  licence: MIT
  splits: {train: 70, val: 10, test: 20}
  sensors: [sentinel_2]
refimpl:
  name: simclr
  fidelity: closest
  difference: It is something else.
sources:
  - key: page
    url: https://example.org/landscapes
    accessed: 2026-01-02
    supports: [year, url, facts]
last_verified: 2026-01-02
"""


REFIMPL = """\
refimpl:
  name: simclr
  fidelity: closest
  difference: It is something else.
"""


def simple(kind: str, name: str, extra: str = "") -> str:
    """The shortest right entry of a kind."""
    return f"""\
id: {name.lower()}
name: {name}
identity: generic
summary: Stands in the catalog so that others can refer to it in these tests.
{extra}{REFIMPL}sources:
  - key: page
    url: https://example.org/{kind}
    accessed: 2026-01-02
    supports: [summary]
last_verified: 2026-01-02
"""


@pytest.fixture
def small_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a right catalog of five entries; implementations are known_method and simclr."""
    root = tmp_path / "catalog"
    root.mkdir()
    for name in ("schema", "templates"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("vocabulary.yml", "origin.csv"):
        shutil.copy(ROOT / name, root)
    for folder, name, text in (
        ("frameworks", "alpha", FRAMEWORK),
        ("frameworks", "beta", OTHER_FRAMEWORK),
        ("datasets", "landscapes", DATASET),
        ("backbones", "resnet", simple("backbone", "ResNet", "family: convolutional\n")),
        ("surveys", "overview", simple("survey", "Overview")),
    ):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.yml").write_text(text, encoding="utf-8")
    (root / "results").mkdir()
    monkeypatch.setattr("refimpl.registry.methods", lambda: {"known_method": None, "simclr": None})
    return root


@pytest.fixture
def add_entry(small_catalog: Path) -> Callable[..., Path]:
    """add_entry(kind, name, more): puts the shortest right entry of a kind, and more lines, into the small catalog."""

    def add(kind: str, name: str, more: str = "") -> Path:
        path = small_catalog / FOLDERS[kind] / f"{name.lower()}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(simple(kind, name, more), encoding="utf-8")
        return path

    return add


@pytest.fixture
def today() -> datetime.date:
    """The last day that is not in the future, as the tests see it."""
    return datetime.date(2026, 6, 1)


@pytest.fixture
def problems(today) -> Callable[..., list[Problem]]:
    """problems(root, *paths): what validating a catalog finds."""
    return lambda root, *paths: validate(root, list(paths), today).problems


@pytest.fixture
def damage() -> Callable[[Path, str, str], tuple[int, int]]:
    """damage(file, old, new): replaces text; returns the place of the mark ¦ in `new`, which is not written."""

    def replace(file: Path, old: str, new: str) -> tuple[int, int]:
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file.name}"
        text = text.replace(old, new, 1)
        before = text[: text.index("¦")]
        file.write_text(text.replace("¦", ""), encoding="utf-8")
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

    return replace
