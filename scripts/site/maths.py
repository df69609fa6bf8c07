"""LaTeX to MathML when the site is built, so that a formula needs no script and no web font."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from itertools import pairwise
from xml.etree import ElementTree

from latex2mathml.converter import convert

_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # understood in a page of HTML
_STRUCTURE = re.compile(r"\\(left|right|begin|end|qquad)(?![a-zA-Z])|\\.|[{}]")
_DEEPER = {"{": 1, "}": -1, "left": 1, "right": -1, "begin": 1, "end": -1}
_FUNCTIONS = frozenset(("argmax", "argmin", "cos", "exp", "inf", "ln", "log", "max", "min", "sin", "sup", "tanh"))
_CLOSING = frozenset(")]}|‖⟩!")


@cache
def mathml(latex: str, display: bool = False) -> str:
    """The formula as MathML; what cannot be converted is shown as it was written."""
    try:
        parts = [_converted(part, display) for part in (_statements(latex) if display else [latex])]
    except Exception:  # latex2mathml raises many kinds, none of which should stop a page
        return f"<code>{escape(latex.strip())}</code>"
    return parts[0] if len(parts) == 1 else f'<span class="formulas">{" ".join(parts)}</span>'


def _statements(latex: str) -> list[str]:
    """The formula, cut where wide spaces set statements apart, so that they can stand below each other."""
    parts, depth, start = [], 0, 0
    for match in _STRUCTURE.finditer(latex):
        what = match[1] or match[0]
        depth += _DEEPER.get(what, 0)
        if what == "qquad" and not depth:
            parts.append(latex[start : match.start()])
            start = match.end()
    return [part for part in (*parts, latex[start:]) if part.strip()] or [latex]


def _converted(latex: str, display: bool) -> str:
    made = convert(latex.strip(), display="block" if display else "inline")
    formula = ElementTree.fromstring(made.replace(_NAMESPACE, "", 1))
    for row in formula.iter():
        if row.tag in ("math", "mrow", "mtd"):
            _space(row)
    return ElementTree.tostring(formula, encoding="unicode").replace("\n", " ")


def _space(row: ElementTree.Element) -> None:
    """As TeX does: a thin space after the name of a function, none about a minus that is a sign."""
    made = list(row[:1])
    for before, one in pairwise(row):
        if before.tag == "mi" and before.text in _FUNCTIONS and one.tag not in ("mo", "mspace"):
            made.append(ElementTree.Element("mspace", width="0.167em"))
        if one.tag == "mo" and one.text == "−" and before.tag == "mo" and before.text not in _CLOSING:
            one.set("form", "prefix")
        made.append(one)
    row[:] = made
