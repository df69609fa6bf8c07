"""The compare page: what it ranks and what it does not."""

import json

import pytest

from scripts.catalog import load_catalog
from scripts.site import compare
from scripts.site.model import Site


def score(value, lower=None, upper=None, less=False):
    return {"value": value, "lower": lower, "upper": upper, "less": less}


@pytest.fixture(scope="module")
def rank(browser, address):
    page = browser.new_page()
    page.goto(address + "/compare/?ids=framework/mae,framework/byol")
    page.wait_for_function("() => Boolean(Catalog.rank)")
    yield lambda scores: [(s["value"], s["rank"], s["tied"]) for s in page.evaluate("s => Catalog.rank(s)", scores)]
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "scores, expected",
    [
        ([score(80), score(90)], [(90, 1, False), (80, 2, False)]),
        ([score(80), score(80)], [(80, 1, True), (80, 1, True)]),
        ([score(3, less=True), score(2, less=True)], [(2, 1, False), (3, 2, False)]),
        # Intervals that overlap are a tie, whichever value is higher; those that do not are not.
        ([score(80, 78, 82), score(81, 79, 83)], [(81, 1, True), (80, 1, True)]),
        ([score(80, 78, 79.5), score(81, 80, 83)], [(81, 1, False), (80, 2, False)]),
        (
            [score(90, 89, 91), score(80, 78, 82), score(81, 79, 83)],
            [(90, 1, False), (81, 2, True), (80, 2, True)],
        ),
        # One interval alone does not make a tie: the other's spread is not known.
        ([score(80, 78, 82), score(81)], [(81, 1, False), (80, 2, False)]),
    ],
)
def test_ranks_and_ties(rank, scores, expected):
    assert rank(scores) == expected


@pytest.mark.browser
def test_only_one_protocol_is_ranked(browser, real_site):
    """With made-up results in place of the entries' own; opened from a file, without network."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((real_site / "compare" / "index.html").as_uri() + "?ids=framework/mae,framework/byol,framework/moco")
    page.locator("table.versus").wait_for()
    result = {"metric": "accuracy", "dataset": "D", "value": 70, "unit": "%", "protocol": "knn", "setting": "R50"}

    catalog = load_catalog()

    def of(key, *results):
        kind, name = key.split("/")
        entry = catalog.entries[kind, name]
        entry.data["results"] = [{**result, **r} for r in results]
        return compare._reported(Site(catalog), entry)

    made = {
        "framework/mae": of("framework/mae", {}, {"protocol": "linear_probe"}, {"dataset": "E", "setting": "ViT-B"}),
        "framework/byol": of("framework/byol", {"value": 71}, {"dataset": "E", "setting": "ViT-L"}),
        "framework/moco": of("framework/moco", {"value": 69}, {"protocol": "fine_tuning"}),
    }
    page.evaluate(
        "made => { for (const [key, list] of Object.entries(made)) catalogEntries[key].reported = list;"
        "  Catalog.selection.set([]); document.querySelector('.drop').click(); }",
        made,
    )
    page.wait_for_function("document.querySelectorAll('.versus thead th').length === 2")
    page.get_by_label("Add").fill("mae")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.versus thead th').length === 3")
    tables = page.locator("table.scores").all()
    text = {t.locator("caption").inner_text(): t.locator("tbody tr").all_inner_texts() for t in tables}
    knn = next(rows for caption, rows in text.items() if caption == "accuracy, D, k-NN")
    assert [row.split("\t")[:2] for row in knn] == [["1", "BYOL"], ["2", "MAE"], ["3", "MoCo"]]
    other = next(rows for caption, rows in text.items() if caption == "accuracy, E, k-NN")
    assert all(row.startswith("not ranked") for row in other)  # one data set, two settings
    assert all("k-NN" in caption for caption in text)  # of the other protocols each has one entry only
    context.close()


@pytest.mark.browser
def test_runs_of_one_fingerprint_are_ranked_with_their_intervals(browser, address):
    page = browser.new_page()
    page.goto(address + "/compare/?ids=framework/simclr,framework/deepcluster,framework/mae")
    table = page.locator("table.scores", has_text="linear probe accuracy").first
    table.wait_for()
    rows = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
    assert [row[1] for row in rows] == ["SimCLR", "DeepCluster", "MAE"]
    assert rows[0][0] == rows[1][0] == "1 (tie)" and rows[2][0] == "3"  # 87.3 and 86.9 %: their intervals overlap
    page.close()


@pytest.mark.browser
def test_set_aside_on_entry_pages_then_compared(browser, address):
    context = browser.new_context()
    page = context.new_page()
    for name in ("mae", "byol"):
        page.goto(f"{address}/frameworks/{name}/")
        page.get_by_role("button", name="Add to comparison").click()
        assert page.get_by_role("button", name="Remove from comparison").is_visible()
    page.get_by_role("link", name="Compare 2").click()
    page.wait_for_url("**/compare/?ids=framework/mae,framework/byol")
    page.locator("table.versus").wait_for()
    assert page.locator("table.versus thead th").all_inner_texts()[0].split("\n")[-2:][0].startswith(("MAE", "×"))
    page.get_by_role("button", name="Remove MAE").click()
    page.locator(".count", has_text="Add one more").wait_for()
    context.close()


@pytest.mark.parametrize(
    "metric, less",
    [("top-1 accuracy", False), ("top-1 error", True), ("abundance RMSE", True), ("mean spectral angle", True),
     ("mIoU", False), ("F1", False), ("mAP", False)],
)  # fmt: skip
def test_direction_of_a_metric(metric, less):
    assert compare._score({"metric": metric, "value": 1}, [], "", "", "")["less"] is less


def test_runs_without_a_fingerprint_are_not_comparable():
    assert json.dumps(compare._score({"metric": "a", "value": True}, ["x"], "", "", "")["value"]) == "null"
