"""Writes an entry as YAML in the one form that all entries have.

Keys stand in the order of the schema. Text longer than a line is folded (`>-`), text with line breaks of its own keeps
them (`|-`), a list stands in brackets while it fits into a line. What a file says is not touched: numbers and dates
are written as they were.
"""

from __future__ import annotations

import json
import re
import textwrap
from itertools import pairwise

import yaml

from scripts.catalog.document import Document, Path_

WIDTH = 112
_RESOLVER = yaml.resolver.Resolver()
_STRING = "tag:yaml.org,2002:str"


def write(document: Document, tree: dict) -> str:
    """The text of a document that was read. tree: its schema, with every $ref written out."""
    return "\n".join(_Writer(document).mapping(document.data, tree, (), 0)) + "\n"


def comments(text: str) -> list[tuple[int, int]]:
    """Line and column of each comment in a YAML text that can be read."""
    if not re.search(r"(^|\s)#", text):
        return []
    tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    gaps = [(before.end_mark.index, after.start_mark.index) for before, after in pairwise(tokens)]
    for token in tokens:  # behind the sign of a text that spans lines
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            start = token.start_mark.index
            gaps.append((start, text.find("\n", start)))
            gaps.append((text.rfind("\n", 0, token.end_mark.index) + 1, token.end_mark.index))
    signs = {start + found.start(1) for start, end in gaps for found in re.finditer(r"(?:^|\s)(#)", text[start:end])}
    return [(text.count("\n", 0, sign) + 1, sign - text.rfind("\n", 0, sign)) for sign in sorted(signs)]


class _Writer:
    def __init__(self, document: Document):
        self.raw = document.raw

    def mapping(self, value: dict, node: dict, path: Path_, indent: int) -> list[str]:
        known = node.get("properties", {})
        keys = [*(key for key in known if key in value), *(key for key in value if key not in known)]
        lines = []
        for key in keys:
            lines += self.field(" " * indent + _text(key) + ":", value[key], known.get(key, {}), (*path, key), indent)
        return lines

    def field(self, start: str, value: object, node: dict, path: Path_, indent: int) -> list[str]:
        """The lines of `start` (a key, or the dash of a list) followed by a value."""
        short = self.inline(value, path)
        divisible = isinstance(value, (str, list, dict)) and value
        if short is not None and (len(start) + 1 + len(short) <= WIDTH or not divisible):
            return [f"{start} {short}"]
        if isinstance(value, str):
            return self.long_text(start, value, indent)
        if isinstance(value, dict):
            return self.nested(start, self.mapping(value, node, path, indent + 2))
        lines = []
        for number, item in enumerate(value):
            dash = " " * (indent + 2) + "-"
            lines += self.field(dash, item, node.get("items", {}), (*path, number), indent + 2)
        return [start, *lines]

    def nested(self, start: str, lines: list[str]) -> list[str]:
        """A mapping below its key, or with its first key beside the dash of a list."""
        return [f"{start} {lines[0].lstrip()}", *lines[1:]] if start.endswith("-") else [start, *lines]

    def inline(self, value: object, path: Path_, within: bool = False) -> str | None:
        """A value in one line, or None where it does not belong in one."""
        if isinstance(value, str):
            return _text(value, within) if "\n" not in value else None
        if isinstance(value, list):
            parts = [self.inline(item, (*path, number), True) for number, item in enumerate(value)]
            plain = not any(isinstance(item, dict) for item in value) and None not in parts
            return f"[{', '.join(parts)}]" if plain else None
        if isinstance(value, dict):
            numbers = all(isinstance(v, (int, float)) for v in value.values())
            parts = [f"{_text(key, True)}: {self.inline(v, (*path, key), True)}" for key, v in value.items()]
            return f"{{{', '.join(parts)}}}" if numbers else None
        return self.raw[path] or "null"

    def long_text(self, start: str, value: str, indent: int) -> list[str]:
        body, end = value.removesuffix("\n"), "" if value.endswith("\n") else "-"
        inner = " " * (indent + 2)
        if re.fullmatch(r"\S+( \S+)*", body):
            if end and " " not in body:
                return [f"{start} {_text(value)}"]  # an address cannot be folded
            wrapped = textwrap.wrap(body, WIDTH - len(inner), break_long_words=False, break_on_hyphens=False)
            return [f"{start} >{end}", *(inner + line for line in wrapped)]
        lines = body.split("\n")
        if re.match(r"\S", body) and lines[-1].strip() and not any(line and line.isspace() for line in lines):
            return [f"{start} |{end}", *((inner + line) if line else "" for line in lines)]
        return [f"{start} {json.dumps(value, ensure_ascii=False)}"]


def _text(value: str, within: bool = False) -> str:
    """A text in one line, in quotes where YAML would read it as something else. within: inside brackets."""
    if _is_plain(value, within):
        return value
    if re.search(r'["\\]', value) and "'" not in value and "\n" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)


def _is_plain(value: str, within: bool) -> bool:
    return (
        re.fullmatch(r"[^\s\-?:,\[\]{}#&*!|>'\"%@`](.*\S)?", value) is not None
        and not re.search(r":\s|\s#|:$", value)
        and not (within and re.search(r"[,\[\]{}:?]", value))
        and _RESOLVER.resolve(yaml.ScalarNode, value, (True, False)) == _STRING
    )
