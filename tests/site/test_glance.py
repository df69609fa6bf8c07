"""The table of all implementations: one row each, gains from the proofs on record."""

import re

import pytest
from real import real

from refimpl import registry
from scripts.site import implementations, ladder


def gain(trained, random, metric="linear probe accuracy", unit="%", current=True):
    rung = {"metric": metric, "unit": unit, "trained": trained, "random": random}
    shown, of = implementations._gain(({}, rung, current))
    return re.sub(r"<[^>]*>", "", shown.content), shown.key, of.content


@pytest.mark.parametrize(
    "proved, wanted",
    [
        (gain([80.0, 74.0], [70.0, 70.0]), ("7.0 points [4.0, 10.0]", 7.0, "linear probe accuracy")),
        (gain([80.0], [70.0], current=False), ("10.0 points [10.0, 10.0] before the code changed", 10.0, None)),
        # Of an error less is better; it is not to be sorted among percentages.
        (gain([0.1, 0.2], [0.4, 0.4], "abundance RMSE", "1"), ("0.25 [0.2, 0.3]", None, "abundance RMSE")),
    ],
)
def test_mean_and_range_of_the_seeds(proved, wanted):
    shown, key, of = proved
    assert shown == wanted[0]
    assert key == (pytest.approx(wanted[1]) if wanted[1] is not None else None)
    assert wanted[2] in (None, of)


def test_one_row_for_each_and_no_gain_without_a_proof():
    site = real()
    page = implementations.index(site)
    rows = re.findall(r"<tr>(.*?)</tr>", page.partition('id="glance"')[2].partition("<tbody>")[2], re.DOTALL)
    assert len(rows) == len(registry.methods())
    for row in rows:
        name = re.search(r'href="(?:\.\./implementations/)?([a-z0-9_]+)/"', row)[1]
        assert ("not shown yet" in row) == (ladder.proof(name, "learns", site.verifications) is None), name
