"""The archive: unpacked on a disk, without server and network, it searches, filters, compares and copies."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from refimpl import registry
from scripts import archive

FOLDERS = {PurePosixPath(path) for path in (".", "explore", "frameworks", "frameworks/mae")}
HERE = PurePosixPath("frameworks/mae")


@pytest.mark.parametrize(
    "tag, wanted",
    [
        ('<a href="../">', '<a href="../index.html">'),
        ('<a href="../..">', '<a href="../../index.html">'),
        ('<a href="./#how">', '<a href="./index.html#how">'),
        (
            "<a class=x href=../../explore/?q=a&amp;kind=term>",
            "<a class=x href=../../explore/index.html?q=a&amp;kind=term>",
        ),
        ("<form action='../../explore/'>", "<form action='../../explore/index.html'>"),
        ('<svg><a xlink:href="../mae/"/></svg>', '<svg><a xlink:href="../mae/index.html"/></svg>'),
        # What is no page of the site stays as it is, and so does text.
        ('<a href="#how">', None),
        ('<a href="https://example.org/mae/">', None),
        ('<a href="/frameworks/mae/">', None),
        ('<img src="../../assets/icon.svg">', None),
        ("<a title='its href=\"../\" there'>", None),
        ('<code>&lt;a href="../"></code>', None),
        ("<script>const made = '<a href=\"../\">';</script>", None),
        ('<!-- <a href="../"> -->', None),
    ],
)
def test_links_to_folders_name_files(tag, wanted):
    page = f"<p>\N{LINE SEPARATOR}\r\n <b>x</b>{tag} after"
    assert archive.name_files(page, HERE, FOLDERS) == page.replace(tag, wanted or tag)


def test_no_archive_without_a_site(tmp_path, capsys):
    assert archive.main(["--site", str(tmp_path), "--out", str(tmp_path / "dist")]) == 1
    assert f"archive: {tmp_path}: no built site here; make one with `make site`" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


@pytest.fixture(scope="module")
def unpacked(real_site, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    assert archive.main(["--site", str(real_site), "--out", str(folder)]) == 0
    [packed] = folder.iterdir()
    with zipfile.ZipFile(packed) as made:
        made.extractall(folder)
    again = archive.pack(real_site, folder / "again.zip")
    assert again.read_bytes() == packed.read_bytes()
    return folder / archive.NAME


def test_it_holds_the_site_and_every_link_leads_to_a_file(unpacked, real_site):
    def files(folder):
        return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}

    assert files(unpacked) == files(real_site)
    links = 0
    for page in unpacked.rglob("index.html"):
        for address in re.findall(r'<a\b[^>]*\shref="([^"#?:]+)["#?]', page.read_text("utf-8")):
            links += 1
            assert (page.parent / address).is_file(), f"{page}: {address}"
    assert links > 10_000


@pytest.mark.browser
def test_searches_filters_compares_and_copies_from_a_disk(unpacked, browser):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto((unpacked / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("mocov2")
    page.locator('.find__list a[href*="frameworks/moco_v2/"]').click()
    page.wait_for_url("**/frameworks/moco_v2/index.html")

    page.locator("nav a", has_text="Explore").first.click()  # a link that was written without script
    page.locator(".rows li").first.wait_for()
    everything = page.locator(".count").inner_text()
    page.locator('details[data-facet="modality"]').get_by_label("Hyperspectral").check()
    page.wait_for_function("before => document.querySelector('.count').innerText !== before", arg=everything)
    page.locator(".rows input").nth(0).check()
    page.locator(".rows input").nth(1).check()
    page.locator("a.go", has_text="Compare 2").click()
    page.wait_for_url(re.compile(r"/compare/index\.html\?ids="))
    page.locator("table.versus thead th").nth(1).wait_for()

    page.locator("nav a", has_text="Implementations").first.click()
    page.locator('a[href*="simclr/index.html"]').first.click()
    command = page.locator(".cmd", has_text=registry.find("simclr").command)
    command.locator("button.copy").click()
    command.locator("text=Copied").wait_for()

    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
