"""Reads one YAML or JSON file that anybody may have written, keeping the place of every key and value.

`yaml.safe_load` is safe from running code, but it takes the last of two equal keys without a word, follows aliases (a
hundred bytes can become a gigabyte) and forgets line numbers. So the document is built here from the parser's events:
the values are those of `safe_load`; duplicate keys, anchors, aliases, merge keys, tags, tabs and odd characters are
refused, each with its place.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import yaml

from scripts.catalog.document import ODD, Document, Place, name_odd, read_text
from scripts.catalog.problems import printable, show

MAX_ENTRY = 64 * 1024
MAX_RECORD = 2 * 1024 * 1024
MAX_DEPTH = 12

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_YAML_HINTS = (
    ("mapping values are not allowed", "put a text that contains ': ' in quotes, and check the indentation"),
    ("could not find expected ':'", "every line of a mapping is `key: value`; check quotes and indentation"),
    ("expected <block end>", "check the indentation of this line and the quotes before it"),
    ("did not find expected", "check quotes, brackets, commas and indentation"),
    ("unexpected end of stream", "close the quote that was opened"),
    ("cannot start any token", "put the text in quotes"),
)


class _Stop(Exception):
    """The rest of the file cannot be understood; the problem is already noted."""


def read_yaml(path: Path, limit: int = MAX_ENTRY) -> Document:
    """Reads a YAML file that must hold one mapping. Never raises for what the file contains: see `problems`."""
    document = Document(path)
    text = read_text(document, limit)
    if text is not None:
        data = build(text, document)
        if document.problems:
            pass
        elif isinstance(data, dict):
            document.data = data
        elif data is None:
            document.problem((1, 1), "is empty", "begin with `id:`; catalog/templates shows the rest")
        else:
            document.problem(document.place(()), "is not a mapping", "write lines of `key: value`")
    return document


def read_json(path: Path, limit: int = MAX_RECORD) -> Document:
    """Reads a JSON file that must hold one object; like `read_yaml`, with places found only when asked for."""
    document = Document(path)
    text = read_text(document, limit)
    if text is None:
        return document
    try:
        data = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair cannot be written anywhere
    except json.JSONDecodeError as error:
        document.problem((error.lineno, error.colno), f"is not JSON: {error.msg}", "write it again with refimpl")
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else printable(str(error))
        document.problem((1, 1), reason, "write it again with refimpl")
    else:
        if isinstance(data, dict):
            document.data = data
            document.keys = document.values = _LazyPlaces(text, document)
        else:
            document.problem((1, 1), "is not a JSON object", "write it again with refimpl")
    return document


def _no_duplicates(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {show(next(n for n in names if names.count(n) > 1))} appears twice")
    return found


def _finite(digits: str) -> float:
    return float(digits) if math.isfinite(float(digits)) else _no_constant(digits)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number JSON knows")


class _LazyPlaces(dict):
    """Places in a JSON text, which is also YAML; most records are right and never need them."""

    def __init__(self, text: str, document: Document):
        super().__init__()
        self.text, self.path = text, document.path

    def __contains__(self, key: object) -> bool:
        if self.text is not None:
            scratch = Document(self.path)
            build(self.text, scratch)
            self.update(scratch.values)
            self.text = None
        return super().__contains__(key)


def build(text: str, document: Document) -> object:
    """The value of a YAML text; places and problems go into `document`."""
    try:
        return _Builder(document).run(yaml.parse(text, Loader=_PARSER))
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        reason = printable(error.problem or error.context or "not understood")
        marks = (error.problem_mark, error.context_mark)  # where it was noticed, where the thing concerned begins
        mark = marks["end of stream" in reason] or marks[0] or marks[1]
        hint = next((hint for words, hint in _YAML_HINTS if words in reason), "check quotes and indentation")
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        document.problem(place, f"is not valid YAML: {reason}", hint)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        document.problem((1, 1), f"is not valid YAML: {printable(str(error))[:120]}", "check it with an editor")
    return None


class _Builder:
    """Builds values from parser events without recursion."""

    def __init__(self, document: Document):
        self.document = document
        self.open: list[dict | list] = []  # containers from the outermost in
        self.path: list[str | int] = []  # where the innermost stands
        self.key: str | None = None  # key read, value awaited
        self.result: object = None
        self.documents = 0

    def run(self, events) -> object:
        for event in events:
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self.stop(place, "a second document begins", "keep one document per file: remove this `---`")
            elif isinstance(event, yaml.AliasEvent):
                self.stop(place, f"alias *{show(event.anchor)[1:-1]}", "write the value out")
            elif isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                self.node(event, place)
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                self.open.pop()
                if self.path:
                    self.path.pop()
        return self.result

    def stop(self, place: Place, wrong: str, right: str) -> None:
        self.document.problem(place, wrong, right)
        raise _Stop

    def node(self, event, place: Place) -> None:
        if event.anchor is not None:
            self.stop(place, f"anchor &{show(event.anchor)[1:-1]}", "remove it: anchors and aliases are not used here")
        if event.tag is not None:
            self.stop(place, f"tag {show(event.tag)}", "remove it: types follow from the schema")
        if self.open and isinstance(self.open[-1], dict) and self.key is None:
            self.new_key(event, place)
            return
        scalar = isinstance(event, yaml.ScalarEvent)
        value = self.scalar(event, place) if scalar else [] if isinstance(event, yaml.SequenceStartEvent) else {}
        step = self.put(value)
        path = (*self.path, *step)
        self.document.values[path] = place
        if isinstance(self.open[-1] if self.open else None, list):
            self.document.keys[path] = place
        if scalar:
            self.document.raw[path] = event.value
        else:
            if len(self.open) >= MAX_DEPTH:
                self.stop(place, f"is nested more than {MAX_DEPTH} deep", "see the template for the right shape")
            self.open.append(value)
            self.path.extend(step)

    def put(self, value: object) -> tuple[str | int, ...]:
        """Stores a value in the innermost container; the step that leads to it."""
        if not self.open:
            self.result = value
            return ()
        container = self.open[-1]
        if isinstance(container, list):
            container.append(value)
            return (len(container) - 1,)
        container[self.key] = value
        step, self.key = self.key, None
        return (step,)

    def new_key(self, event, place: Place) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            self.stop(place, "a key is not a word", "keys are the schema's field names; check quotes and brackets")
        if event.value == "<<":
            self.stop(place, "merge key <<", "write the keys out")
        self.check_characters(event.value, place)
        path = (*self.path, event.value)
        if event.value in self.open[-1]:
            first = self.document.keys[path][0]
            self.document.problem(
                place, f"key {show(event.value)} appears twice", f"keep this or the one in line {first}"
            )
        else:
            self.document.keys[path] = place
        self.key = event.value

    def check_characters(self, text: str, place: Place) -> None:
        """Escapes in double quotes can name the characters that the text itself must not contain."""
        odd = ODD.search(text)
        if odd:
            self.document.problem(place, *name_odd(odd.group()))

    def scalar(self, event, place: Place) -> object:
        self.check_characters(event.value, place)
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
        construct = _CONSTRUCTOR.yaml_constructors.get(tag)
        try:
            if construct is None:
                raise ValueError
            value = construct(_CONSTRUCTOR, yaml.ScalarNode(tag, event.value))
        except (ValueError, OverflowError, yaml.YAMLError):
            kind = "date" if tag.endswith("timestamp") else "number" if tag.endswith(("int", "float")) else "value"
            self.document.problem(
                place, f"{show(event.value)} is not a valid {kind}", "correct it, or quote it if text"
            )
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.document.problem(place, f"{show(event.value)} is not a finite number", "give a number or leave it out")
            return None
        return value
