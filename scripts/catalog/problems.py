"""A problem in a file, and the words that describe it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong at one place of a file. line and column count from 1; right says what would be right."""

    path: Path
    line: int
    column: int
    wrong: str
    right: str

    @property
    def message(self) -> str:
        return f"{self.wrong}; {self.right}"


def show(value: object, limit: int = 60) -> str:
    """A value as a message quotes it: one line, short, without control characters."""
    text = value if isinstance(value, str) else str(value)
    text = printable(text)
    return f"'{text[: limit - 3] + '...' if len(text) > limit else text}'"


def printable(text: str) -> str:
    """Text with everything that could move the cursor or reorder a line written as an escape."""
    return "".join(c if unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in text)


def plain(word: str) -> str:
    """A word without case, accents, spaces and punctuation: 'Scale-MAE' and 'scale mae' are both 'scalemae'.

    A plus sign counts, since it tells names apart: SatMAE and SatMAE++.
    """
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return re.sub(r"[^\w+]|_", "", decomposed)


def nearest(word: object, known: Iterable[str], count: int = 2) -> list[str]:
    """The known words most like a word, best first; compared without case and punctuation."""
    by_plain: dict[str, str] = {}
    for candidate in known:
        by_plain.setdefault(plain(candidate), candidate)
    wanted = plain(str(word)[:200])
    matcher = difflib.SequenceMatcher(b=wanted)
    likeness = {}
    for candidate in by_plain:
        matcher.set_seq1(candidate)
        if matcher.real_quick_ratio() >= 0.72 and matcher.quick_ratio() >= 0.72:
            likeness[candidate] = matcher.ratio()
    best = max(likeness.values(), default=0)
    near = sorted((p for p, r in likeness.items() if r >= max(0.72, best - 0.08)), key=likeness.get, reverse=True)
    if not near and len(wanted) >= 3:  # resnet50 for resnet, and the other way round
        near = [p for p in by_plain if len(p) >= 3 and (p in wanted or wanted in p)][:count]
    return [by_plain[p] for p in near[:count]]


def suggestion(word: object, known: Iterable[str], otherwise: str) -> str:
    """`did you mean A or B?`, or `otherwise` when nothing is near."""
    near = nearest(word, known)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def listed(words: Iterable[str], limit: int = 12) -> str:
    """Words as a comma-separated list, cut after `limit`."""
    words = list(words)
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")
