"""Which methods exist, read from their source without running it (so it works where torch is not installed).

A method is a file `refimpl/methods/<family>/<name>.py` with one class derived from `Method`. Its facts are that
class's literal attributes; its title is the first line of the module docstring.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import io
import tokenize
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent
METHODS = ROOT / "methods"

# Class attributes of `refimpl.engine.method.Method` that say what a method needs; defaults are read there too.
_FACTS = ("needs", "backbone", "protocol", "turns", "couples_samples", "smoke", "proof", "presets")


class UnknownMethod(KeyError):
    """No such method; str() is one line with the nearest names."""

    def __str__(self) -> str:
        return self.args[0]


class RegistryError(ValueError):
    """Files under methods/ that cannot be registered; the message is one line with the remedy."""


@dataclass(frozen=True)
class Entry:
    """One registered implementation."""

    name: str
    family: str
    path: Path
    class_name: str
    title: str
    doc: str
    needs: tuple[str, ...]
    backbone: str
    protocol: str
    turns: tuple[str, ...]
    couples_samples: bool
    smoke: dict
    proof: dict
    presets: dict

    @property
    def module(self) -> str:
        return f"refimpl.methods.{self.family}.{self.name}"

    @property
    def command(self) -> str:
        """The command that the site shows and the smoke tests execute."""
        return f"python -m refimpl run {self.name} --smoke"

    @property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())


def _literals(node: ast.ClassDef, path: Path) -> dict:
    """The facts that a class states. Raises RegistryError where one has to be computed: nothing is run to read them."""
    found = {}
    for item in node.body:
        if not isinstance(item, ast.Assign | ast.AnnAssign):
            continue
        targets = item.targets if isinstance(item, ast.Assign) else [item.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _FACTS and item.value is not None:
                try:
                    found[target.id] = ast.literal_eval(item.value)
                except ValueError:
                    place = f"{path}, line {item.lineno}: {target.id}"
                    raise RegistryError(f"{place} is read without running the file; write plain values") from None
    return found


def _class(tree: ast.Module, base: str) -> ast.ClassDef | None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(getattr(b, "id", None) == base for b in node.bases):
            return node
    return None


@lru_cache(maxsize=1)
def _base_facts() -> dict:
    path = ROOT / "engine" / "method.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return _literals(next(node for node in tree.body if getattr(node, "name", "") == "Method"), path)


@lru_cache(maxsize=1)
def methods() -> dict[str, Entry]:
    """Every implementation by name, sorted.

    Raises:
        RegistryError: a file that holds none, a name used twice, a fact that is not written out.
    """
    found = {}
    for path in sorted(METHODS.glob("*/*.py")):
        if path.name.startswith("_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        node = _class(tree, "Method")
        if node is None:
            raise RegistryError(f"{path}: no class derived from Method by that name; add one, or start its name with _")
        if path.stem in found:
            raise RegistryError(f"{path}: {found[path.stem].path} has that name already; choose another")
        doc = ast.get_docstring(tree) or ""
        facts = {**_base_facts(), **_literals(node, path)}
        found[path.stem] = Entry(
            name=path.stem,
            family=path.parent.name,
            path=path,
            class_name=node.name,
            title=doc.partition("\n")[0],
            doc=doc,
            **facts,
        )
    return dict(sorted(found.items()))


def find(name: str) -> Entry:
    """The implementation called `name`. Raises UnknownMethod with the nearest names."""
    known = methods()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`python -m refimpl list` shows all"
    raise UnknownMethod(f"unknown method {name!r}; {hint}")


# -- code hashes: a rung of the ladder expires when the code it was computed from changes ------------------------------

# What shows, keeps or guards a result: changing these cannot change one.
_COSMETIC = {
    "refimpl.cli",
    "refimpl.registry",
    "refimpl.studies.report",
    "refimpl.engine.checkpoint",
    "refimpl.engine.errors",
    "refimpl.engine.log",
    "refimpl.engine.nerve",
    "refimpl.engine.progress",
}


def _module_path(module: str) -> Path | None:
    base = ROOT.parent.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{a.name}" for a in node.names)
    return {m for m in found if m.split(".")[0] == "refimpl" and _module_path(m)}


def _meaning(path: Path) -> str:
    """The code of a file without comments, docstrings and blank lines; the same under every version of Python.

    (A dump of the syntax tree would also be blind to line breaks, but its form changes with the version.)
    """
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))


@lru_cache(maxsize=4096)
def _reading(path: Path, stamp: int) -> tuple[str, frozenset[str]]:
    """Meaning and imports of a file as it was at `stamp`; many hashes share the same few modules."""
    return _meaning(path), frozenset(_imports(path))


def code_hash(*modules: str) -> str:
    """Hash of the named modules and of all of refimpl that they import; see `_meaning` for what it is blind to."""
    todo, seen = list(modules), {}
    while todo:
        module = todo.pop()
        path = _module_path(module)
        if module in seen or module in _COSMETIC or path is None:
            continue
        seen[module], imports = _reading(path, path.stat().st_mtime_ns)
        todo.extend(imports)
    h = hashlib.sha256()
    for module in sorted(seen):
        h.update(module.encode() + seen[module].encode())
    return h.hexdigest()[:16]


def rung_hash(name: str, rung: str) -> str:
    """Code hash that a rung of the verification ladder ("runs", "matches", "learns", "measured") depends on."""
    entry = find(name)
    run = ("refimpl.engine.loop", f"refimpl.evaluation.{entry.protocol}")
    shown = f"refimpl.data.{entry.proof.get('data', 'synthetic').replace('-', '.')}"  # synthetic-objects: its module
    return code_hash(
        entry.module,
        *{
            "runs": (*run, "refimpl.studies.run"),
            "matches": (f"refimpl.references.{name}",),
            "learns": (*run, "refimpl.data.synthetic", shown),
            "measured": run,
        }[rung],
    )
