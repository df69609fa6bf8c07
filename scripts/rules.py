"""What a schema cannot say: how the fields of an entry, and the entries of a catalog, must agree.

Each rule is a small generator over one entry: (path, what is wrong, what would be right), or with "key" behind when
the place is the key rather than the value. A rule looks only at values of the right type; wrong types are the
schema's business.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from scripts.catalog import Catalog, Entry, Problem, Record
from scripts.catalog.document import Path_
from scripts.catalog.problems import plain, show

Findings = Iterator[tuple]


@dataclass
class Context:
    """What a rule may look at besides its entry.

    asked: the entries that are being validated; what two entries share is told at one that was asked for.
    today: last day that is not in the future (one day on, because of time zones).
    """

    catalog: Catalog
    asked: set[tuple[str, str]]
    today: datetime.date

    @cached_property
    def owners(self) -> dict[tuple[str, str, str], list[Entry]]:
        """(kind, what, value) -> entries that claim it as theirs: names, aliases, arXiv ids, DOIs."""
        found: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in self.catalog.entries.values():
            for what, _, value in claims(entry):
                owners = found.setdefault((entry.kind, what, value), [])
                if entry not in owners:
                    owners.append(entry)
        return found

    def tells(self, entry: Entry, other: Entry) -> bool:
        """Whether a fault that two entries share is told at `entry`: at the later file that was asked for."""
        other_asked = (other.kind, other.id) in self.asked
        return not other_asked or entry.path > other.path


Rule = Callable[[Entry, Context], Findings]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def rule_problems(entry: Entry, context: Context) -> list[Problem]:
    """All faults of one entry that the rules find."""
    return [entry.problem(*finding) for check in RULES for finding in check(entry, context)]


# -- names and order ---------------------------------------------------------------------------------------------------


@rule
def id_is_file_name(entry: Entry, context: Context) -> Findings:
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


def claims(entry: Entry) -> Iterator[tuple[str, Path_, str]]:
    """What must belong to one entry of a kind only: (what, where, value compared)."""
    name = entry.get("name", str)
    if name:
        yield "name", ("name",), plain(name) or name
    for number, alias in enumerate(entry.get("aliases", list, [])):
        if isinstance(alias, str):
            yield "name", ("aliases", number), plain(alias) or alias
    arxiv, doi = entry.get("paper.arxiv", str), entry.get("paper.doi", str)
    if arxiv:
        yield "arXiv id", ("paper", "arxiv"), arxiv
    if doi:
        yield "DOI", ("paper", "doi"), doi.casefold()


@rule
def names_and_papers_are_its_own(entry: Entry, context: Context) -> Findings:
    told = set()
    for what, path, value in claims(entry):
        for other in context.owners.get((entry.kind, what, value), []):
            if other is not entry and context.tells(entry, other) and (what, other.id) not in told:
                told.add((what, other.id))
                right = "make them one entry, or correct this"
                yield path, f"{what} {show(entry.get(_name(path)))} is also that of {show(other.id)}", right


def _name(path: Path_) -> str:
    return ".".join(str(step) for step in path)


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
        exempt = entry.kind in ("challenge", "term") or (entry.kind == "dataset" and "url" in entry.data)
        if "paper" not in entry.data and not exempt:
            right = (
                "add paper" + (" or url" if entry.kind == "dataset" else "") + ", or make it generic or unidentified"
            )
            yield ("identity",), "identity is confirmed but there is no paper", right
        if "closest" in entry.data:
            yield ("closest",), "a confirmed entry has closest", "move what it is to paper, or remove it", "key"
    if identity == "unidentified" and "closest" not in entry.data:
        yield ("identity",), "identity is unidentified but closest is missing", "name the closest real publication"


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
        facts = entry.get(_name(place), dict, {})
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


# -- links inside the catalog ------------------------------------------------------------------------------------------


@rule
def extends_has_no_cycle(entry: Entry, context: Context) -> Findings:
    """Told at one entry of the cycle: the first in path order among those asked for."""
    for path, relation, _, target in entry.targets():
        if relation != "extends" or target == entry.id:  # naming itself is told with the relation
            continue
        way = _way(context.catalog, entry.kind, target, entry.id)
        on_it = [i for i in way if (entry.kind, i) in context.asked]
        if way and entry.id == min(on_it, default=entry.id):
            yield path, f"extends goes round in a circle: {' -> '.join([entry.id, *way])}", "remove one of these links"
            return


def _way(catalog: Catalog, kind: str, start: str, goal: str) -> list[str]:
    """Ids from `start` to `goal` along extends, both included; [] when there is no way."""
    before: dict[str, str | None] = {start: None}
    todo = [start]
    while todo:
        here = todo.pop(0)
        if here == goal:
            way = []
            while here is not None:
                way.append(here)
                here = before[here]
            return way[::-1]
        entry = catalog.entries.get((kind, here))
        for _, relation, _, target in entry.targets() if entry else ():
            if relation == "extends" and target not in before:
                before[target] = here
                todo.append(target)
    return []


@rule
def difference_is_told(entry: Entry, context: Context) -> Findings:
    fidelity = entry.get("refimpl.fidelity", str)
    if fidelity in ("simplified", "closest") and "difference" not in entry.get("refimpl", dict, {}):
        right = "add one sentence on what differs from the publication"
        yield ("refimpl", "fidelity"), f"fidelity is {fidelity} but difference is missing", right


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
def dates_are_past(entry: Entry, context: Context) -> Findings:
    sources = range(len(entry.get("sources", list, [])))
    for path in [("last_verified",), *(("sources", n, "accessed") for n in sources)]:
        day = entry.get(_name(path), datetime.date)
        if day is not None and _day(day) > context.today:
            yield path, f"{_name(path[-1:])} is {_day(day)}, which is in the future", "give the day it was done"


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


# -- records -----------------------------------------------------------------------------------------------------------


def record_problems(record: Record) -> list[Problem]:
    """Faults of a run or verification record that its schema cannot see."""
    found = _run(record) if record.kind == "run" else _verification(record)
    return [record.problem(*finding) for finding in found]


def _run(record: Record) -> Findings:
    id_, name = record.get("id", str, ""), record.path.name
    if not (name.startswith(f"{record.method}-") and name.endswith(f"-{id_}.json")):
        yield ("id",), f"the file is {show(name)}", f"name it {record.method}-<data>-{id_}.json"
    for number, score in enumerate(record.get("scores", list, [])):
        bounds = [score.get(key) for key in ("lower", "value", "upper")] if isinstance(score, dict) else []
        numbers = [b for b in bounds if isinstance(b, (int, float))]
        if numbers != sorted(numbers):
            yield ("scores", number), "lower, value, upper are not in ascending order", "write the record again"


def _verification(record: Record) -> Findings:
    name = record.path.name
    if not re.fullmatch(re.escape(record.method) + r"\.verify\.(cpu|cuda)\.json", name):
        yield ("method",), f"the file is {show(name)}", f"name it {record.method}.verify.cpu.json or .cuda.json"
    checks = [c for c in record.get("rungs.matches.checks", list, []) if isinstance(c, dict)]
    numbers = [(c.get("error"), c.get("tolerance")) for c in checks]
    if all(isinstance(n, (int, float)) for pair in numbers for n in pair) and numbers:
        yield from _passed(record, "matches", all(error <= tolerance for error, tolerance in numbers))
    margin, needed = record.get("rungs.learns.margin", (int, float)), record.get("rungs.learns.required", (int, float))
    if margin is not None and needed is not None:
        yield from _passed(record, "learns", margin >= needed)


def _passed(record: Record, rung: str, should: bool) -> Findings:
    said = record.get(f"rungs.{rung}.passed", bool)
    if said is True and not should:
        yield ("rungs", rung, "passed"), f"{rung} is said to have passed but its numbers say no", "verify it again"
