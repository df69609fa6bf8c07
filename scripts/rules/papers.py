"""Rules about publications: what identifiers say of year and venue, and what two entries say of one paper."""

from __future__ import annotations

import re

from scripts.catalog import Entry
from scripts.catalog.document import Path_
from scripts.catalog.model import dotted
from scripts.catalog.problems import plain, show
from scripts.rules.base import Context, Findings, papers, recognised_by, rule

# What all entries must say alike of one paper; `url` may lead to different copies.
_ALIKE = ("title", "authors", "venue", "year", "arxiv", "doi")


@rule
def entries_agree_on_a_paper(entry: Entry, context: Context) -> Findings:
    told = set()
    for path, paper in papers(entry):
        for name in recognised_by(paper):
            for other, place, theirs in context.papers.get(name, ()):
                if other is entry or not context.tells(entry, other):
                    continue
                for field in _differing(path, paper, place, theirs):
                    if (path, field) not in told:
                        told.add((path, field))
                        yield (*path, field), *_told(entry, path, paper, field, other, place, theirs)


def _differing(path: Path_, paper: dict, place: Path_, theirs: dict) -> list[str]:
    """Fields in which two descriptions of a paper depart; `closest` may leave fields out."""
    partial = path != ("paper",) or place != ("paper",)
    compared = [f for f in _ALIKE if not partial or (f in paper and f in theirs)]
    return [f for f in compared if paper.get(f) != theirs.get(f)]


def _told(entry: Entry, path: Path_, paper: dict, field: str, other: Entry, place: Path_, theirs: dict):
    line, _ = other.position(dotted((*place, field)))
    where = f"{other.path.parent.name}/{other.path.name}:{line}"
    mine, its = paper.get(field), theirs.get(field)
    if isinstance(mine, list) and isinstance(its, list):  # name the first author that departs
        pairs = [*zip(mine, its, strict=False), (f"{len(mine)} authors", f"{len(its)} authors")]
        mine, its = next((m, i) for m, i in pairs if m != i)
    here = f"{dotted((*path, field))} is {show(mine)}" if field in paper else f"{dotted(path)} lacks {field}"
    there = f"it is {show(its)}" if field in theirs else "there is none"
    return f"{here} but {there} for the same paper in {where}", "make the two alike"


@rule
def arxiv_doi_is_arxiv_id(entry: Entry, context: Context) -> Findings:
    cited = [(("sources", n), s) for n, s in enumerate(entry.get("sources", list, [])) if isinstance(s, dict)]
    for path, paper in [*papers(entry), *cited]:
        doi, arxiv = paper.get("doi"), paper.get("arxiv")
        match = re.fullmatch(r"10\.48550/arxiv\.(.+)", doi, re.IGNORECASE) if isinstance(doi, str) else None
        if match and match[1] != arxiv:
            wrong = f"{dotted(path)}.doi is of arXiv {match[1]} but arxiv is {arxiv or 'absent'}"
            yield (*path, "doi"), wrong, "make the two equal" if arxiv else f'write arxiv: "{match[1]}"'


# -- what a DOI says of year and venue ---------------------------------------------------------------------------------

# DOIs that contain the year of the conference, or the year in which a journal's article was accepted.
_CONFERENCE_YEAR = re.compile(r"10\.1109/(?:CVPR|CVPRW|ICCV|ICCVW|WACV|IGARSS|ICASSP|ICRA)\d+\.(\d{4})\.", re.I)
_JOURNAL_YEAR = re.compile(r"10\.(?:1109/[a-z]+|1016/j\.[a-z]+)\.(\d{4})\.", re.I)
# Volume 13 of Remote Sensing is of 2021.
_VOLUME_YEAR = re.compile(r"10\.3390/rs(\d\d)\d{4,}", re.I)


@rule
def doi_fits_year(entry: Entry, context: Context) -> Findings:
    for path, paper in papers(entry):
        doi, year = paper.get("doi"), paper.get("year")
        if not isinstance(doi, str) or not isinstance(year, int):
            continue
        if conference := _CONFERENCE_YEAR.match(doi):
            first = last = int(conference[1])
        elif volume := _VOLUME_YEAR.match(doi):
            first = last = 2008 + int(volume[1])
        elif journal := _JOURNAL_YEAR.match(doi):
            first, last = int(journal[1]), int(journal[1]) + 3
        else:
            continue
        if not first <= year <= last:
            yield (*path, "year"), f"{dotted(path)}.year is {year} but its DOI is of {first}", "one of the two is wrong"


@rule
def doi_fits_venue(entry: Entry, context: Context) -> Findings:
    """The list of venues gives beginnings of DOIs; the longest that fits decides."""
    doi, venue = entry.get("paper.doi", str), entry.get("paper.venue", str)
    beginnings = {
        start.casefold(): word
        for word, about in context.catalog.vocabulary.get("venue", {}).items()
        for start in about.get("doi", ())
    }
    if doi is None or venue is None:
        return
    fitting = [start for start in beginnings if doi.casefold().startswith(start)]
    right = beginnings[max(fitting, key=len)] if fitting else venue
    if right != venue:
        yield ("paper", "venue"), f"paper.venue is {show(venue)} but its DOI is of {right}", "one of the two is wrong"


# -- data sets in reported results -------------------------------------------------------------------------------------


@rule
def results_name_data_sets_alike(entry: Entry, context: Context) -> Findings:
    for number, result in enumerate(entry.get("results", list, [])):
        name = result.get("dataset") if isinstance(result, dict) else None
        if not isinstance(name, str) or name.casefold() in context.dataset_spellings:
            continue
        meant = next((s for s in context.dataset_spellings.values() if plain(s) == plain(name)), None)
        if meant:
            wrong = f"results[{number}].dataset is {show(name)}"
            yield ("results", number, "dataset"), wrong, f"write {meant}, or add this spelling to its aliases"
