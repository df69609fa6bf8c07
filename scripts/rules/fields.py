"""Rules within one entry."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from itertools import pairwise

from scripts.catalog import Entry
from scripts.catalog.document import Path_
from scripts.catalog.model import dotted
from scripts.catalog.problems import show
from scripts.rules.base import Context, Findings, rule

# -- names and order ---------------------------------------------------------------------------------------------------


@rule
def id_is_filedotted(entry: Entry, context: Context) -> Findings:
    written = entry.get("id", str)
    if written is not None and written != entry.id:
        yield ("id",), f"id is {show(written)} but the file is {show(entry.path.name)}", "make the two equal"


@rule
def keys_in_schema_order(entry: Entry, context: Context) -> Findings:
    yield from _order(entry.schema.tree, entry.data, ())


def _order(node: dict, value: object, path: Path_) -> Findings:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _order(node.get("items", {}), item, (*path, number))
    if not isinstance(value, dict):
        return
    rank = {key: number for number, key in enumerate(node.get("properties", {}))}
    keys = [key for key in value if key in rank]
    for before, key in pairwise(keys):
        if rank[key] < rank[before]:
            follower = next(k for k in keys if rank[k] > rank[key])
            yield (*path, key), f"key {show(key)} comes too late", f"put it before {show(follower)}", "key"
            break
    for key in keys:
        yield from _order(node["properties"][key], value[key], (*path, key))


# -- the paper ---------------------------------------------------------------------------------------------------------


@rule
def year_is_paper_year(entry: Entry, context: Context) -> Findings:
    year, printed = entry.get("year", int), entry.get("paper.year", int)
    if year is not None and printed is not None and year != printed:
        yield ("year",), f"year is {year} but paper.year is {printed}", "make the two equal"


@rule
def arxiv_id_fits_year(entry: Entry, context: Context) -> Findings:
    arxiv, year = entry.get("paper.arxiv", str, ""), entry.get("paper.year", int)
    match = re.fullmatch(r"(\d{2})(\d{2})\.\d{4,5}|[a-z-]+/(\d{2})(\d{2})\d{3}", arxiv)
    if not match:
        return
    digits, month = int(match[1] or match[3]), int(match[2] or match[4])
    posted = (1900 if digits > 90 else 2000) + digits
    path = ("paper", "arxiv")
    if not 1 <= month <= 12:
        yield path, f"arXiv id {arxiv} has month {month:02d}", "its first four digits are year and month"
    elif (posted, month) > (context.today.year, context.today.month):
        yield path, f"arXiv id {arxiv} is of {posted}-{month:02d}, which is in the future", "look it up again"
    elif year is not None and not posted <= year <= posted + 4:
        yield path, f"arXiv id {arxiv} is of {posted} but paper.year is {year}", "one of the two is wrong"


@rule
def paper_can_be_found(entry: Entry, context: Context) -> Findings:
    paper = entry.get("paper", dict)
    if paper is not None and not {"arxiv", "doi", "url"} & set(paper):
        yield ("paper",), "paper has none of arxiv, doi, url", "add at least one", "key"


@rule
def identity_fits(entry: Entry, context: Context) -> Findings:
    identity = entry.get("identity", str)
    if identity == "confirmed":
        instead = {"dataset": "url", "framework": "code"}.get(entry.kind)  # what else shows that the thing exists
        exempt = entry.kind in ("challenge", "term") or instead in entry.data
        if "paper" not in entry.data and not exempt:
            right = f"add paper{f' or {instead}' if instead else ''}, or make it generic or unidentified"
            yield ("identity",), "identity is confirmed but there is no paper", right
        if "closest" in entry.data:
            yield ("closest",), "a confirmed entry has closest", "move what it is to paper, or remove it", "key"
    if identity == "unidentified" and "closest" not in entry.data:
        yield ("identity",), "identity is unidentified but closest is missing", "name the closest real publication"


@rule
def code_address_is_plain(entry: Entry, context: Context) -> Findings:
    url = entry.get("code.url", str)
    if url is None:
        return
    mended = re.sub(r"(\.git)?/*$", "", re.sub(r"^http://(?=(www\.)?(github|gitlab|bitbucket)\.)", "https://", url))
    if mended != url:
        yield ("code", "url"), f"code.url is {show(url)}", f"write {mended}"


# -- facts -------------------------------------------------------------------------------------------------------------


@rule
def splits_sum_to_samples(entry: Entry, context: Context) -> Findings:
    samples, splits = entry.get("facts.samples", int), entry.get("facts.splits", dict, {})
    sizes = [n for n in splits.values() if isinstance(n, int)]
    if samples is None or not sizes:
        return
    total = sum(sizes)
    complete = {"train", "val", "test"} <= set(splits)
    if total > samples or (complete and total < samples):
        right = "correct one, or give what the split leaves out as `unused`" if total < samples else "correct one"
        yield ("facts", "splits"), f"the splits sum to {total} but samples is {samples}", right, "key"


@rule
def bands_fit_sensors(entry: Entry, context: Context) -> Findings:
    known = context.catalog.vocabulary.get("sensor", {})
    parts = entry.get("facts.parts", list, [])
    places = [("facts", "parts", n) for n, part in enumerate(parts) if isinstance(part, dict)]
    for place in [("facts",), *places]:
        facts = entry.get(dotted(place), dict, {})
        bands, sensors = facts.get("bands"), facts.get("sensors")
        if not isinstance(bands, int) or not isinstance(sensors, list):
            continue
        limits = [known.get(s, {}).get("bands") if isinstance(s, str) else None for s in sensors]
        if None not in limits and bands > sum(limits):
            right = f"{', '.join(sensors)} has at most {sum(limits)}"
            yield (*place, "bands"), f"{bands} bands", right


@rule
def results_are_possible(entry: Entry, context: Context) -> Findings:
    for number, result in enumerate(entry.get("results", list, [])):
        value = result.get("value") if isinstance(result, dict) and result.get("unit") == "%" else None
        if isinstance(value, (int, float)) and not -100 <= value <= 100:
            yield ("results", number, "value"), f"{value} %", "a percentage is within 100"


# -- implementation ----------------------------------------------------------------------------------------------------


@rule
def difference_is_told(entry: Entry, context: Context) -> Findings:
    fidelity = entry.get("refimpl.fidelity", str)
    if fidelity in ("simplified", "closest") and "difference" not in entry.get("refimpl", dict, {}):
        right = "add one sentence on what differs from the publication"
        yield ("refimpl", "fidelity"), f"fidelity is {fidelity} but difference is missing", right


@rule
def method_can_be_walked(entry: Entry, context: Context) -> Findings:
    """A method leads to what it solves, what it trains and what it is trained or judged on, or says what is missing."""
    if entry.kind != "framework" or entry.get("identity", str) != "confirmed":
        return
    absent = entry.get("unknown", list, [])
    for names in (("solves_pretext_task",), ("uses_backbone",), ("pretrained_on", "evaluated_on")):
        here = entry.get("relations", dict, {})
        if not any(name in here or f"relations.{name}" in absent or "relations" in absent for name in names):
            wrong = f"the method names no {' or '.join(names)}"
            yield ("relations",), wrong, f"add it under relations, or list relations.{names[0]} under unknown", "key"


@rule
def origin_names_a_row(entry: Entry, context: Context) -> Findings:
    rows = context.catalog.rows
    for number, row in enumerate(entry.get("origin", list, [])):
        if isinstance(row, str) and rows and row not in rows and re.fullmatch(r"[A-Z]\d{2}", row):
            last = max(r for r in rows if r[0] == row[0]) if any(r[0] == row[0] for r in rows) else None
            right = f"its last row of that letter is {last}" if last else "look it up in origin.csv"
            yield ("origin", number), f"the originating list has no row {show(row)}", right


# -- sources, dates, words ---------------------------------------------------------------------------------------------


@rule
def source_keys_differ(entry: Entry, context: Context) -> Findings:
    seen = set()
    for number, source in enumerate(entry.get("sources", list, [])):
        key = source.get("key") if isinstance(source, dict) else None
        if isinstance(key, str) and key in seen:
            yield ("sources", number, "key"), f"two sources have the key {show(key)}", "rename one"
        if isinstance(key, str):
            seen.add(key)


@rule
def source_files_exist(entry: Entry, context: Context) -> Findings:
    for number in range(len(entry.get("sources", list, []))):
        path = entry.get(f"sources[{number}].path", str)
        if path is not None and ".." not in path and not (context.catalog.root.resolve().parent / path).is_file():
            right = "name a file as seen from the repository's root"
            yield ("sources", number, "path"), f"there is no file {show(path)}", right


@rule
def dates_are_past(entry: Entry, context: Context) -> Findings:
    sources = range(len(entry.get("sources", list, [])))
    for path in [("last_verified",), *(("sources", n, "accessed") for n in sources)]:
        day = entry.get(dotted(path), datetime.date)
        if day is not None and _day(day) > context.today:
            yield path, f"{dotted(path[-1:])} is {_day(day)}, which is in the future", "give the day it was done"


def _day(value: datetime.date) -> datetime.date:
    return value.date() if isinstance(value, datetime.datetime) else value


@rule
def texts_have_no_html(entry: Entry, context: Context) -> Findings:
    for path, text in _texts(entry.data, ()):
        tag = re.search(r"<(/?[a-zA-Z][^\s<>]*|!--)", text)
        script = re.search(r"\]\(\s*(javascript|data|vbscript):", text, re.IGNORECASE)
        if tag:
            yield path, f"HTML {show(tag.group())}", "write plain text or Markdown, and a space after a less-than sign"
        elif script:
            yield path, f"link to {show(script[1])}:", "link to https://"


def _texts(value: object, path: Path_) -> Iterator[tuple[Path_, str]]:
    if isinstance(value, str):
        yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        yield from _texts(child, (*path, step))


@rule
def template_is_filled_in(entry: Entry, context: Context) -> Findings:
    template = context.catalog.templates.get(entry.kind)
    if template is None:
        return
    for field in ("name", "summary", "definition", "paper.title", "facts.predicts"):
        text = entry.get(field, str)
        if text is not None and text == template.get(field):
            path = tuple(field.split("."))
            yield path, f"{field} is still the template's", "say it of this entry, or leave the field out"
