"""The interface for programs: payloads follow their schemas, tables hold the same, promises are kept."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from jsonschema import Draft202012Validator

from scripts.catalog import FOLDERS, load_catalog
from scripts.catalog.schema import CatalogError
from scripts.site.api import ROOT, contract, shapes, tables
from scripts.site.build import SiteError, assemble


@pytest.fixture(scope="module")
def output():
    return assemble()


@pytest.fixture(scope="module")
def files(output):
    return {path: output.content(path) for path in output.paths() if path.startswith(f"{ROOT}/")}


@pytest.fixture(scope="module")
def schemas():
    return shapes.schemas(load_catalog())


def schema_of(path: str) -> str:
    """Name of the schema of a file's address."""
    rest = path.removeprefix(f"{ROOT}/").removesuffix(".json")
    kind, _, name = rest.partition("/")
    return f"entry.{kind}" if name else "kind" if kind in FOLDERS else kind


def test_every_payload_follows_its_schema(files, schemas):
    checkers = {name: Draft202012Validator(schema) for name, schema in schemas.items()}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    seen, wrong = set(), []
    for path, content in files.items():
        folder = path.removeprefix(f"{ROOT}/").partition("/")[0]
        if not path.endswith(".json") or folder in ("schema", "records", "benchmarks", "openapi.json"):
            continue
        name = schema_of(path)
        seen.add(name)
        wrong += [f"{path}: {e.json_path}: {e.message[:100]}" for e in checkers[name].iter_errors(json.loads(content))]
    assert not wrong, "\n".join(wrong[:20])
    assert seen == set(schemas)


def test_openapi_names_every_address_and_no_other(files, schemas):
    described = json.loads(files[f"{ROOT}/openapi.json"])
    assert described["openapi"].startswith("3.1")
    assert set(described["components"]["schemas"]) == set(schemas)
    patterns = [re.sub(r"\\{(\w+)\\}", r"[^/]+", re.escape(p.lstrip("/"))) for p in described["paths"]]
    paths = [p for p in files if "/schema/" not in p and "/benchmarks/" not in p and not p.endswith("openapi.json")]
    assert [p for p in paths if not any(re.fullmatch(x, p) for x in patterns)] == []
    assert [x for x in patterns if not any(re.fullmatch(x, p) for p in paths)] == []
    named = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(described))
    assert set(named) == set(schemas)


def test_tables_hold_what_the_payloads_hold(files):
    index = json.loads(files[f"{ROOT}/index.json"])["entries"]
    rows = list(csv.DictReader(io.StringIO(files[f"{ROOT}/entries.csv"].decode())))
    assert [(r["kind"], r["id"], r["name"]) for r in rows] == [(e["kind"], e["id"], e["name"]) for e in index]
    scores = json.loads(files[f"{ROOT}/results.json"])
    rows = list(csv.DictReader(io.StringIO(files[f"{ROOT}/results.csv"].decode())))
    assert [r["origin"] for r in rows].count("reported") == len(scores["reported"]) > 100
    assert [r["origin"] for r in rows].count("reproduced") == len(scores["reproduced"]) > 10
    assert [float(r["value"]) for r in rows] == [s["value"] for s in (*scores["reported"], *scores["reproduced"])]


def test_no_cell_is_taken_for_a_formula():
    assert [tables.cell(v) for v in ("=1+1", "-2", "+a", "@b", -2.5, None, ["a", "b"])] == [
        "'=1+1", "'-2", "'+a", "'@b", -2.5, "", "a; b",
    ]  # fmt: skip


def test_every_paper_is_in_the_bibliography_under_a_key_of_its_own(files):
    text = files[f"{ROOT}/catalog.bib"].decode()
    keys = re.findall(r"^@\w+\{([^,]+),$", text, re.MULTILINE)
    assert len(keys) == len(set(keys)) > 300
    papers = [entry.data["paper"] for entry in load_catalog().entries.values() if entry.data.get("paper")]
    assert [p["arxiv"] for p in papers if p.get("arxiv") and f"eprint = {{{p['arxiv']}}}" not in text] == []


def test_llms_txt_names_files_that_exist(output):
    named = re.findall(r"\]\(([^)]+)\)", output.content("llms.txt").decode())
    assert len(named) > 15
    assert set(named) <= set(output.addresses())


def test_the_last_release_is_kept(output, schemas):
    released = json.loads(contract.PROMISE.read_text(encoding="utf-8"))
    assert contract.broken(released, contract.promise(output.addresses(), schemas)) == []


BEFORE = {"properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}}, "required": ["a"]}


@pytest.mark.parametrize(
    "after, said",
    [
        ({**BEFORE, "properties": {**BEFORE["properties"], "c": {"type": "number"}}}, None),
        ({**BEFORE, "required": ["a", "b"]}, None),
        ({"properties": {"b": BEFORE["properties"]["b"]}, "required": []}, "a: is gone"),
        ({**BEFORE, "required": []}, "may be missing now"),
        ({**BEFORE, "properties": {**BEFORE["properties"], "a": {"type": "integer"}}}, "was string, is integer"),
        ({**BEFORE, "properties": {**BEFORE["properties"], "b": {"type": "string"}}}, "was integer/null, is string"),
    ],
)
def test_a_version_may_only_add(after, said):
    broken = contract.broken(contract.promise(["x"], {"s": BEFORE}), contract.promise(["x", "y"], {"s": after}))
    assert [said in line for line in broken] == ([True] if said else [])


def test_an_address_that_goes_is_told():
    assert contract.broken(contract.promise(["x/"], {}), contract.promise([], {})) == [
        "x/: gone; name where it went in catalog/moved.csv"
    ]


METHOD = {"family": "contrastive", "modality": ["rgb"], "facts": {"predicts": "it"}}


def test_a_renamed_entry_keeps_its_old_addresses(repository):
    repository.entry("frameworks", "new", **METHOD)
    (repository.root / "catalog" / "moved.csv").write_text("kind,old,new\nframework,old,new\n")
    folder = repository.generate()
    assert 'content="0; url=../new/"' in (folder / "frameworks/old/index.html").read_text()
    answer = json.loads((folder / ROOT / "framework/old.json").read_text())
    assert (answer["moved_to"], answer["entry"]["id"]) == ("framework/new", "new")


@pytest.mark.parametrize(
    "line, said",
    [("framework,new,other", "framework/new is an entry"), ("framework,old,other", "there is no framework/other")],
)
def test_a_move_that_leads_nowhere_is_told(repository, line, said):
    repository.entry("frameworks", "new", **METHOD)
    (repository.root / "catalog" / "moved.csv").write_text(f"kind,old,new\n{line}\n")
    with pytest.raises(SiteError, match=rf"moved\.csv:2:1: {said}"):
        repository.generate()


def test_a_table_of_moves_without_its_columns_is_told(repository):
    (repository.root / "catalog" / "moved.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CatalogError, match="its columns are kind, old, new"):
        load_catalog(repository.root / "catalog")
