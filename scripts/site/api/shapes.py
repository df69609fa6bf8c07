"""Schemas of the JSON files, and their OpenAPI description. The tests hold every payload against its schema."""

from __future__ import annotations

from scripts.catalog import Catalog
from scripts.site.api.payloads import ROOT, VERSION
from scripts.site.ladder import RUNGS, STATES
from scripts.site.links import FOLDERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def text(description: str, **more: object) -> dict:
    return {"type": "string", "description": description, **more}


def maybe(schema: dict) -> dict:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def array(items: dict, description: str) -> dict:
    return {"type": "array", "items": items, "description": description}


def record(description: str, /, **fields: dict) -> dict:
    """An object that always has all of these fields, and may have more in later versions."""
    return {"type": "object", "description": description, "properties": fields, "required": list(fields)}


KIND = text("Kind of entry.", enum=list(FOLDERS))
ID = text("Identifier, unique within its kind; it stays.")
LINK = text("Another entry, as kind/id.")
PAGE = text("Address of the page, from the root of the site.")
NUMBER = {"type": "number"}

RUNG = record(
    "One rung of the verification ladder.",
    name=text("Which.", enum=list(RUNGS)),
    state=text("reached; expired: the code has changed since; open: not reached.", enum=list(STATES)),
    detail=text("What proves it, or what is missing."),
    date=text("When, ISO 8601, or empty."),
    record=text("File under records/ that proves it, or empty."),
)
SUMMARY = record(
    "An entry in short.",
    kind=KIND,
    id=ID,
    name=text("Name as its authors write it."),
    full_name=maybe(text("What the name stands for.")),
    aliases=array(text("One."), "How people write it otherwise."),
    year=maybe({"type": "integer", "description": "Year of publication."}),
    family=maybe(text("Group within its kind, a word of the vocabulary.")),
    modality=array(text("One."), "Kinds of data, words of the vocabulary."),
    tasks=array(text("One."), "Tasks, words of the vocabulary."),
    identity=text("confirmed, generic or unidentified."),
    page=PAGE,
    json=text("Address of the whole entry as JSON, from the root of the site."),
    implementation=maybe(text("Name of the implementation that runs for it.")),
    fidelity=maybe(text("own, simplified or closest.")),
    reached=array(text("Name.", enum=list(RUNGS)), "Rungs of the ladder that are reached."),
)
IMPLEMENTATION = record(
    "A runnable implementation.",
    name=text("Name on the command line."),
    family=text("Folder under refimpl/methods."),
    title=text("First line of its documentation."),
    needs=array(text("One."), "What a sample must have."),
    backbone=text("Default network."),
    protocol=text("Evaluation that judges it."),
    lines={"type": "integer", "description": "Lines of its file."},
    command=text("The command that the tests execute."),
    page=PAGE,
    entries=array(record("Which.", kind=KIND, id=ID), "Entries that it runs for."),
    ladder=array(RUNG, "Rungs 2 to 5."),
)
REPORTED = record(
    "A score that authors report.",
    entry=LINK,
    metric=text("What is measured, as printed."),
    value={**NUMBER, "description": "The printed number."},
    unit=text('%, rad, dB, or "1".'),
    dataset=text("As the paper writes it."),
    protocol=text("How it was judged, a word of the vocabulary."),
    locator=text("Where the number stands."),
    source=text("Key of the entry's source."),
)
REPRODUCED = record(
    "A score of this project's own runs.",
    implementation=text("Its name."),
    metric=text("What was measured."),
    value={**NUMBER, "description": "The score."},
    unit=text("%, rad, or 1."),
    lower=maybe({**NUMBER, "description": "Lower end of the 95 % interval."}),
    upper=maybe({**NUMBER, "description": "Upper end of the 95 % interval."}),
    features=text("Whose features: trained, or a baseline by name."),
    data=text("Data set."),
    synthetic={"type": "boolean", "description": "Whether the data are simulated."},
    protocol=text("Evaluation."),
    seed={"type": "integer", "description": "Of the run."},
    device=text("What it ran on."),
    commit=maybe(text("State of the code.")),
    record=text("Address of the record, from the root of the site."),
)
RELATION = record("A typed link.", **{"from": LINK, "relation": text("Its type."), "to": LINK})
WORD = record("A word of a closed list.", label=text("As people read it."), description=text("What it means."))


