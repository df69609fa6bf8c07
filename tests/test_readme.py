"""The README's Python works as printed."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[-1][:40])
def test_python_block_runs(block):
    scope: dict = {}
    exec(compile(block, "README.md", "exec"), scope)
    if "method" in scope:
        assert scope["method"].encoder.width == 2048
    if "loss" in scope:
        assert 2.0 < float(scope["loss"]) < 4.0  # about ln(2 * 8 - 1) = 2.7 for unrelated projections
    if "features" in scope:
        assert scope["features"].shape == (4, 512)


def test_readme_shows_python():
    assert len(BLOCKS) == 3


def test_commands_name_methods_that_exist():
    from refimpl import registry

    named = set(re.findall(r"refimpl (?:run|show|verify) (\w+)", README))
    assert named
    assert named <= set(registry.methods())
