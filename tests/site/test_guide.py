"""Which method for my data? What is recommended follows from the catalog, and the filter finds what the page lists."""

from __future__ import annotations

import ast
import json
import re
import shlex
from html import unescape

import pytest
from real import real, real_facets

from refimpl import cli, registry
from scripts.site import advice, guide
from scripts.site.links import entry_page


@pytest.fixture(scope="module")
def asked():
    return advice.questions(real())


def answer(asked, question, code) -> advice.Answer:
    return next(a for q in asked if q.code == question for a in q.answers if a.code == code)


def ids(found) -> list[str]:
    return [method.entry.id for method, _ in found.methods]


def test_every_modality_is_known_and_gives_fields_that_exist():
    source = (registry.ROOT / "data" / "dataset.py").read_text(encoding="utf-8")
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.Assign) and n.targets[0].id == "FIELDS")
    fields = set(ast.literal_eval(node.value))
    assert set(advice.GIVES) <= set(real().catalog.vocabulary["modality"])
    assert set().union(*advice.GIVES.values()) - {"date"} <= fields


def test_every_answer_has_methods_with_a_reason_and_no_supervised_network(asked):
    assert [q.code for q in asked] == ["modality", "have", "labels", "compute", "task", "sensor"]
    for question in asked:
        for one in question.answers:
            assert one.methods, one.code
            assert all(reason and not reason.endswith(".") for _, reason in one.methods)
            assert not any(m.entry.data["family"] == "supervised" for m, _ in one.methods)


def test_what_runs_here_comes_first_and_what_learned_before_what_did_not(asked):
    for question in asked:
        for one in question.answers:
            running = [bool(m.runs) for m, _ in one.methods]
            assert running == sorted(running, reverse=True), one.code
    ladders = [[r.state for r in m.ladder] for m in advice.methods(real()) if m.runs]
    points = [sum({"reached": 2, "expired": 1}.get(s, 0) for s in states) for states in ladders]
    assert points == sorted(points, reverse=True) and len(points) >= 11


@pytest.mark.parametrize(
    "question, code, inside, outside",
    [
        ("modality", "sar", "croma", "geoclip"),
        ("modality", "hyperspectral", "egu_net", "swav_not_there"),
        ("have", "places", "tile2vec", "simclr"),
        ("have", "spectra", "egu_net", "mae"),
        ("have", "pairs", "seco", "mae"),
        ("labels", "none", "egu_net", "mae"),
        ("labels", "few", "simclr", "geoclip"),
        ("compute", "small", "mae", "simclr"),  # SimCLR's loss lives on large batches
        ("compute", "many", "simclr", "mae"),
        ("sensor", "sentinel_2", "seco", "simclr"),
    ],
)
def test_answers_follow_from_fields_and_records(asked, question, code, inside, outside):
    found = ids(answer(asked, question, code))
    assert inside in found and outside not in found


def test_a_method_that_needs_coordinates_is_not_for_data_without_them(asked):
    for method, _ in answer(asked, "compute", "cpu").methods:
        assert method.runs.name in registry.methods() and method.rung("learns")
    assert "for " in dict((m.entry.id, r) for m, r in answer(asked, "modality", "rgb").methods)["simclr"]


def test_commands_are_commands(asked):
    for method in advice.methods(real()):
        if method.runs:
            arguments = shlex.split(guide.command(method))
            assert cli._parser().parse_args(arguments[3:]).name == method.runs.name


def test_the_page_links_each_answer_to_all_that_the_catalog_has_for_it(asked):
    page = guide.page(real(), asked, real_facets())
    assert 'href="../facets/modality/sar/"' in page and 'href="../facets/task/change_detection/"' in page
    for question in asked:
        for one in question.answers:
            assert f'id="{question.code}-{one.code}"' in page
            first = one.methods[0][0]
            assert f'href="../{entry_page("framework", first.entry.id)}"' in page
    assert page.count("<details") == sum(len(q.answers) for q in asked)


def test_the_filter_has_the_same_answers_as_the_page(asked):
    index = json.loads(json.dumps(guide.index(real(), asked)))
    for q, question in enumerate(asked):
        assert index["questions"][q] == [question.code, [a.code for a in question.answers]]
        for a, one in enumerate(question.answers):
            found = {}
            for method in index["methods"]:
                for part in method["fits"].split():
                    if part.split(".")[:2] == [str(q), str(a)]:
                        found[method["page"]] = index["reasons"][int(part.split(".")[2])]
            assert found == {entry_page("framework", m.entry.id): reason for m, reason in one.methods}


def shown(page) -> list[str]:
    """Ids of all methods that the filter shows in the end."""
    while page.locator(".guide .more").is_visible():
        page.locator(".guide .more").click()
    links = page.locator(".guide .picks > li b a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    return [re.search(r"frameworks/([^/]+)/", link)[1] for link in links]


@pytest.mark.browser
def test_answers_combine_and_stand_in_the_address(browser, address, asked):
    sar = ids(answer(asked, "modality", "sar"))
    both = [i for i in sar if i in ids(answer(asked, "labels", "few"))]
    context = browser.new_context()
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/guide/")
    page.get_by_label("What do your images show?").select_option("sar")
    page.get_by_label("How many labels?").select_option("few")
    assert page.url.endswith("?modality=sar&labels=few")
    assert page.locator(".guide .count").inner_text().startswith(f"{len(both)} method")
    assert sorted(shown(page)) == sorted(both)
    page.get_by_label("How many labels?").select_option("")
    assert shown(page) == sar  # in the order of the page, too
    assert not page.locator("#modality-sar").is_visible()
    page.goto(f"{address}/guide/?labels=none&modality=hyperspectral&compute=nonsense")
    assert page.get_by_label("How many labels?").input_value() == "none"
    assert page.get_by_label("What do you compute on?").input_value() == ""
    assert page.locator(".guide .picks > li").count() >= 1
    page.get_by_role("button", name="Clear").click()
    assert page.url.endswith("/guide/") and page.locator(".guide .picks").count() == 0
    assert errors == []
    context.close()


@pytest.mark.browser
def test_the_guide_is_whole_without_script_and_from_a_file(browser, address, real_site, asked):
    plain = browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"{address}/guide/")
    assert not page.locator(".guide form").is_visible()
    page.locator("#modality-sar summary").click()
    first = answer(asked, "modality", "sar").methods[0][0]
    assert page.locator("#modality-sar").get_by_text(unescape(guide.command(first)), exact=True).is_visible()
    plain.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto((real_site / "guide" / "index.html").as_uri() + "?modality=sar")
    link = page.locator(".guide .picks > li b a").first
    assert link.get_attribute("href").endswith("index.html")
    link.click()
    page.wait_for_url("**/frameworks/*/index.html")
    context.close()
