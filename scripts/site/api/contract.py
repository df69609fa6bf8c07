"""What a release promised: addresses that stay, and fields that stay as they are. Later versions may only add.

python -m scripts.site.api.contract            what of the last release's promise is broken (exit status 1)
python -m scripts.site.api.contract --release  this version's promise becomes the one to keep
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.site.api.payloads import ROOT

PROMISE = Path(__file__).with_name("released.json")


def promise(addresses: Iterable[str], schemas: dict[str, dict]) -> dict:
    """addresses: of all pages and files; schemas: of the JSON files.

    Assets are not promised, nor the records of runs and the boards that they make, which newer ones replace.
    """
    fleeting = ("assets/", f"{ROOT}/records/", "records/", "leaderboards/")
    kept = sorted(a for a in addresses if a == "leaderboards/" or not a.startswith(fleeting))
    return {"addresses": kept, "fields": {name: dict(_fields(s)) for name, s in schemas.items()}}


def _fields(schema: dict, path: str = "") -> Iterator[tuple[str, list]]:
    """Path of each field -> [its types, whether it is always there]."""
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        types = child.get("type", [])
        yield here, [sorted([types] if isinstance(types, str) else types), name in required]
        yield from _fields(child, here)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from _fields(schema[key], path + mark)


def broken(released: dict, now: dict) -> list[str]:
    """What was promised and is no longer so, one line each."""
    gone = sorted(set(released["addresses"]) - set(now["addresses"]))
    found = [f"{address}: gone; name where it went in catalog/moved.csv" for address in gone]
    for name, fields in released["fields"].items():
        for path, (types, always) in fields.items():
            place, new = f"{name}.json: {path}", now["fields"].get(name, {}).get(path)
            if new is None:
                found.append(f"{place}: is gone")
            elif set(new[0]) - set(types) if always else not set(types) & set(new[0]):
                found.append(f"{place}: was {'/'.join(types)}, is {'/'.join(new[0])}")
            elif always and not new[1]:
                found.append(f"{place}: was always there and may be missing now")
    return found


def current() -> dict:
    """The promise that the site keeps as it would be generated now."""
    from scripts.site.api import shapes
    from scripts.site.build import assemble, load_catalog

    return promise(assemble().addresses(), shapes.schemas(load_catalog()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="make this version's promise the one to keep")
    release = parser.parse_args(arguments).release
    now = current()
    problems = broken(json.loads(PROMISE.read_text(encoding="utf-8")), now) if PROMISE.exists() else []
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    if problems:
        return 1
    if release:
        PROMISE.write_text(json.dumps(now, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(now['addresses'])} addresses" + (" are promised now" if release else ", every promised one is there"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
