"""Docstrings and comments as HTML.

What is understood: paragraphs, lists, `code`, **strong**, *stressed*, $maths$, indented formulas, Args/Returns/Raises,
addresses, arXiv ids. The mark-up is the one that reads well in the source itself, nothing more. Everything is escaped.
"""

from __future__ import annotations

import re
from html import escape
from textwrap import dedent

from scripts.site.maths import mathml
from scripts.site.text import link

_INLINE = re.compile(
    r"(?P<code>``?[^`]+``?)"
    r"|\$\$(?P<display>.+?)\$\$"
    r"|(?<![\w$])\$(?P<maths>[^\s$](?:[^$]*[^\s$])?)\$(?![\w$])"
    r"|(?P<url>https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:])"
    r"|\*\*(?P<strong>[^\s*](?:[^*]*[^\s*])?)\*\*"
    r"|(?<![\w*])\*(?P<em>[^\s*](?:[^*\n]*[^\s*])?)\*(?![\w*])"
    r"|arXiv[: ]\s*(?P<arxiv>\d{4}\.\d{4,5})"
    r"|(?:doi|DOI):?\s?(?P<doi>10\.\d{4,9}/[^\s)\],;]*[^\s)\],;.])",
    re.DOTALL,
)
_SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Class attributes|Returns?|Yields?|Raises|Example|Examples|Note)\b.*:$"
)
_ITEM = re.compile(r"^([*\w., ()\[\]|]+?):\s+(.*)$", re.DOTALL)
_BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")  # a year that begins a line is none
_CLOSING = re.compile(r"[).,;:!?]*(?:-\w+)?")


def inline(text: str) -> str:
    """One paragraph's words."""
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[end : match.start()], quote=True))
        end = match.end()
        if match["code"]:
            parts.append(f"<code>{escape(match['code'].strip('`'))}</code>")
        elif match["display"]:
            parts.append(mathml(match["display"], display=True))
        elif match["maths"]:
            formula, closing = mathml(match["maths"]), _CLOSING.match(text, end)[0]
            opening = "(" if parts[-1].endswith("(") else ""
            if opening or closing:  # browsers would break the line between them and the formula
                parts[-1] = parts[-1].removesuffix("(")
                formula = f'<span class="whole">{opening}{formula}{closing}</span>'
                end += len(closing)
            parts.append(formula)
        elif match["url"]:
            parts.append(link(match["url"]))
        elif match["strong"]:
            parts.append(f"<strong>{inline(match['strong'])}</strong>")
        elif match["em"]:
            parts.append(f"<em>{inline(match['em'])}</em>")
        elif match["arxiv"]:
            parts.append(link(f"https://arxiv.org/abs/{match['arxiv']}", f"arXiv:{match['arxiv']}"))
        else:
            parts.append(link(f"https://doi.org/{match['doi']}", f"doi:{match['doi']}"))
    parts.append(escape(text[end:], quote=True))
    return "".join(parts)


def _blocks(text: str) -> list[list[str]]:
    """Lines grouped by blank lines, display maths kept in one piece."""
    blocks: list[list[str]] = [[]]
    inside = False
    for line in text.splitlines():
        if not line.strip() and not inside:
            blocks.append([])
            continue
        if _SECTION.match(line) and not inside:
            blocks.append([])
        blocks[-1].append(line)
        inside ^= line.count("$$") % 2 == 1
    return [b for b in blocks if b]


def _hanging(lines: list[str], starts) -> list[str]:
    """Joins each line that does not start an item to the item before it."""
    items: list[str] = []
    for line in lines:
        if starts(line) or not items:
            items.append(line.strip())
        else:
            items[-1] += " " + line.strip()
    return items


def _definitions(title: str, lines: list[str]) -> str:
    lines = dedent("\n".join(lines)).splitlines()
    rows = []
    for item in _hanging([line for line in lines if line.strip()], lambda line: not line.startswith(" ")):
        named = _ITEM.match(item)
        if named:
            rows.append(f"<dt><code>{escape(named[1])}</code></dt><dd>{inline(named[2])}</dd>")
        else:
            rows.append(f"<dd>{inline(item)}</dd>")
    if not any(row.startswith("<dt>") for row in rows):  # a list of definitions needs something that is defined
        said = "".join(f"<p>{row[4:-5]}</p>" for row in rows)
        return f'<p class="label">{escape(title)}</p><div class="args">{said}</div>'
    return f'<p class="label">{escape(title)}</p><dl class="args">{"".join(rows)}</dl>'


def _paragraphs(block: list[str]) -> str:
    """A block without indented parts: a list, or one paragraph."""
    bullets = [bool(_BULLET.match(line)) for line in block]
    if any(bullets):
        first = bullets.index(True)
        head = f"<p>{inline(' '.join(block[:first]))}</p>" if first else ""
        items = _hanging(block[first:], lambda line: bool(_BULLET.match(line)))
        return head + "<ul>" + "".join(f"<li>{inline(_BULLET.sub('', item))}</li>" for item in items) + "</ul>"
    return f"<p>{inline(' '.join(line.strip() for line in block))}</p>"


def prose(text: str) -> str:
    """HTML of a docstring (its indentation removed) or of comment text."""
    parts = []
    blocks = _blocks(text)
    for block in blocks:
        first = block[0].strip()
        indented = [line.startswith((" ", "\t")) for line in block]
        if "$$" in "\n".join(block):
            parts.append(_paragraphs([line.strip() for line in block]))
        elif _SECTION.match(first) and not indented[0]:
            parts.append(_definitions(first.rstrip(":"), block[1:]))
        elif all(indented):
            parts.append(f"<pre class='formula'>{escape(dedent(chr(10).join(block)))}</pre>")
        elif match := re.match(r"^--+\s*(.*?)\s*-*$", first):
            parts.append(f"<h3>{escape(match[1])}</h3>" if match[1] else "")
            if block[1:]:
                parts.append(_paragraphs(block[1:]))
        elif (
            _SECTION.match(first.partition(":")[0] + ":")
            and len(block) >= 1
            and ":" in first
            and not first.endswith(":")
        ):
            title, _, rest = " ".join(line.strip() for line in block).partition(":")
            parts.append(f'<p><span class="label">{escape(title)}</span> {inline(rest.strip())}</p>')
        else:
            parts.append(_paragraphs(block))
    return "".join(parts)
