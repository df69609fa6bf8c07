"""The site as one archive that works from a disk: unpack it, open index.html, no server and no network.

    python -m scripts.archive                     builds the site and writes dist/ssl-for-earth-<version>.zip
    python -m scripts.archive --site site         the same from a site that is built already
    python -m scripts.archive --out elsewhere     into another folder

A server answers the address of a folder with its index.html, a disk lists its files; so every link to a folder of the
site is written out. The same site gives the same archive, byte by byte. Exit status: 0 written, 1 not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import zipfile
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from scripts.rendering import render
from scripts.site.build import ROOT

NAME = "ssl-for-earth"
# Quoted values are passed over whole, so that an address within one is left alone.
_ATTRIBUTE = re.compile(r"""(?<=\s)([^\s=>/"']+)=("[^"]*"|'[^']*'|[^\s"'>]+)""")
_ADDRESSES = {"href", "src", "action", "xlink:href"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.archive", description=__doc__.split("\n\n")[0])
    parser.add_argument("--site", type=Path, help="folder of a built site (default: build it)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder to write into (default: dist)")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            site = options.site or build_site(Path(scratch))
            path = pack(site, options.out / f"{NAME}-{version(NAME)}.zip")
    except OSError as error:
        print(f"archive: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sha256 {digest}")
    return 0


def build_site(target: Path) -> Path:
    """The real site, built into an empty folder."""
    render(ROOT / "mkdocs.yml", target, strict=True)
    return target


def pack(site: Path, archive: Path) -> Path:
    """Writes the files of a built site, pages with links that name files, into one zip; all of it or nothing.

    Raises:
        FileNotFoundError: there is no built site in the folder.
        OSError: the archive cannot be written.
    """
    if not (site / "index.html").is_file():
        raise FileNotFoundError(2, "no built site here; make one with `make site`", str(site))
    files = sorted(path for path in site.rglob("*") if path.is_file())
    folders = {PurePosixPath(path.relative_to(site).as_posix()).parent for path in files if path.name == "index.html"}
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(archive.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as made:
            for path in files:
                name = PurePosixPath(path.relative_to(site).as_posix())
                content = path.read_bytes()
                if name.suffix == ".html":
                    content = name_files(content.decode("utf-8"), name.parent, folders).encode("utf-8")
                entry = zipfile.ZipInfo(f"{NAME}/{name}")  # dated 1980, as where no date is given
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                made.writestr(entry, content)
        os.replace(part, archive)
    finally:
        part.unlink(missing_ok=True)
    return archive


def name_files(page: str, here: PurePosixPath, folders: set[PurePosixPath]) -> str:
    """The page in folder `here` with `index.html` added to each address of one of `folders`; text stays as it is."""

    def named(match: re.Match) -> str:
        if match[1] not in _ADDRESSES:
            return match[0]
        value = match[2]
        quote = value[0] if value[0] in "\"'" else ""
        address = value.strip("\"'")
        path, mark, rest = re.fullmatch(r"([^?#]*)([?#]?)(.*)", address, re.DOTALL).groups()
        if not path or ":" in path or path.startswith("/"):
            return match[0]
        target = PurePosixPath(os.path.normpath(here / path))
        if target not in folders:
            return match[0]
        return f"{match[1]}={quote}{path.rstrip('/')}/index.html{mark}{rest}{quote}"

    tags = _Tags(page)
    out, done = [], 0
    for start, tag in tags.found:
        out += [page[done:start], _ATTRIBUTE.sub(named, tag)]
        done = start + len(tag)
    return "".join([*out, page[done:]])


class _Tags(HTMLParser):
    """Where the start tags of a page are; what looks like a tag in a script or a comment is none."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[int, str]] = []
        self._lines = [0]
        for line in page.split("\n"):  # only these end a line for the parser
            self._lines.append(self._lines[-1] + len(line) + 1)
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        line, column = self.getpos()
        self.found.append((self._lines[line - 1] + column, self.get_starttag_text()))

    handle_startendtag = handle_starttag


if __name__ == "__main__":
    sys.exit(main())
