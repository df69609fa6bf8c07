"""The index that the browser reads: every entry's names and facets in one small script, rarer words in a second one.

Scripts that set a global, not JSON: pages opened from a file may run a script beside them but not fetch it. Values are
kept in columns, facets as numbers, since both compress well; docs/assets/catalog.js reads them back.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from math import log2

from scripts.catalog import Entry
from scripts.site.bibtex import bibtex
from scripts.site.facets import Facet
from scripts.site.implementations import title as implementation_title
from scripts.site.links import FOLDERS, SINGULAR, TITLES
from scripts.site.model import Site
from scripts.site.output import Output
from scripts.site.text import plain

INDEX, WORDS, BIBTEX = "assets/catalog-index.js", "assets/catalog-words.js", "assets/catalog-bibtex.js"
_STOP = frozenset(
    """
    about after all also and any are because been before being between both but can did does done each even every
    first for from had has have here how into its just like made make makes many more most much not often one only
    onto other others over per same since some still such than that the their them then there they this two under
    use used uses using very via was well were what when where which while who why with within without
    """.split()  # noqa: SIM905 - a page of quotation marks is harder to read
)


def script(name: str, value: object) -> str:
    """A script that sets one global. No character in it can end a script element, wherever it is put."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"window.{name}={text.replace('<', chr(92) + 'u003c')};\n"


def folded(text: object) -> str:
    """A name as the search compares it at its simplest: letters and digits only."""
    flat = unicodedata.normalize("NFKD", plain(text)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "", flat.lower())


def _aliases(entry: Entry) -> list[str]:
    """Aliases that differ from what stands beside them by more than case, space and hyphen."""
    seen = {folded(entry.name), folded(entry.data.get("full_name") or "")}
    kept = []
    for alias in entry.data.get("aliases") or []:
        if folded(alias) not in seen:
            seen.add(folded(alias))
            kept.append(plain(alias))
    return kept


def _id(entry: Entry) -> str:
    """The id, or "" where it follows from the name as `idOf` of catalog.js works it out."""
    derived = re.sub(r"[^a-z0-9]+", "_", entry.name.lower()).strip("_")
    return "" if derived == entry.id else entry.id


def _full(entry: Entry) -> str:
    """The full name; a leading repetition of the name is written as "~"."""
    full, name = plain(entry.data.get("full_name") or ""), plain(entry.name)
    return "" if folded(full) == folded(name) else "~" + full[len(name) :] if full.startswith(name + ": ") else full


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number] if number < 36 else _base36(number // 36) + digits[number % 36]


def _weight(site: Site, entry: Entry) -> str:
    """How much the rest of the catalog points to an entry, 0 to 9: of two equal hits the better known comes first."""
    pointing = sum(len(others) for others in site.catalog.inverse_relations(entry).values())
    return str(min(9, round(log2(1 + pointing))))


def pages(output: Output) -> list[tuple[str, str, list[str]]]:
    """Address, title and headings of every page, but for the kinds of which there are many, found otherwise."""
    many = (
        *(f"{folder}/" for folder in FOLDERS.values()),
        "implementations/",
        "facets/",
        "records/",
        "leaderboards/reported/",
    )
    found = []
    for path, text in output.markdown():
        if path.startswith(many) and not path.endswith("index.md"):
            continue
        heading = re.search(r"^# (.+)$", text, re.MULTILINE) or re.search(r'^title: "(.+)"$', text, re.MULTILINE)
        if not heading:
            continue
        address = "" if path == "index.md" else re.sub(r"(index)?\.md$", "", path).rstrip("/") + "/"
        found.append((address, _bare(heading[1]), [_bare(h) for h in re.findall(r"^##+ (.+)$", text, re.MULTILINE)]))
    return found


def _bare(heading: str) -> str:
    """A heading without its mark-up and with its entities read."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]|\{[^}]*\}$", lambda m: m[1] or "", heading)
    return plain(html.unescape(words))


def index(site: Site, facets: list[Facet]) -> dict:
    """Names and facets of all entries, and the facet values themselves."""
    entries = site.all
    place = {(e.kind, e.id): i for i, e in enumerate(entries)}
    columns = {}
    for facet in facets:
        of: list[list[str]] = [[] for _ in entries]
        for number, value in enumerate(facet.values.values()):
            for entry in value.entries:
                of[place[entry.kind, entry.id]].append(_base36(number))
        columns[facet.code] = ",".join(".".join(numbers) for numbers in of)
    return {
        "kinds": [[kind, FOLDERS[kind], SINGULAR[kind], TITLES[kind]] for kind in TITLES],
        "names": [plain(e.name) for e in entries],
        "ids": ",".join(_id(e) for e in entries),
        "full": [_full(e) for e in entries],
        "aliases": ["|".join(a.replace("|", "/") for a in _aliases(e)) for e in entries],
        "weight": "".join(_weight(site, e) for e in entries),
        "facets": [[f.code, f.title, [[v.code, v.label] for v in f.values.values()]] for f in facets],
        "values": columns,
    }


def _stems(text: object) -> list[str]:
    """Words worth finding something by."""
    flat = unicodedata.normalize("NFKD", plain(text)).encode("ascii", "ignore").decode().lower()
    return [w for w in re.findall(r"[a-z][a-z0-9]{2,}", flat) if w not in _STOP]


def _surnames(paper: dict) -> list[str]:
    """Of the first author, and of the second where there are but two."""
    authors = paper.get("authors") if isinstance(paper.get("authors"), list) else []
    named = authors if len(authors) == 2 else authors[:1]
    return [plain(a).split()[-1] for a in named if plain(a)]


def words(site: Site, facets: list[Facet], output: Output, most: int = 10, common: float = 0.05) -> dict:
    """Key words of summaries and paper titles, and first authors; what facet values are also called; pages.

    most: how many of an entry; common: words in more than this share of all summaries tell nothing.
    """
    texts = [_stems(f"{e.data.get('summary', '')} {(e.data.get('paper') or {}).get('title', '')}") for e in site.all]
    known = [set(_stems(" ".join([e.name, str(e.data.get("full_name", "")), *_aliases(e)]))) for e in site.all]
    frequency = Counter(word for text in texts for word in set(text))
    limit = max(3, common * len(texts))
    found = []
    for entry, text, names in zip(site.all, texts, known):
        rare = [w for w in dict.fromkeys(text) if w not in names and frequency[w] <= limit]
        rare = sorted(rare, key=lambda w: frequency[w] == 1)[:most]  # a word that occurs once may be an accident
        authors = [s for s in map(folded, _surnames(entry.data.get("paper") or {})) if s]
        found.append(" ".join(dict.fromkeys([*authors, *sorted(rare)])))
    return {
        "entries": found,
        "facets": {f"{f.code}/{v.code}": v.words for f in facets for v in f.values.values() if v.words},
        "pages": [[address, title, *headings] for address, title, headings in pages(output)],
        "implementations": [[i.name, implementation_title(i)[0]] for i in site.implementations.values()],
    }


def _references(site: Site) -> Iterable[tuple[str, str]]:
    for entry in site.all:
        if entry.data.get("paper"):
            yield f"{entry.kind}/{entry.id}", bibtex(entry.id, entry.data["paper"])


def write(site: Site, facets: list[Facet], output: Output) -> None:
    """Adds the scripts. Called last: the pages that are there by then are in the index."""
    output.add(INDEX, script("catalogIndex", index(site, facets)))
    output.add(WORDS, script("catalogWords", words(site, facets, output)))
    output.add(BIBTEX, script("catalogBibtex", dict(_references(site))))
