"""A small repository to build a site from, the real site, built once, and a browser to look at it with."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import shutil
import threading
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


ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


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


@pytest.fixture(scope="session")
def new_repository():
    """Makes a `Repository` in an empty folder."""

    def make(folder: Path) -> Repository:
        (folder / "repository" / "catalog").mkdir(parents=True)
        return Repository(folder / "repository")

    return make


@pytest.fixture
def repository(tmp_path, new_repository) -> Repository:
    return new_repository(tmp_path)


@pytest.fixture(scope="session")
def real_site(tmp_path_factory) -> Path:
    """The real catalog's site, built by the real settings with their hook."""
    return render(ROOT / "mkdocs.yml", tmp_path_factory.mktemp("site"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(real_site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(real_site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        assert not os.environ.get("CI"), "no browser found: install chromium (apt-get install chromium)"
        pytest.skip("no browser found: install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()
