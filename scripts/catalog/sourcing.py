"""Rung 1 of the verification ladder: does a source stand behind every number and identifier?"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.catalog.document import Path_
from scripts.catalog.model import Entry, dotted


def leaves(node: dict, value: object, path: Path_ = (), needs: bool = False) -> Iterator[Path_]:
    """Paths of the values that need a source: those under a schema node marked x-needs-source.

    A list of plain values (authors, ground sample distances) is one leaf; prose of ours needs no source.
    """
    if node.get("x-own-words"):
        return
    needs = needs or bool(node.get("x-needs-source"))
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(node.get("properties", {}).get(key, {}), child, (*path, key), needs)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(node.get("items", {}), item, (*path, number), needs)
    elif needs:
        yield path


def covers(supported: str, path: Path_) -> bool:
    """Whether supporting the field `supported` supports the value at `path`: "paper" covers ("paper", "year")."""
    plain = tuple(step for step in path if isinstance(step, str))
    wanted = tuple(supported.split("."))
    return plain[: len(wanted)] == wanted


def unsourced_fields(entry: Entry) -> list[str]:
    """Names of the values that no source supports; the entry is *sourced* exactly when there are none.

    A reported result is supported by the source it names. `year` is supported by what supports `paper.year` when
    the two are equal. A field marked as recalled is never supported.
    """
    sources = [source for source in entry.get("sources", list, []) if isinstance(source, dict)]
    supported = [s for source in sources if isinstance(source.get("supports"), list) for s in source["supports"]]
    supported = [s for s in supported if isinstance(s, str)]
    recalled = entry.get("confidence", dict, {})
    missing = []
    for path in leaves(entry.schema.tree, entry.data):
        also = [path]
        if path == ("year",) and entry.get("year") == entry.get("paper.year"):
            also.append(("paper", "year"))
        if any(covers(str(name), p) for name in recalled for p in also[:1]) or not any(
            covers(name, p) for name in supported for p in also
        ):
            missing.append(dotted(path))
    keys = {str(source.get("key")) for source in sources}
    for number, result in enumerate(entry.get("results", list, [])):
        if not isinstance(result, dict) or str(result.get("source")) not in keys:
            missing.append(dotted(("results", number)))
    return missing
