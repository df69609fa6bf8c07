import json

import pytest

from refimpl import registry
from scripts import generate as command
from scripts.site import build

NAME = next(iter(registry.methods()))
PAPER = {"title": "A Paper", "authors": ["Ann Bee"], "venue": "ICML", "year": 2020, "arxiv": "2001.00001"}


@pytest.fixture
def filled(repository):
    repository.entry("backbones", "net", name="Net", family="convolutional")
    repository.entry(
        "frameworks", "first", name="First-Method", aliases=["FirstMethod", "first method"], family="contrastive",
        modality=["multispectral"], facts={"predicts": "the view"}, paper=PAPER, year=2020,
        relations={"uses_backbone": ["net"]}, refimpl={"name": NAME, "fidelity": "own"}, unknown=["code"],
        corrections=[{"field": "year", "claimed": "2021", "correct": "2020", "source": "paper"}], origin=["F01"],
    )  # fmt: skip
    repository.entry("terms", "alpha", name="Alpha", definition="The first letter, and what comes before beta." * 2)
    repository.entry("terms", "beta", name="Beta", definition="The second letter, after alpha and before gamma." * 2)
    repository.entry("challenges", "hard", name="Hard", area="rs", demonstrates=[NAME])
    return repository


def run_record(**changes):
    scores = [{"metric": "k-NN", "value": 90.0, "unit": "%", "features": "trained"}]
    return {
        "record": "run", "schema": 1, "id": "abc", "method": NAME, "protocol": "scene", "config": {}, "seed": 0,
        "data": {"name": "synthetic", "digest": "0" * 16, "synthetic": True, "samples": 10}, "code_hash": "0" * 16,
        "started": "2026-01-01T00:00:00Z", "seconds": 1.0, "device": "CPU", "versions": {},
        "curve": [[0, 2.0], [1, 1.0]],
        "scores": scores, **changes,
    }  # fmt: skip


def test_an_entry_page_has_all_its_parts(filled):
    page = (filled.generate() / "frameworks" / "first.md").read_text()
    for part in (
        "# First-Method", "Also written: FirstMethod, first method", "A summary that is long enough",
        f"<code>python -m refimpl run {NAME} <i>--smoke</i></code>", "## Verification", "<b>measured</b>", "A Paper",
        '<a href="#s1">1</a>', "Looked for and not found: code", "<del>2021</del>", "<ins>2020</ins>",
        '<a href="../../backbones/net/">Net</a>', "@inproceedings{bee2020first,", 'id="s1"', "rows F01",
    ):  # fmt: skip
        assert part in page, part


def test_relations_show_on_the_other_side(filled):
    page = (filled.generate() / "backbones" / "net.md").read_text()
    assert "<th>backbone of</th>" in page
    assert '<a href="../../frameworks/first/">First-Method</a>' in page


def test_edit_links_appear_with_the_address_of_the_repository(filled):
    assert "Edit this" not in (filled.generate() / "frameworks" / "first.md").read_text()
    settings = filled.root / "mkdocs.yml"
    settings.write_text(settings.read_text() + "\nrepo_url: https://example.org/a/b\n")
    page = (filled.generate() / "frameworks" / "first.md").read_text()
    assert 'href="https://example.org/a/b/edit/main/catalog/frameworks/first.yml"' in page


def test_the_second_time_nothing_is_written(filled):
    filled.generate()
    written, removed, same = build.generate(filled.root)
    assert (written, removed) == (0, 0) and same > 10


def test_pages_of_removed_entries_go(filled):
    folder = filled.generate()
    (filled.root / "catalog" / "terms" / "beta.yml").unlink()
    filled.generate()
    assert (folder / "terms" / "alpha.md").exists()
    assert not (folder / "terms" / "beta.md").exists()
    assert not (folder / "api" / "v1" / "term" / "beta.json").exists()


def test_glossary_is_alphabetical_with_anchors(filled):
    page = (filled.generate() / "terms" / "index.md").read_text()
    assert page.index('id="alpha"') < page.index('id="beta"')
    assert '<a href="#alpha">A</a>' in page


def test_challenges_name_the_implementations_that_show_them(filled):
    page = (filled.generate() / "challenges" / "index.md").read_text()
    assert f'<a href="../implementations/{NAME}/"><code>{NAME}</code></a>' in page


