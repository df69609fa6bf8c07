"""Does a file have the shape its schema asks for? Schema errors, said in words a contributor can act on.

`jsonschema` finds what the schema forbids; `_annotations` executes the x- words that common.schema.json explains.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass

from jsonschema import ValidationError

from scripts.catalog import Catalog, Problem, as_json
from scripts.catalog.document import Path_
from scripts.catalog.model import Entry, Source, dotted
from scripts.catalog.problems import listed, nearest, plain, show, suggestion

_KINDS = {
    "object": "a mapping of `key: value` lines",
    "array": "a list, each item behind `- ` or all in [brackets]",
    "string": "a text",
    "integer": "a whole number without separators",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True)
class Finding:
    """One thing wrong: where (path into the data, at its key or its value), what, and what would be right."""

    path: Path_
    wrong: str
    right: str
    of: str = "value"


def shape_problems(source: Source, catalog: Catalog, implementations: set[str] | None) -> list[Problem]:
    """Everything in which one entry or record departs from its schema.

    implementations: names that exist, or None when they could not be listed (then they are not checked).
    """
    found: list[Finding] = []
    for error in source.schema.validator.iter_errors(as_json(source.data)):
        found += _explain(error, source)
    found += _Annotations(source, catalog, implementations).walk(source.schema.tree, source.data, ())
    return [source.problem(f.path, f.wrong, f.right, f.of) for f in found]


# -- what jsonschema found ---------------------------------------------------------------------------------------------


def _explain(error: ValidationError, source: Source) -> Iterator[Finding]:
    path = tuple(error.absolute_path)
    rule, limit, value = error.validator, error.validator_value, error.instance
    name = _called(path)
    meaning = str(error.schema.get("description", "")).rstrip(".")
    if "propertyNames" in error.absolute_schema_path:
        kind = getattr(source, "kind", "entry")
        wrong = f"a {kind.replace('_', ' ')} has no relation {show(value)}"
        yield Finding((*path, value), wrong, suggestion(value, limit, f"it can have {listed(limit)}"), "key")
    elif rule == "additionalProperties":
        for key in value:
            if key not in error.schema.get("properties", {}):
                yield Finding((*path, key), f"unknown key {show(key)}", _right_key(key, path, source, error), "key")
    elif rule == "required":
        missing = re.match(r"'(.+?)' is a required", error.message).group(1)
        about = error.schema["properties"][missing].get("description", "")
        yield Finding(path, f"{name} lacks {show(missing)}", f"add it: {about}".rstrip(".: "), "key")
    elif rule == "anyOf":
        options = [option["required"][0] for option in limit]
        yield Finding(path, f"{name} has none of {listed(options)}", "add at least one", "key")
    elif rule == "type":
        yield Finding(path, *_wrong_type(name, path, limit, value, source))
    elif rule == "enum" and not isinstance(value, str):
        return  # its type is told already
    elif rule == "enum":
        yield Finding(path, f"{name} is {show(value)}", suggestion(value, limit, f"it can be {listed(limit)}"))
    elif rule == "const":
        yield Finding(path, f"{name} is {show(value)}", f"it is always {limit}")
    elif rule in ("pattern", "format"):
        yield Finding(path, f"{name} is {show(value)}", f"write it as: {meaning}")
    elif rule == "uniqueItems":
        number = next(n for n, item in enumerate(value) if item in value[:n])
        yield Finding((*path, number), f"{name} has {show(value[number])} twice", "keep one")
    elif rule in ("minLength", "maxLength"):
        amount = "at least" if rule == "minLength" else "at most"
        yield Finding(path, f"{name} has {len(value)} characters", f"write {amount} {limit}")
    elif rule in ("minItems", "maxItems", "minProperties"):
        amount = "at most" if rule == "maxItems" else "at least"
        right = "leave the key out" if not value and limit <= 1 else f"give {amount} {limit}: {meaning}"
        yield Finding(path, f"{name} has {len(value)} items" if value else f"{name} is empty", right)
    elif rule in ("minimum", "exclusiveMinimum", "maximum"):
        bound = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}[rule]
        yield Finding(path, f"{name} is {show(value)}", f"it is {bound} {limit}")
    else:
        yield Finding(path, f"{name} is {show(value)}", meaning or f"see {rule} in the schema")


def _called(path: Path_) -> str:
    """What a message calls the value at `path`."""
    return show(dotted(path), 80)[1:-1] if path else "the file"


def _right_key(key: str, path: Path_, source: Source, error: ValidationError) -> str:
    """What to write instead of an unknown key: a like one here, the same one elsewhere, or the list."""
    here = list(error.schema.get("properties", {}))
    near = nearest(key, here)
    if near:
        return f"did you mean {' or '.join(near)}?"
    elsewhere = [name for name in source.schema.fields if plain(name.split(".")[-1]) == plain(key)]
    if elsewhere:
        return f"did you mean {min(elsewhere, key=lambda name: name.count('.'))}?"
    return f"{_called(path)} can have {listed(here, 30)}"


def _wrong_type(name: str, path: Path_, kind: str, value: object, source: Source) -> tuple[str, str]:
    wanted = _KINDS.get(kind, kind)
    raw = source.document.raw.get(path)
    if value is None:
        return f"{name} is empty", f"give {wanted} or leave the key out"
    if kind == "string" and raw is not None:
        sort = "true or false" if isinstance(value, bool) else "a date" if not isinstance(value, (int, float)) else None
        return f"{name}: YAML reads {show(raw)} as {sort or 'a number'}", f'put it in quotes: "{show(raw)[1:-1]}"'
    if kind in ("integer", "number") and isinstance(value, str):
        digits = re.sub(r"[,_ ']", "", value)
        if re.fullmatch(r"-?\d+(\.\d+)?", digits):
            return f"{name} is the text {show(value)}", f"write the number without separators and quotes: {digits}"
    return f"{name} is {_sort(value)}", f"write {wanted}"


def _sort(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else show(value)


# -- what the schema's x- words ask ------------------------------------------------------------------------------------


class _Annotations:
    """Executes the annotations of a schema over one file's data."""

    def __init__(self, source: Source, catalog: Catalog, implementations: set[str] | None):
        self.source, self.catalog, self.implementations = source, catalog, implementations
        sources = source.get("sources", list, [])
        self.keys = [s["key"] for s in sources if isinstance(s, dict) and isinstance(s.get("key"), str)]

    def walk(self, node: dict, value: object, path: Path_) -> Iterator[Finding]:
        if isinstance(value, dict):
            if "x-keys" in node:
                for key in value:
                    yield from self.field((*path, key), key, "present", "key")
            allowed = node.get("propertyNames", {}).get("enum", value)
            for key, child in value.items():
                if key not in allowed:
                    continue  # jsonschema has said so
                yield from self.walk(node.get("properties", {}).get(key, {}), child, (*path, key))
        elif isinstance(value, list):
            for number, child in enumerate(value):
                yield from self.walk(node.get("items", {}), child, (*path, number))
        elif isinstance(value, str):
            if node.get("format") == "date":
                yield from self.quoted_date(path, value)
            elif not re.search(node.get("pattern", ""), value):
                return  # jsonschema has said so
            elif "x-vocabulary" in node:
                yield from self.word(path, value, node["x-vocabulary"])
            elif "x-target" in node:
                yield from self.target(path, value, node["x-target"])
            elif "x-refimpl" in node:
                yield from self.implementation(path, value)
            elif "x-source" in node:
                yield from self.source_key(path, value)
            elif "x-field" in node:
                yield from self.field(path, value, node["x-field"])

    def quoted_date(self, path: Path_, value: str) -> Iterator[Finding]:
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            return  # jsonschema has said so
        yield Finding(path, f"{_called(path)} is a text", f"write the date without quotes: {show(value)[1:-1]}")

    def word(self, path: Path_, value: str, list_name: str) -> Iterator[Finding]:
        words = self.catalog.vocabulary.get(list_name, {})
        if value not in words:
            labels = {about["label"]: word for word, about in words.items()}
            near = list(dict.fromkeys(labels.get(found, found) for found in nearest(value, [*words, *labels])))
            right = f"did you mean {' or '.join(near)}?" if near else f"words are {listed(words, 20)}"
            yield Finding(path, f"{show(value)} is not in the list '{list_name}' of vocabulary.yml", right)

    def target(self, path: Path_, value: str, kind: str) -> Iterator[Finding]:
        id_ = value
        if kind == "self":
            kind = self.source.kind
        elif kind == "any":
            kind, _, id_ = value.partition("/")
            if kind not in self.catalog.schemas:
                right = suggestion(kind, self.catalog.schemas, "write kind/id, such as framework/simclr")
                yield Finding(path, f"{show(value)}: there is no kind {show(kind)}", right)
                return
        if (kind, id_) in self.catalog.entries:
            if isinstance(self.source, Entry) and (kind, id_) == (self.source.kind, self.source.id):
                yield Finding(path, f"{_called(path)} names this entry itself", "remove it")
            return
        if (kind, id_) in self.catalog.unreadable:
            return  # told at that file
        called = kind.replace("_", " ")
        other = [k for k, i in self.catalog.entries if i == id_]
        if other:
            yield Finding(path, f"{show(id_)} is a {listed(other)}, not a {called}", f"name a {called} here")
        else:
            known = _names(self.catalog, kind)
            near = list(dict.fromkeys(known[name] for name in nearest(id_, known)))
            right = f"did you mean {' or '.join(near)}?" if near else "add that entry, or remove this"
            yield Finding(path, f"there is no {called} {show(id_)}", right)

    def implementation(self, path: Path_, value: str) -> Iterator[Finding]:
        if self.implementations is not None and value not in self.implementations:
            right = suggestion(value, self.implementations, "`python -m refimpl list` shows all")
            yield Finding(path, f"there is no implementation {show(value)}", right)

    def source_key(self, path: Path_, value: str) -> Iterator[Finding]:
        if value not in self.keys:
            right = suggestion(value, self.keys, f"keys are {listed(self.keys)}" if self.keys else "add that source")
            yield Finding(path, f"no source has the key {show(value)}", right)

    def field(self, path: Path_, name: str, state: str, of: str = "value") -> Iterator[Finding]:
        fields = self.source.schema.fields
        if name not in fields:
            same_end = [field for field in fields if field.split(".")[-1] == name]
            right = f"did you mean {listed(same_end, 2)}?" if same_end else suggestion(name, fields, "name a field")
            yield Finding(path, f"{show(name)} is not a field", right, of)
        elif state == "present" and not _has(self.source.data, name.split(".")):
            yield Finding(path, f"this entry has no {name}", "add that field, or remove this", of)
        elif state == "absent" and _has(self.source.data, name.split(".")):
            yield Finding(path, f"this entry does say {name}", "remove one of the two", of)


def _has(value: object, names: list[str]) -> bool:
    """Whether a dotted field is there; of a list, whether any item has it."""
    if not names:
        return True
    if isinstance(value, list):
        return any(_has(item, names) for item in value)
    return isinstance(value, dict) and names[0] in value and _has(value[names[0]], names[1:])


def _names(catalog: Catalog, kind: str) -> dict[str, str]:
    """Every id, name and alias of a kind -> id."""
    found: dict[str, str] = {}
    for entry in catalog.kind(kind):
        aliases = [a for a in entry.get("aliases", list, []) if isinstance(a, str)]
        for name in (entry.id, entry.name, *aliases):
            found.setdefault(name, entry.id)
    return found