def _file(title: str, **fields: dict) -> dict:
    version = {"const": VERSION, "description": "Raised only by a change that takes something away."}
    return {"$schema": DIALECT, "title": title, **record(title, schema_version=version, **fields)}


def _table(values: dict, description: str) -> dict:
    return {"type": "object", "additionalProperties": values, "description": description}


def schemas(catalog: Catalog) -> dict[str, dict]:
    """Name -> JSON Schema of each sort of file; `entry.<kind>` are those of single entries."""
    found = {
        "index": _file(
            "All entries in short",
            counts=_table({"type": "integer"}, "Entries per kind."),
            entries=array(SUMMARY, "All, kind by kind."),
        ),
        "kind": _file("The entries of one kind in short", kind=KIND, entries=array(SUMMARY, "All of this kind.")),
        "relations": _file("All links between entries", relations=array(RELATION, "All, as the entries declare them.")),
        "results": _file(
            "All scores; those of authors and those of this project never mix",
            reported=array(REPORTED, "Read in papers."),
            reproduced=array(REPRODUCED, "Of run records."),
        ),
        "implementations": _file("All implementations", implementations=array(IMPLEMENTATION, "By name.")),
        "vocabulary": _file(
            "The closed lists of words", vocabulary=_table(_table(WORD, "Its words."), "List -> word -> meaning.")
        ),
    }
    computed = record(
        "What was worked out from the entry, the other entries and the records.",
        page=PAGE,
        command=maybe(text("Command of its implementation.")),
        ladder=array(RUNG, "All five rungs."),
        inverse_relations=_table(array(LINK, "Entries that name this one."), "Relation -> entries."),
        unsourced=array(text("Name."), "Fields that no source supports."),
    )
    for kind in FOLDERS:
        entry = {k: v for k, v in catalog.schemas[kind].tree.items() if not k.startswith("$")}
        found[f"entry.{kind}"] = _file(f"One {kind.replace('_', ' ')}", kind=KIND, entry=entry, computed=computed)
    return found


def openapi(catalog: Catalog) -> dict:
    """OpenAPI 3.1 description of all addresses."""
    kinds = {"name": "kind", "in": "path", "required": True, "schema": KIND, "description": KIND["description"]}
    identifier = {"name": "id", "in": "path", "required": True, "schema": ID, "description": ID["description"]}
    name = {"name": "file", "in": "path", "required": True, "schema": text("File."), "description": "Its file name."}

    def get(summary: str, content: dict, *parameters: dict) -> dict:
        answers = {"200": {"description": summary, "content": content}, "404": {"description": "There is none."}}
        return {"get": {"summary": summary, "parameters": list(parameters), "responses": answers}}

    def json_of(*names: str) -> dict:
        choices = [{"$ref": f"#/components/schemas/{n}"} for n in names]
        return {"application/json": {"schema": choices[0] if len(choices) == 1 else {"oneOf": choices}}}

    found = schemas(catalog)
    paths = {
        f"/{ROOT}/{n}.json": get(found[n]["title"], json_of(n))
        for n in ("index", "relations", "results", "implementations", "vocabulary")
    }
    paths[f"/{ROOT}/{{kind}}.json"] = get(found["kind"]["title"], json_of("kind"), kinds)
    whole = [f"entry.{kind}" for kind in FOLDERS]
    paths[f"/{ROOT}/{{kind}}/{{id}}.json"] = get("One entry in full", json_of(*whole), kinds, identifier)
    anything = {"application/json": {"schema": {"type": "object"}}}
    paths[f"/{ROOT}/records/{{file}}"] = get("A run or verification record as it was written", anything, name)
    for file, sort, title in (
        ("entries.csv", "text/csv", "All entries as a table"),
        ("results.csv", "text/csv", "All reported and reproduced scores as a table"),
        ("catalog.bib", "application/x-bibtex", "The papers of all entries"),
        ("changes.csv", "text/csv", "What was added, changed, reproduced or broke, by date"),
    ):
        paths[f"/{ROOT}/{file}"] = get(title, {sort: {"schema": {"type": "string"}}})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SSL for Earth",
            "version": str(VERSION),
            "description": "Static files. Addresses and fields are only ever added within a version.",
            "license": {"name": "CC BY 4.0", "identifier": "CC-BY-4.0"},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": "../.."}],
        "paths": paths,
        "components": {"schemas": found},
    }
