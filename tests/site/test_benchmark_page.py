"""The page of the benchmark: without a file, with one, and with one that is wrong or means harm."""

import json
from html.parser import HTMLParser

import pytest

from scripts.comparisons import Comparison, Fact, Result, as_json
from scripts.site import benchmarks, build


def comparison(**changes) -> Comparison:
    values = {
        "part": "views", "case": "2 views, 3 bands", "peer": "near", "unit": "images/core-s", "ours": 5200.0,
        "theirs": 2600.0, "ratio": 2.0, "low": 1.5, "high": 2.5, "rounds": 5, "operations": ("crop", "flip"),
    }  # fmt: skip
    return Comparison(**{**values, **changes})


def made(*rows, **changes) -> Result:
    values = {
        "made": "2026-01-02T03:04:05Z", "commit": "abc1234", "device": "CPU X", "device_type": "cpu", "threads": 1,
        "versions": {"torch": "2.9"}, "settings": {"bands": [3, 13], "quick": False},
    }  # fmt: skip
    result = Result(**{**values, **changes})
    for row in rows:
        result.add(row)
    return result


def store(folder, result: Result, name: str = "one.json"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(as_json(result))
    return folder / name


def page_of(result: Result) -> str:
    return benchmarks.page([("one.json", result)])


def test_without_a_file_the_page_says_how_to_get_one(tmp_path):
    page = benchmarks.page(benchmarks.read_all(tmp_path / "nowhere"))
    assert "No measurement is on record yet" in page
    assert "python -m scripts.benchmark --peers all" in page


def test_a_result_is_shown_with_its_bars():
    rows = [comparison(), comparison(peer="far", ratio=4.0, high=4.5), Fact("loop", "added", 0.04, "1")]
    page = page_of(made(*rows, absent={"ghost": "not installed"}))
    assert "No measurement" not in page
    for part in ("CPU X, 2026-01-02", "commit abc1234", "torch 2.9", "bands 3 13", "5\u202f200", "crop, flip",
                 "<b>2.00</b> <small>[1.50,&nbsp;2.50]</small>", "ghost: not installed", "4.0%"):  # fmt: skip
        assert part in page, part
    assert page.index("2 ✓ met") < page.index("0.04 ✗ missed")
    assert "Of 2 bars that the project set itself, 1 is met" in page
    assert "<b>4.00</b>" not in page  # only the closest peer stands out


def test_the_page_and_the_record_are_written(repository):
    assert not list((repository.root / "catalog").glob("benchmarks"))
    assert "No measurement" in (repository.generate() / "benchmark.md").read_text()
    store(repository.root / "catalog" / "benchmarks", made(comparison()))
    folder = repository.generate()
    assert 'href="../api/v1/benchmarks/one.json"' in (folder / "benchmark.md").read_text()
    assert json.loads((folder / "api/v1/benchmarks/one.json").read_text())["device"] == "CPU X"


def test_work_that_is_not_equal_stands_in_brackets():
    page = page_of(made(comparison(equal=False, note="one draw for all")))
    assert "(2.00)" in page and "one draw for all" in page
    assert "bars that the project" not in page


def test_operations_are_said_once_and_what_a_row_lacks_in_it():
    page = page_of(made(comparison(), comparison(peer="poor", operations=("crop",), note="slow")))
    assert page.count("crop, flip") == 1
    assert "both without flip; slow" in page


def test_the_newest_comes_first(tmp_path):
    store(tmp_path, made(comparison(), device="Older", made="2025-01-01T00:00:00Z"), "a.json")
    store(tmp_path, made(comparison(), device="Newer", made="2026-01-01T00:00:00Z"), "b.json")
    assert [name for name, _ in benchmarks.read_all(tmp_path)] == ["b.json", "a.json"]


def test_results_of_one_machine_and_day_are_told_apart():
    trained = [(("simclr",), ("resnet18",)), (("simclr",), ("vit_tiny",)), (("simclr", "mae"), ("vit_tiny",))]
    results = [made(comparison(), settings={"methods": list(m), "backbones": list(b)}) for m, b in trained]
    page = benchmarks.page([(f"{number}.json", result) for number, result in enumerate(results)])
    headings = [line for line in page.splitlines() if line.startswith("## ") and "CPU X" in line]
    assert len(headings) == len(set(headings)) == 3


def test_a_bar_ends_where_its_ratio_is():
    drawn = benchmarks.drawn(comparison(), longest=4.0, width=100)
    assert 'width="50.0"' in drawn  # ratio 2 of 4
    assert "M25.0 0V" in drawn  # the line at 1
    assert "M37.5 5H62.5" in drawn  # quartiles 1.5 to 2.5
    assert 'width="100.0"' in benchmarks.drawn(comparison(ratio=9.0), longest=4.0, width=100)


def test_names_cannot_inject_markup():
    bad = '<script>alert(1)</script>"&`*'
    rows = [comparison(case=bad, peer=bad, note=bad, operations=(bad,)), Fact(bad, bad, 1.0, bad, bad)]
    page = page_of(made(*rows, device=bad, commit=bad, versions={bad: bad}, absent={bad: bad}))
    assert "<script>alert" not in page

    class Tags(HTMLParser):
        found = set()

        def handle_starttag(self, tag, attributes):
            self.found.add(tag)

    Tags().feed(page)
    assert "script" not in Tags.found


def test_a_broken_file_is_one_line_that_names_it(repository):
    store(repository.root / "catalog" / "benchmarks", made(comparison())).write_text("{")
    with pytest.raises(build.SiteError) as caught:
        repository.generate()
    assert "one.json" in str(caught.value) and "\n" not in str(caught.value)


def test_the_rendered_page_is_reached_from_every_page(real_site):
    page = (real_site / "benchmark" / "index.html").read_text(encoding="utf-8")
    assert "<h1" in page and "python -m scripts.benchmark" in page
    assert 'href="benchmark/"' in (real_site / "index.html").read_text(encoding="utf-8")
