"""The catalog as other programs read it: values, places, relations in both directions, what is sourced."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator

from scripts.catalog import FOLDERS, ROOT, as_json, load_catalog, load_records, unsourced_fields
from scripts.catalog.problems import nearest, show


def test_values_are_those_of_safe_load(small_catalog):
    catalog = load_catalog(small_catalog)
    assert len(catalog.entries) == 5
    for entry in catalog.entries.values():
        assert entry.data == yaml.safe_load(entry.path.read_text(encoding="utf-8"))
    assert catalog.find("framework/alpha").data["last_verified"] == datetime.date(2026, 1, 2)


def test_json_copy_has_dates_as_texts(small_catalog):
    data = as_json(load_catalog(small_catalog).find("framework/alpha").data)
    assert json.loads(json.dumps(data)) == data
    assert data["sources"][0]["accessed"] == "2026-01-02"


@pytest.mark.parametrize(
    "field, place",
    [
        ("id", (1, 1)),
        ("paper.year", (13, 3)),
        ("aliases[1]", (3, 19)),
        ("sources[1].url", (46, 5)),
        ("relations.uses_backbone[0]", (25, 19)),
        ("paper.url", (9, 1)),  # absent: the paper
        ("full_name", (1, 1)),  # absent: the file
    ],
)
def test_position(small_catalog, field, place):
    assert load_catalog(small_catalog).find("framework/alpha").position(field) == place


def test_get_takes_a_dotted_name_and_a_type(small_catalog):
    entry = load_catalog(small_catalog).find("framework/alpha")
    assert entry.get("paper.authors[0]") == "Given Family"
    assert entry.get("paper.authors[0]", int) is None
    assert entry.get("paper.editor", str, "nobody") == "nobody"
    assert entry.get("name.first") is None


def test_relations_are_seen_from_both_ends(small_catalog):
    catalog = load_catalog(small_catalog)
    alpha, beta = catalog.find("framework/alpha"), catalog.find("framework/beta")
    named = {relation: [e.id for e in entries] for relation, entries in catalog.related(alpha).items()}
    assert named == {"uses_backbone": ["resnet"], "evaluated_on": ["landscapes"], "related_to": ["overview"]}
    assert catalog.inverse_relations(alpha) == {"extends": [beta]}
    for kind, relation in (("backbone/resnet", "uses_backbone"), ("survey/overview", "related_to")):
        assert catalog.inverse_relations(catalog.find(kind)) == {relation: [alpha]}
    assert catalog.inverse_relations(beta) == {}
    assert catalog.implemented_by("known_method") == [alpha]


def test_kinds_are_sorted_and_absent_entries_are_none(small_catalog):
    catalog = load_catalog(small_catalog)
    assert [entry.id for entry in catalog.kind("framework")] == ["alpha", "beta"]
    assert catalog.kind("term") == []
    assert catalog.find("framework/nothing") is None
    assert catalog.find("nonsense") is None


def test_supported_entries_are_sourced(small_catalog):
    entries = load_catalog(small_catalog).entries.values()
    assert [entry.id for entry in entries if unsourced_fields(entry)] == []


PAPER = ["paper.title", "paper.authors", "paper.venue", "paper.year", "paper.arxiv", "paper.doi"]


@pytest.mark.parametrize(
    "old, new, missing",
    [
        ("supports: [code]", "supports: [code.url]", ["code.licence"]),
        ("[paper, facts]", "[facts]", ["year", *PAPER]),
        ("[paper, facts]", "[paper.year, facts]", [field for field in PAPER if field != "paper.year"]),  # covers year
        ("[paper, facts]", "[paper, facts.sensors]", ["facts.predicts"]),
        ("[paper, facts]", "[pap, facts]", ["year", *PAPER]),
        ("source: paper\nsources", "source: nowhere\nsources", ["results[0]"]),
        (
            "unknown: [relations.solves_pretext_task, code.weights]",
            "confidence: {facts.predicts: recalled}",
            ["facts.predicts"],
        ),
    ],
)
def test_what_no_source_supports_is_named(small_catalog, old, new, missing):
    path = small_catalog / "frameworks/alpha.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert unsourced_fields(load_catalog(small_catalog).find("framework/alpha")) == missing


def test_every_schema_explains_every_field():
    catalog = load_catalog()
    for kind in FOLDERS:
        unexplained = [name for name, text in catalog.schemas[kind].fields.items() if not text]
        assert unexplained == [], kind
        assert catalog.schemas[kind].order[:2] == ["id", "name"]


def test_schemas_are_json_schemas():
    for path in (ROOT / "schema").glob("*.json"):
        Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_schemas_refuse_unknown_keys_everywhere():
    catalog = load_catalog()

    def objects(node):
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for child in node.values():
                yield from objects(child)

    for name, schema in catalog.schemas.items():
        open_ended = [node["description"] for node in objects(schema.tree) if "additionalProperties" not in node]
        assert open_ended == (["Every setting of the run, free in form."] if name == "run" else [])


def test_every_word_list_a_schema_names_exists():
    catalog = load_catalog()

    def lists(node):
        if isinstance(node, dict):
            if "x-vocabulary" in node:
                yield node["x-vocabulary"]
            for child in node.values():
                yield from lists(child)

    named = {name for schema in catalog.schemas.values() for name in lists(schema.tree)}
    assert named == set(catalog.vocabulary)


def test_records_are_read(small_catalog):
    record = {"record": "run", "method": "known_method"}
    (small_catalog / "results/known_method-synthetic-a.json").write_text(json.dumps(record), encoding="utf-8")
    records = load_records(small_catalog)
    assert [(r.kind, r.method, r.data) for r in records] == [("run", "known_method", record)]


def test_importing_the_catalog_does_not_import_torch():
    code = "import sys; import scripts.validate, scripts.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize(
    "word, known, expected",
    [
        ("Scale-MAE", ["scale_mae", "mae", "simclr"], ["scale_mae"]),
        ("simlcr", ["simclr", "simsiam"], ["simclr"]),
        ("resnet50", ["resnet", "vit"], ["resnet"]),
        ("xyz", ["simclr"], []),
        ("", ["simclr"], []),
    ],
)
def test_nearest(word, known, expected):
    assert nearest(word, known) == expected


def test_quoted_values_are_short_and_printable():
    assert show("a\x1b[31m\u202e\nb") == "'a\\x1b[31m\\u202e\\nb'"
    assert len(show("x" * 1000)) == 62
