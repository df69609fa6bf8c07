"""Leaderboards: the unlike is never ranked together, overlaps are ties, every score opens its record."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from itertools import combinations

import pytest
from real import real

from refimpl import cli, registry
from scripts.site import boards, leaderboards, records, reported
from scripts.site.links import run_page
from scripts.site.model import Site
from scripts.site.scores import Score, less_is_better, places, pooled, read, surely_better

NAME = next(iter(registry.methods()))


@pytest.fixture(scope="module")
def site():
    return real()


def score(value, features="trained", spread=1.0, metric="accuracy", unit="%"):
    ends = {"lower": value - spread, "upper": value + spread} if spread is not None else {}
    return {"metric": metric, "value": value, "unit": unit, "features": features, **ends}


def run(value=80.0, file="a.json", fingerprint="f" * 16, seed=0, method=NAME, backbone="net", scores=None, **changes):
    found = scores or [score(value), score(60.0, "random initialisation"), score(50.0, "band statistics")]
    return {
        "record": "run", "id": file[:-5], "file": file, "method": method, "protocol": "scene", "seed": seed,
        "data": {"name": "eurosat_small.zip", "digest": "0" * 16, "synthetic": False, "samples": 10},
        "config": {"backbone": backbone, "bands": ["B04"], "size": 8, "recipe": {"epochs": 2, "batch": 4}},
        "code_hash": "0" * 16, "started": "2026-01-01T00:00:00Z", "scores": found, "fingerprint": fingerprint,
        "device": "CPU", "commit": "abcdef0", "curve": [[0, 2.0], [1, 1.0]], **changes,
    }  # fmt: skip


def board_of(*runs) -> boards.Board:
    found = boards.gather(Site(real().catalog, registry.methods(), runs=list(runs)))
    assert len(found) == 1
    return found[0]


# -- scores ------------------------------------------------------------------------------------------------------------


def test_direction_follows_the_metric():
    assert [less_is_better(m) for m in ("abundance RMSE", "mean spectral angle", "top-1 error", "mAP", "F1")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_overlapping_intervals_share_a_place_and_a_gap_parts_them():
    scores = [Score(80, 79, 81), Score(79.5, 78.5, 80.5), Score(70, 69, 71)]
    assert places(scores, less=False) == [(1, True), (1, True), (3, False)]
    assert places(scores, less=True) == [(2, True), (2, True), (1, False)]


def test_a_chain_of_overlaps_does_not_make_all_equal():
    first, middle, last = Score(13, 12, 14), Score(12, 11, 13), Score(11, 10, 11.5)
    assert places([first, middle, last], less=False) == [(1, True), (1, True), (2, True)]
    assert surely_better(first, last, less=False) and not surely_better(middle, last, less=False)


def test_without_an_interval_the_number_decides():
    assert places([Score(2), Score(1), Score(1)], less=False) == [(1, False), (2, True), (2, True)]


def test_several_seeds_are_one_row_with_the_span_of_all():
    assert pooled([Score(1, 0.5, 1.5, "%"), Score(3, 2, 4, "%")]) == Score(2, 0.5, 4, "%")
    assert pooled([Score(1), Score(3)]).ends == (1, 3)
    assert pooled([Score(1)]).lower is None


@pytest.mark.parametrize("value", [None, "80", True, float("nan"), float("inf")])
def test_what_is_no_number_is_no_score(value):
    assert read({"value": value}) is None


# -- boards ------------------------------------------------------------------------------------------------------------


def test_what_is_unlike_is_never_on_one_board():
    unlike = [
        run(file="a.json"),
        run(file="b.json", fingerprint="e" * 16),
        run(file="c.json", data={"name": "eurosat_small.zip", "digest": "1" * 16, "samples": 10}),
        run(file="d.json", protocol="segment"),
        run(file="e.json", fingerprint=None),
        run(file="f.json", fingerprint=None),
    ]
    found = boards.gather(Site(real().catalog, registry.methods(), runs=unlike))
    assert len(found) == len({board.slug for board in found}) == len(unlike)
    assert sorted(line.runs[0]["file"] for board in found for line in board.lines if line.method) == [
        r["file"] for r in unlike
    ]


def test_seeds_are_pooled_and_settings_are_not():
    board = board_of(run(80, "a.json"), run(82, "b.json", seed=1), run(70, "c.json", backbone="other"))
    lines = {line.backbone: line for line in board.lines if line.method}
    assert lines["net"].scores["accuracy"] == Score(81, 79, 83, "%")
    assert len(lines["net"].runs) == 2 and len(lines["other"].runs) == 1


def test_baselines_are_rows_one_per_network_and_statistics_once():
    board = board_of(run(80, "a.json"), run(70, "b.json", backbone="other"))
    baselines = [(line.features, line.backbone) for line in board.lines if not line.method]
    assert sorted(baselines) == [
        ("band statistics", ""), ("random initialisation", "net"), ("random initialisation", "other"),
    ]  # fmt: skip


def test_what_does_not_beat_its_baselines_is_unranked_and_says_so(site):
    board = board_of(run(80, "a.json"), run(58, "b.json", backbone="other"))
    low = next(n for n, line in enumerate(board.lines) if line.backbone == "other" and line.method)
    assert set(board.places("accuracy")) == {n for n, line in enumerate(board.lines) if line.method} - {low}
    assert "not above random initialisation" in leaderboards.page(site, board)


def test_a_newer_record_of_one_setting_replaces_the_older():
    board = board_of(run(80, "a.json"), run(85, "b.json", started="2026-02-01T00:00:00Z", code_hash="1" * 16))
    (line,) = [line for line in board.lines if line.method]
    assert [r["file"] for r in line.runs] == ["b.json"] and [r["file"] for r in board.superseded] == ["a.json"]


def test_a_record_expires_with_the_code(site):
    now = registry.rung_hash(NAME, "measured")
    assert boards.expired(run()) and not boards.expired(run(code_hash=now))
    assert boards.expired(run(method="gone", code_hash=now))
    assert ">expired<" in leaderboards.page(site, board_of(run())).partition("How to read it")[0]
    assert ">expired<" not in leaderboards.page(site, board_of(run(code_hash=now))).partition("How to read it")[0]


def test_ties_are_marked_on_the_page(site):
    page = leaderboards.page(site, board_of(run(80, "a.json"), run(80.5, "b.json", backbone="other")))
    assert page.count("<small>tie</small>") == 2


def test_the_headline_is_what_the_ladder_judges_by(site):
    judged = {"simclr": "linear probe accuracy", "egu_net": "abundance RMSE"}
    records = [{"method": name, "rungs": {"learns": {"metric": metric}}} for name, metric in judged.items()]
    found = boards.headlines(replace(site, verifications=records))
    assert found == {"scene": "linear probe accuracy", "unmixing": "abundance RMSE"}


@pytest.mark.parametrize(
    "file, found",
    [("eurosat_rgb_16000.zip", "eurosat"), ("jasper_ridge_unmixing.npz", "jasper_ridge"), ("x.zip", None)],
)
def test_the_data_set_of_a_file_is_found_by_its_beginning(site, file, found):
    entry = boards.data_entry(site, file)
    assert (entry and entry.id) == found


# -- the real records --------------------------------------------------------------------------------------------------


def test_every_record_is_on_one_board_and_every_score_opens_one(site):
    files = []
    for board in boards.gather(site):
        page = leaderboards.page(site, board)
        for line in board.lines:
            for one in line.runs:
                assert f'href="../../{run_page(one["file"])}"' in page
            if line.method:
                files += [r["file"] for r in line.runs]
        files += [r["file"] for r in board.superseded]
        fingerprints = {(r.get("fingerprint"), r["data"]["digest"]) for line in board.lines for r in line.runs}
        assert len(fingerprints) == 1
        assert "random initialisation" in page
    assert sorted(files) == sorted(r["file"] for r in site.runs) and len(files) >= 5


def test_a_record_page_says_all_that_the_record_holds(site):
    for one in site.runs:
        page = records.page(site, one, None)
        held = [one[key] for key in ("commit", "code_hash", "device", "fingerprint")]
        held += [one["data"]["digest"], one["versions"]["torch"], one["config"]["backbone"], one["file"], "<polyline"]
        assert [said for said in held if said not in page] == [], one["file"]
        assert page.count("<tr>") > 25


def test_the_command_on_a_record_page_is_one(site):
    from refimpl.studies.build import method_class, split_settings

    for one in site.runs:
        arguments = shlex.split(records.command(one))
        assert arguments[:3] == ["python", "-m", "refimpl"]
        asked = cli._parser().parse_args(arguments[3:])
        split_settings(method_class(asked.name), cli._settings(asked.set))
        config = one["config"]
        assert (asked.backbone, asked.size, asked.epochs) == (
            config["backbone"], config["size"], config["recipe"]["epochs"],
        )  # fmt: skip


# -- reported scores ---------------------------------------------------------------------------------------------------


def test_every_reported_score_is_told_once_with_its_place_and_source(site):
    found = reported.gather(site)
    told = [(e.id, id(s)) for one in found for e, s in one.scores]
    every = [(e.id, id(s)) for e in site.all for s in e.get("results", list, [])]
    assert sorted(told) == sorted(every) and len(every) > 100
    assert len({one.slug for one in found}) == len(found)
    for one in found:
        page = reported.page(site, one)
        for entry, _ in one.scores:
            assert f"/{entry.id}/" in page
        assert page.count("<tr>") == len(one.scores) + len(one.tables())
        assert "place" not in re.sub(r"place where|in place", "", page)  # sorted, never ranked
        assert page.count('<a href="http') == len(one.scores)


def test_reported_tables_hold_one_metric_unit_and_protocol_in_order(site):
    for one in reported.gather(site):
        for (metric, unit, protocol), scores in one.tables().items():
            assert {(s["metric"], str(s["unit"]), s["protocol"]) for _, s in scores} == {(metric, unit, protocol)}
            values = [s["value"] for _, s in scores]
            assert values == sorted(values, reverse=not less_is_better(metric))


def test_reported_and_reproduced_never_meet(real_site):
    own = [p for p in (real_site / "leaderboards").glob("*/index.html") if p.parent.name != "reported"]
    theirs = list((real_site / "leaderboards" / "reported").glob("*/index.html"))
    assert len(own) >= 3 and len(theirs) > 30
    assert not any("../../records/" in p.read_text(encoding="utf-8") for p in theirs)
    assert not any('id="t0"' in p.read_text(encoding="utf-8") for p in own)


# -- in the browser ----------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_table_sorts_by_click_and_by_address_and_is_whole_without_script(browser, address):
    place = f"{address}/leaderboards/reported/imagenet/"
    names = "[...document.querySelectorAll('#t0 tbody th')].map(e => e.textContent)"
    context = browser.new_context()
    page = context.new_page()
    page.goto(place)
    before = page.evaluate(names)
    page.locator("#t0 thead th").nth(0).get_by_role("button").click()
    assert page.evaluate(names) == sorted(before, key=str.lower)
    assert "sort=t0.0.up" in page.url
    page.locator("#t0 thead th").nth(0).get_by_role("button").press("Enter")
    assert page.locator("#t0 thead th").nth(0).get_attribute("aria-sort") == "descending"
    page.goto(f"{place}?sort=t0.1.up")
    values = page.evaluate("[...document.querySelectorAll('#t0 tbody tr')].map(r => Number(r.cells[1].dataset.key))")
    assert values == sorted(values) and len(values) > 30
    context.close()
    plain = browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(place)
    assert page.locator("#t0 tbody tr").count() == len(before)
    assert page.locator("#t0 thead button:enabled").count() == 0
    plain.close()


def test_no_two_rows_of_a_board_are_the_same(site):
    for board in boards.gather(site):
        keys = [(line.method, line.features, line.backbone, json.dumps(line.runs[0].get("config"), sort_keys=True))
                for line in board.lines]  # fmt: skip
        assert all(a != b for a, b in combinations(keys, 2))
