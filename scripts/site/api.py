"""The catalog as JSON: what was declared, and beside it, under `computed`, what was worked out."""

from __future__ import annotations

from dataclasses import asdict

from scripts.catalog import Entry
from scripts.site.links import entry_page, implementation_page
from scripts.site.model import Site
from scripts.site.output import Output

VERSION = 1


def _summary(site: Site, entry: Entry) -> dict:
    return {
        "kind": entry.kind,
        "id": entry.id,
        "name": entry.name,
        "aliases": entry.data.get("aliases") or [],
        "year": entry.data.get("year"),
        "family": entry.data.get("family"),
        "page": entry_page(entry.kind, entry.id),
        "json": f"api/v1/{entry.kind}/{entry.id}.json",
        "reached": [r.name for r in site.ladder(entry) if r.state == "reached"],
    }


def _entry(site: Site, entry: Entry) -> dict:
    implementation = site.implementation(entry)
    return {
        "schema_version": VERSION,
        "kind": entry.kind,
        "entry": dict(entry.data),
        "computed": {
            "page": entry_page(entry.kind, entry.id),
            "command": implementation.command if implementation else None,
            "ladder": [asdict(r) for r in site.ladder(entry)],
            "inverse_relations": {
                relation: [f"{e.kind}/{e.id}" for e in others]
                for relation, others in site.catalog.inverse_relations(entry).items()
            },
            "unsourced": site.unsourced(entry),
        },
    }


def write(site: Site, output: Output) -> None:
    """Adds index.json, one file per entry, implementations.json and the records themselves, all under api/v1."""
    index = {"schema_version": VERSION, "entries": [_summary(site, e) for e in site.all]}
    output.add_json("api/v1/index.json", index)
    for entry in site.all:
        output.add_json(f"api/v1/{entry.kind}/{entry.id}.json", _entry(site, entry))
    implementations = [
        {
            "name": i.name,
            "family": i.family,
            "title": i.title,
            "needs": list(i.needs),
            "backbone": i.backbone,
            "protocol": i.protocol,
            "lines": i.lines,
            "command": i.command,
            "page": implementation_page(i.name),
            "entries": [{"kind": e.kind, "id": e.id} for e in site.served_by(i.name)],
            "ladder": [asdict(r) for r in site.method_ladder(i.name)],
        }
        for i in site.implementations.values()
    ]
    output.add_json("api/v1/implementations.json", {"schema_version": VERSION, "implementations": implementations})
    for record in (*site.runs, *site.verifications):
        if record.get("file"):
            output.add_json(f"api/v1/records/{record['file']}", {k: v for k, v in record.items() if k != "file"})
