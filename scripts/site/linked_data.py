"""schema.org data of an entry (JSON-LD), for search engines and reference managers."""

from __future__ import annotations

import json

from scripts.catalog import Entry
from scripts.site.text import plain, safe_url, shorten

# What an entry is to schema.org. A method is its code where it has one; see `linked_data`.
TYPES = {
    "framework": "CreativeWork",
    "backbone": "CreativeWork",
    "dataset": "Dataset",
    "survey": "ScholarlyArticle",
    "pretext_task": "DefinedTerm",
    "technique": "DefinedTerm",
    "challenge": "DefinedTerm",
    "term": "DefinedTerm",
}
# Characters that end a script element or mean something to Markdown, as JSON may also write them.
_ESCAPED = {c: f"\\u{ord(c):04x}" for c in "<>&`~\u2028\u2029"}


def _without_gaps(found: dict) -> dict:
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def _article(paper: dict) -> dict:
    arxiv, doi = paper.get("arxiv"), paper.get("doi")
    addresses = [f"https://doi.org/{doi}" if doi else None, f"https://arxiv.org/abs/{arxiv}" if arxiv else None]
    return _without_gaps(
        {
            "@type": "ScholarlyArticle",
            "name": plain(paper.get("title", "")),
            "author": [{"@type": "Person", "name": plain(name)} for name in paper.get("authors") or []],
            "datePublished": str(paper.get("year") or ""),
            "isPartOf": {"@type": "CreativeWork", "name": plain(paper["venue"])} if paper.get("venue") else None,
            "sameAs": [url for url in (*addresses, safe_url(paper.get("url") or "")) if url],
        }
    )


def linked_data(entry: Entry) -> dict:
    """What schema.org has words for; nothing that the page does not say as well."""
    data, code = entry.data, entry.get("code", dict, {})
    paper = _article(data["paper"]) if data.get("paper") else None
    about = {
        "@context": "https://schema.org",
        "@type": TYPES[entry.kind],
        "name": plain(entry.name),
        "url": safe_url(data.get("url") or ""),
    }
    if entry.kind == "dataset":  # of which search engines want more; elsewhere the page's own words will do
        about["alternateName"] = [plain(n) for n in (data.get("full_name"), *(data.get("aliases") or [])) if n]
        about["description"] = shorten(data.get("summary", ""), 300)
    if entry.kind == "survey":
        return _without_gaps({**about, **{k: v for k, v in (paper or {}).items() if k not in ("@type", "name")}})
    if code.get("url") and TYPES[entry.kind] == "CreativeWork":
        about |= {
            "@type": "SoftwareSourceCode",
            "codeRepository": safe_url(code["url"]),
            "license": code.get("licence"),
        }
    if entry.kind == "dataset":
        about |= {"license": data.get("licence")}
    return _without_gaps({**about, "citation": paper})


def script(entry: Entry) -> str:
    """The element for the page; no text in it can end it."""
    text = json.dumps(linked_data(entry), ensure_ascii=False, separators=(",", ":"))
    return f'<script type="application/ld+json">{"".join(_ESCAPED.get(c, c) for c in text)}</script>'
