"""Zensical, which follows Material for MkDocs, builds the same site: pages, titles, and what the search is fed with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Zensical needs Python 3.11")
METHOD = {"family": "contrastive", "modality": ["rgb"], "facts": {"predicts": "it"}}


def pages(folder: Path) -> dict[str, str]:
    """Address -> title of every page."""
    return {
        path.relative_to(folder).as_posix(): re.search(r"<title>(.*?)</title>", path.read_text("utf-8"), re.DOTALL)[1]
        for path in folder.rglob("*.html")
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory, new_repository) -> tuple[Path, Path]:
    """The same repository, rendered by MkDocs and by Zensical."""
    repository = new_repository(tmp_path_factory.mktemp("zensical"))
    repository.entry("frameworks", "scale_mae", name="Scale-MAE", aliases=["ScaleMAE"], year=2023, **METHOD)
    repository.entry("frameworks", "a_b", name='A & "B" <c>', year=2022, **METHOD)
    repository.entry("terms", "view", name="View", definition="An altered copy of an image.")
    old = repository.build(tmp_path_factory.mktemp("mkdocs"))
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build"], cwd=repository.root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return old, repository.root / "site"


def test_pages_and_titles_are_the_same(both):
    old, new = map(pages, both)
    assert "frameworks/scale_mae/index.html" in old
    assert new == old


def test_assets_are_the_same(both):
    """Scripts, styles, the search's index and the interface for programs are copied as they are."""
    old, new = both
    ours = [p.relative_to(old) for p in old.rglob("*") if p.suffix in (".json", ".js", ".css", ".csv", ".bib", ".txt")]
    ours = [p for p in ours if p.parts[0] in ("api", "llms.txt") or (len(p.parts) == 2 and p.parts[0] == "assets")]
    assert len(ours) > 20
    assert [p for p in ours if not (new / p).exists() or (new / p).read_bytes() != (old / p).read_bytes()] == []


@pytest.mark.browser
def test_search_finds_the_same(both, browser):
    """Typed into the box of either site, from a disk: the same entries in the same order."""
    found = {}
    for site in both:
        context = browser.new_context(offline=True)
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.goto((site / "index.html").as_uri())
        for text in ("scalemae", "scale mea", "a b", "view", "altered copy", "xyzzyq"):
            page.locator(".find input").fill(text)
            page.locator(f'.find input[data-answered="{text}"]').wait_for()
            page.wait_for_timeout(100)  # the words of summaries come second and make the answer finer
            links = page.locator(".find__list a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
            found.setdefault(text, []).append([link.removeprefix("./") for link in links])
        assert errors == []
        context.close()
    assert {text: old for text, (old, _) in found.items()} == {text: new for text, (_, new) in found.items()}
    assert found["scalemae"][0][0] == found["scale mea"][0][0] == "frameworks/scale_mae/index.html"
    assert found["xyzzyq"][0] == []
