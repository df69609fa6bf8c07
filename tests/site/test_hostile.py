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


def test_search_results_show_text_too(repository, tmp_path):
    hostile(repository)
    site = repository.build(tmp_path / "site")
    for document in json.loads((site / "search" / "search_index.json").read_text())["docs"]:
        page = Dangers()  # the search puts title and text into the page as HTML
        page.feed(document["title"] + " " + document["text"])
        assert page.found == [], document["location"]
        assert "<script" not in document["title"] + document["text"]
        assert "<img" not in document["title"] + document["text"]
