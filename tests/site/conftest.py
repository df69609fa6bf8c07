"""A small repository to build a site from, and the real site, built once."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import yaml

from scripts.site.build import ROOT, generate

ENTRY = {
    "identity": "confirmed",
    "last_verified": "2026-01-02",
    "summary": "A summary that is long enough to be one, written for a test.",
    "sources": [{"key": "paper", "arxiv": "2001.00001", "accessed": "2026-01-01", "supports": ["paper", "year"]}],
}


class Repository:
    """A folder with catalog, docs and settings like the real one's, but entries of the test's own."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "catalog" / "schema", root / "catalog" / "schema")
        shutil.copy(ROOT / "catalog" / "vocabulary.yml", root / "catalog")
        shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("generated"))
        shutil.copy(ROOT / "mkdocs.yml", root)
        (root / "docs" / "generated").mkdir()

    def entry(self, folder: str, entry_id: str, **fields) -> Path:
        path = self.root / "catalog" / folder / f"{entry_id}.yml"
        path.parent.mkdir(exist_ok=True)
        data = {"id": entry_id, "name": entry_id, **ENTRY, **fields}
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def generate(self) -> Path:
        generate(self.root)
        return self.root / "docs" / "generated"

    def build(self, target: Path) -> Path:
        """Renders with MkDocs as the real site is, but without the hook, which knows only the real repository."""
        self.generate()
        return render(self.root / "mkdocs.yml", target, hooks=[], watch=[])


def render(config: Path, target: Path, **changes) -> Path:
    """Builds a site; any warning fails the test."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logger = logging.getLogger("mkdocs")
    logger.addHandler(handler)
    try:
        settings = load_config(str(config), site_dir=str(target), strict=True, **changes)
        settings.plugins.on_startup(command="build", dirty=False)
        build(settings)
    finally:
        logger.removeHandler(handler)
    assert warnings == []
    return target


@pytest.fixture
def repository(tmp_path) -> Repository:
    (tmp_path / "repository" / "catalog").mkdir(parents=True)
    return Repository(tmp_path / "repository")


@pytest.fixture(scope="session")
def real_site(tmp_path_factory) -> Path:
    """The real catalog's site, built by the real settings with their hook."""
    return render(ROOT / "mkdocs.yml", tmp_path_factory.mktemp("site"))
