"""The registry reads methods from their files, and says so when a file holds none."""

import subprocess
import sys

import pytest

from refimpl import registry
from refimpl.studies.build import method_class


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty methods/ folder in place of the real one."""
    monkeypatch.setattr(registry, "METHODS", tmp_path)
    registry.methods.cache_clear()
    yield tmp_path
    registry.methods.cache_clear()


def add(shelf, family, name, source):
    (shelf / family).mkdir(exist_ok=True)
    (shelf / family / f"{name}.py").write_text(source)


def test_facts_are_those_of_the_class(name):
    entry, cls = registry.find(name), method_class(name)
    for fact in ("needs", "backbone", "protocol", "turns", "couples_samples", "smoke", "proof"):
        assert getattr(entry, fact) == getattr(cls, fact), fact


def test_a_file_without_a_method_is_named(shelf):
    add(shelf, "masked", "nothing", "class Nothing(object):\n    pass\n")
    with pytest.raises(registry.RegistryError, match=r"nothing\.py: no class derived from Method"):
        registry.methods()


def test_one_name_in_two_families_is_named(shelf):
    for family in ("masked", "clustering"):
        add(shelf, family, "twice", '"""Twice: once too often."""\nclass Twice(Method):\n    pass\n')
    with pytest.raises(registry.RegistryError, match="has that name already"):
        registry.methods()


def test_a_fact_that_would_have_to_be_computed_is_named(shelf):
    source = '"""Sums: too clever."""\nclass Sums(Method):\n    proof = {\n        "epochs": 2 * 5}\n'
    add(shelf, "masked", "sums", source)
    with pytest.raises(registry.RegistryError, match=r"sums\.py, line 3: proof is read without running the file"):
        registry.methods()


def test_unknown_method_gets_the_nearest_name():
    with pytest.raises(registry.UnknownMethod) as caught:
        registry.find("sim-clr")
    assert str(caught.value).startswith("unknown method 'sim-clr'; did you mean simclr")


def test_comments_and_docstrings_do_not_change_a_hash(tmp_path, monkeypatch):
    path = tmp_path / "a.py"
    path.write_text("def f(x):\n    return x + 1\n")
    plain = registry._meaning(path)
    other = tmp_path / "b.py"
    other.write_text('# why\ndef f(x):\n    """What."""\n    return x + 1  # so\n')
    changed = tmp_path / "c.py"
    changed.write_text("def f(x):\n    return x + 2\n")
    assert registry._meaning(other) == plain
    assert registry._meaning(changed) != plain


def test_listing_needs_no_torch():
    code = "import sys; from refimpl import registry; registry.methods(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