def test_runs_are_shown_and_marked(filled):
    results, runs = filled.root / "catalog" / "results", filled.root / "runs"
    results.mkdir()
    (results / f"{NAME}-synthetic-abc.json").write_text(json.dumps(run_record()))
    for name, content in {
        "mine": json.dumps(run_record(id="local")),
        "published": json.dumps(run_record()),
        "broken": "{",
    }.items():
        (runs / name).mkdir(parents=True)
        (runs / name / "record.json").write_text(content)
    page = (filled.generate() / "implementations" / f"{NAME}.md").read_text()
    assert page.count('<section class="run">') == 2
    assert page.count("run on this machine") == 1
    assert page.count("synthetic data") == 2
    assert f'href="../../records/{NAME}-synthetic-abc/"' in page
    assert "no run on real data on record" in page


def test_json_holds_what_was_declared_and_what_was_computed(filled):
    folder = filled.generate() / "api" / "v1"
    entry = json.loads((folder / "framework" / "first.json").read_text())
    assert entry["entry"]["relations"] == {"uses_backbone": ["net"]}
    assert [r["name"] for r in entry["computed"]["ladder"]] == ["sourced", "runs", "matches", "learns", "measured"]
    assert entry["computed"]["command"] == f"python -m refimpl run {NAME} --smoke"
    net = json.loads((folder / "backbone" / "net.json").read_text())
    assert net["computed"]["inverse_relations"] == {"uses_backbone": ["framework/first"]}
    assert len(json.loads((folder / "index.json").read_text())["entries"]) == 5
    names = [i["name"] for i in json.loads((folder / "implementations.json").read_text())["implementations"]]
    assert names == list(registry.methods())


def test_a_missing_picture_is_left_out(filled):
    (filled.root / "docs" / "assets" / "synthetic-earth.png").unlink(missing_ok=True)
    assert "synthetic-earth.png" not in (filled.generate() / "synthetic-earth.md").read_text()
    (filled.root / "docs" / "assets" / "synthetic-earth.png").write_bytes(b"")
    assert "synthetic-earth.png" in (filled.generate() / "synthetic-earth.md").read_text()


def test_a_link_to_an_entry_that_is_missing_becomes_text(filled):
    page = filled.root / "docs" / "page.md"
    page.write_text("# Page\n\n[MoCo](frameworks/moco.md), [none](frameworks/none.md), [all](frameworks/index.md)\n")
    filled.entry("frameworks", "moco", name="MoCo", family="contrastive", modality=["rgb"], facts={"predicts": "it"})
    shown = (filled.generate() / "page.md").read_text(encoding="utf-8")
    assert shown.endswith("[MoCo](frameworks/moco.md), none, [all](frameworks/index.md)\n")


def test_hand_written_pages_link_to_entries_that_exist():
    catalog = build.load_catalog()
    known = {(build.FOLDERS[kind], id_) for kind, id_ in catalog.entries} | {
        (f, "index") for f in build.FOLDERS.values()
    }
    pages = [p for p in (build.ROOT / "docs").rglob("*.md") if "generated" not in p.parts]
    links = {
        (link[2], link[3]) for page in pages for link in build.ENTRY_LINK.finditer(page.read_text(encoding="utf-8"))
    }
    assert links and links <= known


def test_an_empty_catalog_still_makes_a_site(repository):
    assert (repository.generate() / "index.md").exists()


@pytest.mark.parametrize(
    "content, expected",
    [
        ("id: [\n", "x.yml:"),
        ("id: x\nname: X\npaper: just text\n", "x.yml: cannot be shown"),
        ("id: x\nname: X\nsources: [1]\n", "x.yml: cannot be shown"),
        ("- a\n", "x.yml:1:1"),
    ],
)
def test_a_broken_entry_is_one_line_that_names_it(repository, content, expected):
    path = repository.root / "catalog" / "frameworks" / "x.yml"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(build.SiteError) as caught:
        repository.generate()
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert "scripts.validate" in str(caught.value)


def test_check_reports_and_changes_nothing(monkeypatch, filled, capsys):
    assemble = build.assemble
    monkeypatch.setattr(command, "assemble", lambda runs: assemble(filled.root, runs))
    assert command.main(["--check", "--runs", str(filled.root / "nowhere")]) == 1
    assert "write frameworks/first.md" in capsys.readouterr().out
    assert list((filled.root / "docs" / "generated").iterdir()) == []
    nowhere = ["--runs", str(filled.root / "nowhere")]  # not the runs that happen to lie in this checkout
    assert command.main(nowhere) == 0
    assert command.main(["--check", *nowhere]) == 0
