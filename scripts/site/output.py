"""The folder that is written: only files whose content changed, and nothing left over from entries that are gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

KEPT = {".gitignore"}


class Output:
    """Collects files in memory, then makes a folder equal to them.

    Args:
        folder: what is written; every file in it that was not added is removed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, bytes] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def add(self, path: str, content: str | bytes) -> None:
        """Adds one file. Raises ValueError where two things want one path."""
        if path in self._files:
            raise ValueError(f"two pages want the address {path}: rename one of them")
        self._files[path] = content.encode("utf-8") if isinstance(content, str) else content

    def markdown(self) -> list[tuple[str, str]]:
        """Path and text of every page collected so far."""
        return [(path, text.decode("utf-8")) for path, text in self._files.items() if path.endswith(".md")]

    def add_json(self, path: str, value: object) -> None:
        self.add(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str) + "\n")

    def paths(self) -> list[str]:
        return list(self._files)

    def content(self, path: str) -> bytes:
        return self._files[path]

    def addresses(self) -> list[str]:
        """Where what was added is found on the built site: a page by its folder, everything else by its file."""
        pages = {p: p.removesuffix("index.md") if p.endswith("index.md") else p[:-3] + "/" for p in self._files}
        folders = {p: p.removesuffix("index.html") for p in self._files if p.endswith("/index.html")}
        return [folders.get(p) or (pages[p] if p.endswith(".md") else p) for p in self._files]

    def _stale(self) -> list[Path]:
        if not self.folder.exists():
            return []
        found = (p for p in self.folder.rglob("*") if p.is_file() or p.is_symlink())
        return [p for p in found if p.name not in KEPT and p.relative_to(self.folder).as_posix() not in self._files]

    def _changed(self) -> list[str]:
        def same(path: str) -> bool:
            target = self.folder / path
            return target.is_file() and target.read_bytes() == self._files[path]

        return [path for path in self._files if not same(path)]

    def differences(self) -> list[str]:
        """What `write` would do, one line each; nothing is touched."""
        removed = [f"remove {p.relative_to(self.folder).as_posix()}" for p in self._stale()]
        return sorted([f"write {path}" for path in self._changed()] + removed)

    def write(self) -> tuple[int, int, int]:
        """Makes the folder equal to the collection. Returns how many files were written, removed, left alone."""
        changed, stale = self._changed(), self._stale()
        for path in stale:
            path.unlink()
        for folder in sorted((p for p in self.folder.rglob("*") if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
        for path in changed:
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(self._files[path])
            os.replace(partial, target)
        return len(changed), len(stale), len(self._files) - len(changed)
