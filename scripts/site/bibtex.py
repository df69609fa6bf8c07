"""BibTeX of a paper, with everything that BibTeX or TeX would trip over escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from scripts.site.text import plain, safe_url

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}
_CONFERENCE = re.compile(
    r"\b(CVPR|ICCV|ECCV|ICML|ICLR|NeurIPS|NIPS|AAAI|IJCAI|IGARSS|WACV|BMVC|ACCV|ICIP|ICASSP|ICPR|MICCAI|KDD|ACL|EMNLP|"
    r"NAACL|Proceedings|Conference|Workshops?|Symposium|Interspeech|SIGGRAPH|Advances in Neural)\b"
)


def escape(value: object) -> str:
    """Text for a braced BibTeX field: special characters of TeX written as commands."""
    return "".join(_TEX.get(c, c) for c in plain(value))


def _verbatim(value: object) -> str:
    """Text of a field that is never typeset (doi, eprint, url): as it is, but with braces that cannot end the field."""
    return plain(value).replace("\\", "%5C").replace("{", "%7B").replace("}", "%7D")


def _ascii(value: object) -> str:
    decomposed = unicodedata.normalize("NFKD", plain(value)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", decomposed.lower())


def _author(name: str) -> str:
    """A name with a comma or an "and" in it is one name only within braces."""
    return f"{{{escape(name)}}}" if "," in name or re.search(r"\band\b", name) else escape(name)


def bibtex(entry_id: str, paper: Mapping) -> str:
    """One BibTeX entry. paper: title, authors, year and, where known, venue, arxiv, doi, url."""
    authors = [plain(a) for a in paper.get("authors") or []]
    venue, arxiv, doi = (plain(paper.get(k) or "") for k in ("venue", "arxiv", "doi"))
    surname = _ascii(authors[0].split()[-1]) if authors and authors[0] else ""
    preprint = not venue or "arxiv" in venue.lower()
    kind = "misc" if preprint else "inproceedings" if _CONFERENCE.search(venue) else "article"
    fields = {
        "title": f"{{{escape(paper.get('title', ''))}}}",
        "author": " and ".join(_author(a) for a in authors),
        "booktitle" if kind == "inproceedings" else "journal": "" if preprint else escape(venue),
        "year": escape(paper.get("year", "")),
        "eprint": _verbatim(arxiv),
        "archiveprefix": "arXiv" if arxiv else "",
        "doi": _verbatim(doi),
        "url": "" if doi or arxiv else _verbatim(safe_url(paper.get("url") or "") or ""),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    key = f"{surname}{_ascii(paper.get('year', ''))}{_ascii(entry_id)}"
    return "\n".join([f"@{kind}{{{key or 'entry'},", *lines, "}"])
