"""The catalog as Python sees it: read-only, no torch, nothing executed from the files.

    catalog = load_catalog()                      # or load_catalog("path/to/catalog")
    catalog.entries["framework", "simclr"]        # an Entry, by kind and id
    catalog.kind("dataset")                       # all data sets, sorted by id
    catalog.find("framework/simclr")              # the same entry by its link, or None
    catalog.vocabulary["task"]["unmixing"]        # {"label": ..., "description": ...}
    catalog.schemas["dataset"].fields             # {"facts.samples": what it means, ...}
    catalog.related(entry)                        # {"uses_backbone": [Entry, ...]}, what the entry names
    catalog.inverse_relations(entry)              # the same words, for entries that name this one
    catalog.problems                              # files that could not be read
    entry.kind, entry.id, entry.name, entry.path  # path is the file
    entry.data["paper"]["year"]                   # what the file says; dates are datetime.date
    entry.get("paper.year")                       # the same, or None when absent
    entry.position("paper.year")                  # (line, column), from 1
    as_json(entry.data)                           # the same with dates as ISO texts
    unsourced_fields(entry)                       # [] when the entry is sourced (rung 1 of the ladder)
    load_records()                                # run and verification records: .kind, .method, .path, .data

Whether the files follow the schema and the rules is `python -m scripts.validate`.
"""

from scripts.catalog.model import ROOT, Catalog, Entry, Record, load_catalog, load_records
from scripts.catalog.problems import Problem
from scripts.catalog.schema import FOLDERS, CatalogError, Schema, Vocabulary, as_json
from scripts.catalog.sourcing import unsourced_fields

__all__ = [
    "FOLDERS",
    "ROOT",
    "Catalog",
    "CatalogError",
    "Entry",
    "Problem",
    "Record",
    "Schema",
    "Vocabulary",
    "as_json",
    "load_catalog",
    "load_records",
    "unsourced_fields",
]
