"""The real catalog, rendered: links, sizes, nothing fetched from elsewhere."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import html5lib

from scripts.site.links import FOLDERS

KB = 1024


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a" and values.get("href") is not None:
            self.links.append(values["href"])
        if tag in ("script", "img", "link", "iframe", "source", "use") and values.get("rel") != "canonical":
            self.loaded += [values[name] for name in ("src", "href", "srcset") if values.get(name)]


def pages(site: Path) -> dict[Path, Page]:
    return {p: Page(p.read_text(encoding="utf-8")) for p in site.rglob("*.html") if p.name != "404.html"}


def entry_pages(site: Path) -> list[Path]:
    return [p for folder in FOLDERS.values() for p in (site / folder).glob("*/index.html")]


def test_every_link_within_the_site_leads_somewhere(real_site):
    found = pages(real_site)
    broken = []
    for path, page in found.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                broken.append(f"{path.relative_to(real_site)}: {link}")
            elif parts.fragment and parts.fragment not in found.get(target, Page("")).ids:
                broken.append(f"{path.relative_to(real_site)}: {link} (no such place)")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(real_site):
    for path, page in pages(real_site).items():
        assert [u for u in page.loaded if urlsplit(u).netloc] == [], path
    for sheet in real_site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


def test_pages_are_valid_html(real_site):
    """No parse error in any single page and in every tenth of those of which there are many."""
    every = sorted(pages(real_site))
    single = [p for p in every if len(p.relative_to(real_site).parts) == 2 or p.parent == real_site]
    wrong = []
    for path in {*single, *every[::10]}:
        parser = html5lib.HTMLParser()
        parser.parse(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(real_site)}: {position}: {code}" for position, code, _ in parser.errors]
    assert len(single) > 15
    assert wrong == []


def test_ids_are_unique_on_a_page(real_site):
    for path, page in pages(real_site).items():
        assert len(page.ids) == len(set(page.ids)), path


def test_entry_pages_keep_their_budget(real_site):
    """Nearly all of them; an entry that half of the catalog points to lists all that do."""
    pages = entry_pages(real_site)
    sizes = sorted(path.stat().st_size - _runs(path) for path in pages)
    packed = sorted(len(gzip.compress(path.read_bytes())) for path in pages)
    assert sizes[int(0.95 * len(sizes))] <= 22 * KB and sizes[-1] <= 60 * KB
    assert packed[int(0.95 * len(packed))] <= 7 * KB and packed[-1] <= 14 * KB


def _runs(path: Path) -> int:
    """Bytes of run records shown on the page: what was measured may take its room."""
    return sum(len(block) for block in re.findall(r'<section class="run">.*?</section>', path.read_text(), re.DOTALL))


def test_first_load_keeps_its_budget(real_site):
    home = real_site / "index.html"
    files = [home, *((real_site / u) for u in Page(home.read_text(encoding="utf-8")).loaded)]
    files = [f for f in files if f.suffix in (".html", ".css", ".js", ".svg")]
    total = sum(len(gzip.compress(f.read_bytes())) for f in set(files))
    assert len(files) > 4
    assert total <= 80 * KB


def test_entries_stay_out_of_the_navigation(real_site):
    home = (real_site / "index.html").read_text(encoding="utf-8")
    navigation = re.search(r'<nav class="md-nav md-nav--primary".*?</nav>', home, re.DOTALL)[0]
    assert navigation.count("<a ") < 40


def test_pages_have_one_heading_and_a_description(real_site):
    for path in entry_pages(real_site):
        text = path.read_text(encoding="utf-8")
        assert text.count("<h1") == 1, path
        assert re.search(r'<meta name="description" content="[^"]{20,}"', text), path
