"""Addresses within the site, always relative, so that it works under any prefix."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath

from scripts import catalog

# Title of each kind's listing, in the order in which the site shows them.
TITLES = {
    "framework": "Frameworks",
    "pretext_task": "Pretext tasks",
    "backbone": "Backbones",
    "technique": "Techniques",
    "dataset": "Datasets",
    "survey": "Surveys",
    "challenge": "Challenges",
    "term": "Glossary",
}
FOLDERS = {kind: catalog.FOLDERS[kind] for kind in TITLES}
SINGULAR = {kind: kind.replace("_", " ") for kind in TITLES}


def entry_page(kind: str, entry_id: str) -> str:
    """Address of an entry's page, from the site's root, with a slash at its end."""
    return f"{FOLDERS[kind]}/{entry_id}/"


def implementation_page(name: str) -> str:
    return f"implementations/{name}/"


def run_page(file: str) -> str:
    """Address of a run record's page. file: name of the record in catalog/results."""
    return f"records/{PurePosixPath(file).stem}/"


def relative(here: str, there: str) -> str:
    """Address `there` as written on the page `here`; both from the root, pages ending in a slash ("" is home)."""
    fragment = ""
    if "#" in there:
        there, _, fragment = there.partition("#")
        fragment = "#" + fragment
    path = posixpath.relpath("/" + there, "/" + here) if there != here else "."
    slash = "/" if (there == "" or there.endswith("/")) and not path.endswith("/") else ""
    return path + slash + fragment


def source_file(page: str) -> str:
    """The Markdown file of a page: `frameworks/simclr/` -> `frameworks/simclr.md`."""
    path = PurePosixPath(page)
    return "index.md" if page == "" else f"{path}.md"
