"""LaTeX to MathML when the site is built, so that a formula needs no script and no web font."""

from __future__ import annotations

from functools import cache
from html import escape

from latex2mathml.converter import convert


@cache
def mathml(latex: str, display: bool = False) -> str:
    """The formula as MathML; what cannot be converted is shown as it was written."""
    try:
        return convert(latex.strip(), display="block" if display else "inline").replace("\n", " ")
    except Exception:  # latex2mathml raises many kinds, none of which should stop a page
        return f"<code>{escape(latex.strip())}</code>"
