"""Imports point one way, and the catalog's programs never wait for torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each layer of refimpl may import from refimpl: itself and what lies below.
LAYERS = [
    ("cli", "__main__", ""),
    ("studies",),
    ("methods", "references"),
    ("parts",),
    ("backbones", "data", "evaluation", "engine"),
    ("registry",),
]
HEIGHT = {part: -i for i, layer in enumerate(LAYERS) for part in layer}


def layer_of(module: str) -> str:
    """ "refimpl.engine.loop" -> "engine"; the package itself is ""."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(path: Path, package: str) -> list[tuple[int, str]]:
    """(line, module) of every import from `package`, at the top of the file or inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            folder = ROOT.joinpath(*node.module.split("."))
            for alias in node.names:  # a module of that package, or a name in that module
                is_module = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                found.append((node.lineno, f"{node.module}.{alias.name}" if is_module else node.module))
    return [(line, module) for line, module in found if module.split(".")[0] == package]


REFIMPL = sorted((ROOT / "refimpl").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("path", REFIMPL, ids=lambda p: str(p.relative_to(ROOT)))
def test_refimpl_imports_only_downwards(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    here = HEIGHT[layer_of(module)]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {target}"
        for line, target in imported(path, "refimpl")
        if HEIGHT[layer_of(target)] > here
    ]
    assert not wrong, "imports from a layer above: " + ", ".join(wrong)
    assert not imported(path, "scripts"), "refimpl knows nothing of the catalog's programs"


def test_methods_do_not_import_one_another():
    """One paper, one file; what several share is a part."""
    for path in sorted((ROOT / "refimpl" / "methods").glob("*/*.py")):
        wrong = [target for _, target in imported(path, "refimpl") if target.startswith("refimpl.methods.")]
        assert not wrong, f"{path.name} imports {wrong[0]}; move what they share to refimpl/parts"


def test_references_know_only_their_own_method():
    for path in sorted((ROOT / "refimpl" / "references").glob("*.py")):
        for line, target in imported(path, "refimpl"):
            if target.startswith("refimpl.methods.") and path.stem != "__init__":
                assert target.endswith(f".{path.stem}"), f"{path.name}:{line} imports {target}"


RUNNING = {"benchmark", "faults", "scale"}  # packages of scripts/ that run implementations


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_scripts_ask_refimpl_only_for_its_registry(path):
    if RUNNING.intersection(path.parts):
        pytest.skip("it runs implementations; test_nothing_imports_what_runs_implementations")
    for line, target in imported(path, "refimpl"):
        assert target in ("refimpl", "refimpl.registry"), f"{path.relative_to(ROOT)}:{line}: {target}"
    assert not imported(path, "torch"), "the site builds where torch is absent"


def test_nothing_imports_what_runs_implementations():
    """So that what builds the site needs no torch, though the programs that measure do."""
    for path in SCRIPTS:
        if not RUNNING.intersection(path.parts):
            targets = [target.split(".")[1] for _, target in imported(path, "scripts") if "." in target]
            assert not RUNNING.intersection(targets), path


WITHOUT = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused!r}:
            raise ImportError(name + " was imported")

sys.meta_path.insert(0, Refuse())
for name in {modules!r}:
    importlib.import_module(name)
"""


def run_without(refused: tuple[str, ...], modules: list[str], then: str = "") -> None:
    code = WITHOUT.format(refused=refused, modules=modules) + then
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_scripts_and_registry_run_without_torch():
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p in SCRIPTS
        if not p.stem.startswith("__") and not RUNNING.intersection(p.parts)
    ]
    then = "from refimpl import registry\nassert registry.methods() and registry.rung_hash('simclr', 'runs')"
    run_without(("torch", "timm", "numpy", "scipy"), [*modules, "refimpl.registry"], then)


def test_listing_methods_does_not_import_torch():
    run_without(("torch",), ["refimpl.cli"], "assert sys.modules['refimpl.cli'].main(['list', '--json']) == 0")
