"""A file as read: its text, its data, the place of each part, and what was wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from scripts.catalog.problems import Problem, printable

Path_ = tuple[str | int, ...]  # ("sources", 0, "url"): the way from the top of a document to a value in it
Place = tuple[int, int]  # line and column, from 1

# Control characters, other line ends, invisible and direction-changing characters, byte order mark.
ODD = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\uffff]|\r(?!\n)"
)


@dataclass
class Document:
    """What a file says: data (None when unreadable), and for each path into it the places of key and value."""

    path: Path
    data: object = None
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)
    raw: dict[Path_, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path_, of: str = "value") -> Place:
        """Line and column of a value or, with of="key", of its key; of the nearest thing above when absent."""
        found = self.keys if of == "key" else self.values
        while path:
            if path in found:
                return found[path]
            path, found = path[:-1], self.keys
        return (1, 1)

    def problem(self, place: Place, wrong: str, right: str) -> None:
        self.problems.append(Problem(self.path, *place, wrong, right))


def read_text(document: Document, limit: int) -> str | None:
    """The file's text, or None with a problem noted in `document`. Never reads more than `limit` bytes."""
    path = document.path
    try:
        if not path.is_file():
            document.problem((1, 1), "is not a regular file", "put an ordinary text file there")
            return None
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", None) or str(error))
        document.problem((1, 1), f"cannot be read: {reason}", "check name and permissions")
        return None
    if len(raw) > limit:
        document.problem((1, 1), f"is larger than {limit // 1024} kB", "shorten it")
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        document.problem(_place(before, len(before)), f"byte 0x{raw[error.start]:02x} is not UTF-8", "save it as UTF-8")
        return None
    odd = ODD.search(text)
    if odd:
        what, right = name_odd(odd.group())
        document.problem(_place(text, odd.start()), what, right)
        return None
    return text


def name_odd(character: str) -> tuple[str, str]:
    if character == "\t":
        return "tab", "indent with spaces"
    if character == "\ufeff":
        return "byte order mark", "save it as UTF-8 without byte order mark"
    return f"invisible or control character U+{ord(character):04X}", "remove it"


def _place(text: str, offset: int) -> Place:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1
