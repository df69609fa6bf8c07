"""The catalog for programs: static files under api/v1, described by JSON Schemas and OpenAPI, which only ever gain.

payloads    what the JSON files hold
shapes      their schemas, and the OpenAPI description made from them
tables      the same as CSV and BibTeX
guide       llms.txt: where a program that reads text finds what
contract    what a release promised, and whether this version keeps it
"""

from __future__ import annotations

from scripts.site.api import guide, payloads, shapes, tables
from scripts.site.model import Site
from scripts.site.output import Output

ROOT = payloads.ROOT


def write(site: Site, output: Output) -> None:
    """Adds every file of the interface: all under api/v1 but llms.txt."""
    for path, payload in payloads.all_of(site).items():
        output.add_json(path, payload)
    for name, schema in shapes.schemas(site.catalog).items():
        output.add_json(f"{ROOT}/schema/{name}.json", schema)
    output.add_json(f"{ROOT}/openapi.json", shapes.openapi(site.catalog))
    output.add(f"{ROOT}/entries.csv", tables.entries(site))
    output.add(f"{ROOT}/results.csv", tables.results(site))
    output.add(f"{ROOT}/catalog.bib", tables.bibliography(site))
    output.add("llms.txt", guide.llms(site))
