"""What the JSON files hold: what was declared, and beside it, under `computed`, what was worked out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from scripts.catalog import Entry, as_json
from scripts.site.links import FOLDERS, entry_page, implementation_page
from scripts.site.model import Site

VERSION = 1
ROOT = f"api/v{VERSION}"


def all_of(site: Site) -> dict[str, dict]:
    """Address -> payload of every JSON file but schemas."""
    summaries = {(entry.kind, entry.id): _summary(site, entry) for entry in site.all}
    files = {
        f"{ROOT}/index.json": {"counts": site.counts(), "entries": list(summaries.values())},
        f"{ROOT}/relations.json": {"relations": list(_relations(site))},
        f"{ROOT}/results.json": {"reported": list(reported(site)), "reproduced": list(reproduced(site))},
        f"{ROOT}/implementations.json": {"implementations": _implementations(site)},
        f"{ROOT}/vocabulary.json": {"vocabulary": site.catalog.vocabulary},
    }
    for kind in FOLDERS:
        entries = [summary for (of, _), summary in summaries.items() if of == kind]
        files[f"{ROOT}/{kind}.json"] = {"kind": kind, "entries": entries}
    for entry in site.all:
        files[f"{ROOT}/{entry.kind}/{entry.id}.json"] = _entry(site, entry)
    for (kind, old), new in site.catalog.moved.items():
        files[f"{ROOT}/{kind}/{old}.json"] = {**files[f"{ROOT}/{kind}/{new}.json"], "moved_to": f"{kind}/{new}"}
    files = {path: {"schema_version": VERSION, **payload} for path, payload in files.items()}
    for record in (*site.runs, *site.verifications):  # as they were written; they have a version of their own
        if record.get("file"):
            files[f"{ROOT}/records/{record['file']}"] = {k: v for k, v in record.items() if k != "file"}
    return files


def _summary(site: Site, entry: Entry) -> dict:
    return {
        "kind": entry.kind,
        "id": entry.id,
        "name": entry.name,
        "full_name": entry.data.get("full_name"),
        "aliases": entry.data.get("aliases") or [],
        "year": entry.data.get("year"),
        "family": entry.data.get("family"),
        "modality": entry.data.get("modality") or [],
        "tasks": entry.data.get("tasks") or [],
        "identity": entry.data.get("identity"),
        "page": entry_page(entry.kind, entry.id),
        "json": f"{ROOT}/{entry.kind}/{entry.id}.json",
        "implementation": entry.get("refimpl.name"),
        "fidelity": entry.get("refimpl.fidelity"),
        "reached": [r.name for r in site.ladder(entry) if r.state == "reached"],
    }


def _entry(site: Site, entry: Entry) -> dict:
    implementation = site.implementation(entry)
    inverse = site.catalog.inverse_relations(entry)
    return {
        "kind": entry.kind,
        "entry": as_json(dict(entry.data)),
        "computed": {
            "page": entry_page(entry.kind, entry.id),
            "command": implementation.command if implementation else None,
            "ladder": [asdict(r) for r in site.ladder(entry)],
            "inverse_relations": {name: [f"{e.kind}/{e.id}" for e in others] for name, others in inverse.items()},
            "unsourced": site.unsourced(entry),
        },
    }


def _relations(site: Site) -> Iterator[dict]:
    for entry in site.all:
        for relation, others in site.catalog.related(entry).items():
            for other in others:
                yield {"from": f"{entry.kind}/{entry.id}", "relation": relation, "to": f"{other.kind}/{other.id}"}


def reported(site: Site) -> Iterator[dict]:
    """Scores that authors report, one by one, as the entries have them."""
    for entry in site.all:
        for score in entry.get("results", list, []):
            yield {"entry": f"{entry.kind}/{entry.id}", **as_json(score)}


def reproduced(site: Site) -> Iterator[dict]:
    """Scores of this project's run records, one by one."""
    for run in site.runs:
        data: Mapping = run.get("data") or {}
        for score in run.get("scores") or []:
            yield {
                "implementation": run.get("method"),
                "metric": score.get("metric"),
                "value": score.get("value"),
                "unit": score.get("unit"),
                "lower": score.get("lower"),
                "upper": score.get("upper"),
                "features": score.get("features", "trained"),
                "data": data.get("name"),
                "synthetic": bool(data.get("synthetic")),
                "protocol": run.get("protocol"),
                "seed": run.get("seed"),
                "device": run.get("device"),
                "commit": run.get("commit"),
                "record": f"{ROOT}/records/{run['file']}",
            }


def _implementations(site: Site) -> list[dict]:
    return [
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
