"""Items 1 and 2: every method agrees with an independent reference, and the reference can tell right from wrong."""

from __future__ import annotations

import importlib
from functools import cache

import pytest

from refimpl.references import checks

EXACT = 1e-5  # what rounding may do to a formula; at least one case is of this kind
LOOSEST = 0.05  # for shares and frequencies, which come in whole samples or pixels


def reference(name: str):
    try:
        return importlib.import_module(f"refimpl.references.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"refimpl.references.{name}":
            raise
    pytest.fail(f"{name} has no reference: write refimpl/references/{name}.py with CASES and KNOCKOUTS", pytrace=False)


@cache
def knockouts(name: str) -> dict:
    return reference(name).KNOCKOUTS


def test_formula_agrees_with_its_reference(name):
    reference(name)
    found = checks(name)
    assert found, f"refimpl/references/{name}.py: CASES is empty"
    wrong = [f"{c.name}: error {c.error:.2e}, tolerated {c.tolerance:.0e}" for c in found if not c.passed]
    assert not wrong, "\n".join(wrong)
    loose = [f"{c.name}: tolerates {c.tolerance:.0e}" for c in found if c.tolerance > LOOSEST]
    assert not loose, "\n".join(loose)
    assert min(c.tolerance for c in found) <= EXACT, f"no case of {name} compares to rounding error"
    names = [c.name for c in found]
    assert len(set(names)) == len(names), f"two cases of {name} have one name"


def test_each_knockout_is_noticed(name):
    """With a key idea taken out at least one case fails; else the cases prove nothing about it."""
    broken = knockouts(name)
    assert broken, f"refimpl/references/{name}.py: KNOCKOUTS is empty; take out the paper's key idea"
    unnoticed = []
    for what, take_out in broken.items():
        with pytest.MonkeyPatch.context() as patch:
            take_out(patch.setattr)
            if all(check.passed for check in checks(name)):
                unnoticed.append(what)
    assert not unnoticed, f"no case of {name} fails without: {', '.join(unnoticed)}"
