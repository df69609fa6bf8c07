"""Words for messages: the nearest right name for a wrong one, and numbers of bytes that a person can read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, options: Iterable[str], otherwise: str = "") -> str:
    """ "; did you mean X or Y?" for the options nearest to `word`, else "; " + `otherwise`, else ""."""
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), by_lower, n=2, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(by_lower[name] for name in near)}?"
    return f"; {otherwise}" if otherwise else ""


def readable_bytes(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def one_line(error: BaseException | str) -> str:
    """What another library said, on one line and not too long, to stand in brackets within our own message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
