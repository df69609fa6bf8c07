"""Whatever an entry says, its page shows it as text."""

import json
import re
from html.parser import HTMLParser

from refimpl import registry

NAME = next(iter(registry.methods()))
SCRIPT = "<script>hostile()</script>"
QUOTED = "\"><img src=x onerror=hostile()> '"
MARKED = "[x](javascript:hostile()) `</code><svg onload=hostile()>` {: onclick=hostile() } $</math><script>hostile()$"
FENCE = "```html\n<script>hostile()</script>\n```\n\n    <script>hostile()</script>\n\n</div></div><script>hostile()"


class Dangers(HTMLParser):
    """Collects everything on a page that could run."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.inside = False
        self.text = ""

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        data = values.get("type") in ("application/json", "application/ld+json")  # which no browser executes
        inline = tag == "script" and "src" not in values and not data
        self.inside = tag == "script" and not data
        if tag in ("iframe", "object", "embed", "base", "form") and values.get("name") not in (None, "search"):
            self.found.append(tag)
        for name, value in attributes:
            value = (value or "").strip().lower()
            if name.startswith("on") or value.startswith(("javascript:", "data:text", "vbscript:")):
                self.found.append(f"{tag} {name}={value}")
            if name == "src" and value == "x":
                self.found.append(f"{tag} src")
        if inline:
            self.text += " [inline script] "

    def handle_data(self, data):
        if self.inside and "hostile" in data:
            self.found.append(f"script: {data}")
        self.text += data

    def handle_endtag(self, tag):
        self.inside = False


def hostile(repository):
    repository.entry(
        "frameworks", "bad", name=f"Bad {SCRIPT}{QUOTED}", full_name=QUOTED + SCRIPT, aliases=[SCRIPT, QUOTED, MARKED],
        summary=f"{SCRIPT} {QUOTED} {MARKED} and enough words.", details=f"{FENCE}\n\n{MARKED}\n\n$$</math>{SCRIPT}$$",
        family="contrastive", modality=[SCRIPT], tasks=[QUOTED], facts={"predicts": MARKED, "losses": [SCRIPT, QUOTED]},
        paper={"title": f"{{}} {SCRIPT} {QUOTED}", "authors": [SCRIPT, QUOTED], "venue": MARKED, "year": 2020,
               "arxiv": f"1{QUOTED}", "doi": f"10.1/{SCRIPT}{QUOTED}", "url": "javascript:hostile()"},
        year=2020, code={"url": f"https://x.org/{QUOTED}", "licence": SCRIPT, "weights": "javascript:hostile()"},
        sources=[{"key": SCRIPT, "title": MARKED, "url": "javascript:hostile()", "locator": QUOTED, "accessed": SCRIPT,
                  "supports": ["paper"]}],
        corrections=[{"field": SCRIPT, "claimed": QUOTED, "correct": MARKED, "source": SCRIPT}],
        results=[{"metric": SCRIPT, "value": 1, "unit": QUOTED, "dataset": MARKED, "protocol": SCRIPT,
                  "locator": QUOTED, "source": SCRIPT}],
        closest=[{"title": SCRIPT, "why": QUOTED, "url": "javascript:hostile()"}], origin=[SCRIPT], unknown=[QUOTED],
        confidence={MARKED: SCRIPT}, last_verified=SCRIPT, identity="unidentified",
        refimpl={"name": NAME, "fidelity": SCRIPT, "difference": MARKED},
    )  # fmt: skip
    repository.entry("terms", "bad", name=QUOTED, aliases=[SCRIPT], summary=MARKED, definition=FENCE)
    repository.entry("challenges", "bad", name=MARKED, summary=SCRIPT, area=SCRIPT, family=QUOTED)
    results = repository.root / "catalog" / "results"
    results.mkdir()
    run = {
        "record": "run", "id": SCRIPT, "method": NAME, "data": {"name": QUOTED, "synthetic": False, "samples": SCRIPT},
        "protocol": SCRIPT, "seed": SCRIPT, "commit": QUOTED, "started": SCRIPT, "seconds": 1, "device": SCRIPT,
        "curve": [[0, 1.0], [1, 0.5]],
        "scores": [{"metric": SCRIPT, "value": 1.0, "unit": QUOTED, "features": MARKED}],
    }  # fmt: skip
    (results / f"{NAME}-x-1.json").write_text(json.dumps(run))


def test_nothing_an_entry_says_can_run(repository, tmp_path):
    hostile(repository)
    site = repository.build(tmp_path / "site")
    checked = 0
    for path in site.rglob("*.html"):
        page = Dangers()
        page.feed(path.read_text(encoding="utf-8"))
        assert page.found == [], path
        checked += "hostile()" in page.text
    assert checked >= 5  # entry, its listing, glossary, challenges, implementation: shown, and shown as text
    entry = Dangers()
    entry.feed((site / "frameworks" / "bad" / "index.html").read_text(encoding="utf-8"))
    assert SCRIPT in entry.text and "Verification" in entry.text
    assert not re.search(r"wzxhzdk|klzzwxh", entry.text)  # Python-Markdown's placeholders


def test_scripts_of_data_hold_no_markup_and_scripts_of_ours_write_none(repository, tmp_path):
    """The browser's index and the compare page's data: text that only ever becomes text."""
    hostile(repository)
    generated = repository.generate()
    data = [*(generated / "assets").glob("catalog-*.js"), *(generated / "assets" / "entries").rglob("*.js")]
    assert len(data) > 4 and any("hostile()" in path.read_text(encoding="utf-8") for path in data)
    for path in data:
        assert "<" not in path.read_text(encoding="utf-8"), path
    for path in (generated / "assets").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        if path not in data:
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), path


def test_what_an_entry_says_stays_text_in_search_explorer_and_comparison(repository, tmp_path, browser):
    hostile(repository)
    site = repository.build(tmp_path / "site")
    page = browser.new_page()
    raised = []
    page.on("pageerror", lambda error: raised.append(str(error)))
    page.goto((site / "explore" / "index.html").as_uri() + "?q=bad")
    page.locator(".rows a", has_text="<script>").wait_for()
    page.keyboard.press("Escape")
    page.locator(".find__input").fill("bad")
    page.locator(".find__list a", has_text="<script>").first.wait_for()
    page.goto((site / "compare" / "index.html").as_uri() + "?ids=framework/bad,term/bad")
    page.locator("table.versus").get_by_text("<script>").first.wait_for()
    assert page.locator("article script:not([src]), article svg[onload], article img[src=x]").count() == 0
    assert raised == []
    page.close()
