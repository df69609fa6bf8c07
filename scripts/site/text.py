"""Text from data into a page: every word of an entry passes through here, so that no entry can inject markup.

Two kinds of place exist on a page. In HTML (tables, cards) `html` escapes; in Markdown (headings, paragraphs)
`markdown` writes each character that could mean something as a numeric entity, which Python-Markdown passes through.
"""

from __future__ import annotations

import html as _html
import json
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

# Characters with a meaning to HTML, Markdown or one of its extensions.
_SPECIAL = re.compile(r"[&<>\"'`*_\[\]{}\\|~^=$]")
_LINE_START = re.compile(r"^(?:[#+\->:!]|\d+[.)])")
# Control characters; Python-Markdown uses two of them as its own placeholders.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def plain(value: object) -> str:
    """One line of text: control characters dropped, white space collapsed."""
    return " ".join(_CONTROL.sub("", str(value)).split())


def made_on(record: Mapping) -> str:
    """What a record was made on, in words; a record counts one thread in the plural."""
    return plain(record.get("device") or "").replace(", 1 threads", ", 1 thread")


def html(value: object) -> str:
    """Text for HTML content or a double-quoted attribute."""
    return _html.escape(plain(value), quote=False).replace('"', "&quot;")


def markdown(value: object) -> str:
    """Text for a heading or paragraph of a Markdown file."""
    line = _SPECIAL.sub(lambda m: f"&#{ord(m[0])};", plain(value))
    return _LINE_START.sub(lambda m: m[0][:-1] + f"&#{ord(m[0][-1])};", line)


def multiline(value: object) -> str:
    """Text for a <pre>, its lines kept."""
    return _html.escape(_CONTROL.sub("", str(value)).strip("\n"), quote=True)


def safe_url(value: object) -> str | None:
    """The address, percent-encoded, if it is http(s) and names a host; else None."""
    text = plain(value)
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or " " in text:
        return None
    return quote(text, safe=":/?#[]@!$&()*+,;=%~-._")


def link(address: object, label: object | None = None) -> str:
    """<a> to an outside address; only the escaped label where the address is not a safe one."""
    url = safe_url(address)
    shown = html(label if label is not None else re.sub(r"^https?://(www\.)?", "", plain(address)))
    return f'<a href="{html(url)}">{shown}</a>' if url else shown


def slug(value: object) -> str:
    """Lower-case identifier for an anchor or a file name."""
    return re.sub(r"[^a-z0-9]+", "-", plain(value).lower()).strip("-") or "x"


def front_matter(**fields: object) -> str:
    """YAML front matter. Title and description reach the theme's templates unescaped, so strings are escaped here."""
    lines = [f"{name}: {json.dumps(html(v) if isinstance(v, str) else v)}" for name, v in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def label(name: object) -> str:
    """A vocabulary word as people read it: `pretext_task` -> `pretext task`."""
    return plain(name).replace("_", " ")


def shorten(value: object, length: int = 160) -> str:
    """The text's beginning, cut at a word, at most `length` characters."""
    text = plain(value)
    return text if len(text) <= length else text[: length - 1].rsplit(" ", 1)[0].rstrip(",;:") + " …"
