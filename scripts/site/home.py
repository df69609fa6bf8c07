"""The home page: what this is, how much of it there is, how to run it. Every number is counted, none is typed."""

from __future__ import annotations

from scripts.site.blocks import command_box, raw
from scripts.site.implementations import title
from scripts.site.ladder import RUNGS
from scripts.site.links import FOLDERS, TITLES, implementation_page
from scripts.site.model import Site
from scripts.site.results import newest, run_block
from scripts.site.text import front_matter, html

DESCRIPTION = "A catalog of self-supervised learning for remote sensing in which every entry runs."
TITLE = "Self-supervised learning for remote sensing"
PICTURE = "assets/synthetic-earth.png"


def home(site: Site, picture: bool) -> str:
    """The Markdown file of the home page. picture: whether the synthetic Earth's picture exists."""
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION, hide=["navigation", "toc"]),
        raw(_hero(site)),
        raw(_counts(site)),
        "## Nothing is only claimed\n",
        raw(_ladder(site)),
    ]
    if site.local_runs:
        blocks = "".join(
            f'<p class="label">{html(r.get("method", ""))}</p>{run_block(r)}' for r in newest(site.local_runs)[:2]
        )
        parts += ["## Run on this machine\n", raw(f"<div>{blocks}</div>")]
    parts += ["## Start\n", raw(_start(site, picture))]
    return "\n".join(parts)


def _example(site: Site) -> str:
    """Name of the implementation shown on the home page: the best verified one, first by name."""
    names = sorted(site.implementations)

    def reached(name: str) -> int:
        return sum(r.state == "reached" for r in site.method_ladder(name))

    return "simclr" if "simclr" in names else max(names, key=reached) if names else ""


def _hero(site: Site) -> str:
    name = _example(site)
    command = command_box(site.implementations[name].command) if name else ""
    return (
        '<div class="hero"><p class="eyebrow">Self-supervised learning for remote sensing</p>'
        "<h1>A catalog in which every entry&nbsp;runs</h1>"
        "<p>Methods, pretext tasks, backbones, techniques, data sets and open problems, each beside an implementation "
        "that can be read next to its paper and run with one command. A fact has a source, a command was executed, "
        "a score has a run record.</p>"
        f"{command}"
        '<p class="actions"><a class="md-button md-button--primary" href="explore/">Explore the catalog</a> '
        '<a class="md-button" href="guide/">Which method for my data?</a> '
        '<a class="md-button" href="implementations/">Read implementations</a></p>'
        '<p class="quiet js-only">Press <kbd>/</kbd> to search: names however spelt, sensors, tasks, authors.</p>'
        "</div>"
    )


def _counts(site: Site) -> str:
    counts = site.counts()
    tiles = [(FOLDERS[k] + "/", counts[k], "Terms" if k == "term" else TITLES[k]) for k in FOLDERS]
    tiles.append(("implementations/", len(site.implementations), "Implementations"))
    items = "".join(f'<li><a href="{page}"><b>{count}</b> {html(name)}</a></li>' for page, count, name in tiles)
    return f'<ul class="tiles" aria-label="What is in the catalog">{items}</ul>'


def _ladder(site: Site) -> str:
    total_entries, total_methods = len(site.all), len(site.implementations)
    ladders = [site.method_ladder(name) for name in site.implementations]
    items = []
    for name, meaning in RUNGS.items():
        if name == "sourced":
            done, total, what = sum(not site.unsourced(e) for e in site.all), total_entries, "entries"
        else:
            done = sum(r.name == name and r.state == "reached" for rungs in ladders for r in rungs)
            total, what = total_methods, "implementations"
        share = done / total if total else 0
        items.append(
            f'<li><b>{name}</b><span>{html(meaning)}</span><span class="bar" aria-hidden="true">'
            f'<i style="width:{share:.0%}"></i></span><span class="count">{done} of {total} {what}</span></li>'
        )
    return (
        f'<div><ol class="steps">{"".join(items)}</ol><p>Each rung is computed from records and expires by itself '
        'when the code or the data behind it change. <a href="verification/">How the ladder works</a></p></div>'
    )


def _start(site: Site, picture: bool) -> str:
    name = _example(site)
    read = (
        f'<a href="{implementation_page(name)}">{html(title(site.implementations[name])[0])}</a>, '
        "explained beside its code."
        if name
        else '<a href="implementations/">Implementations</a>, explained beside their code.'
    )
    image = (
        f'<p class="picture"><a href="synthetic-earth/"><img src="{PICTURE}" loading="lazy" width="1200" '
        'alt="Samples of the synthetic Earth as its simulated sensors see them"></a></p>'
        if picture
        else ""
    )
    return (
        '<div><ul class="cards three">'
        '<li class="card"><h3><a href="background/">New to the field</a></h3><p>What self-supervised learning is '
        "and why images of the Earth call for methods of their own. The words are in the "
        '<a href="terms/">glossary</a>.</p></li>'
        f'<li class="card"><h3><a href="synthetic-earth/">Run one offline</a></h3><p>Every implementation trains on an '
        f"embedded synthetic Earth with exact ground truth, without a download. Begin with {read}</p></li>"
        '<li class="card"><h3><a href="contributing/">Add an entry</a></h3><p>One YAML file, checked as you write it, '
        "with a source for every fact.</p></li>"
        '<li class="card"><h3><a href="leaderboards/">Leaderboards</a></h3><p>Scores reproduced here, each with its '
        "run record, and apart from them what authors report.</p></li>"
        '<li class="card"><h3><a href="lineage/">Lineage</a></h3><p>Which method builds on which, as a map; or year by '
        'year, as a <a href="timeline/">timeline</a>; or kind by kind, as a <a href="taxonomy/">taxonomy</a>.</p></li>'
        '<li class="card"><h3><a href="whats-new/">What has changed</a></h3><p>Added, changed, broken, reproduced; as '
        f'a <a href="feed.xml">feed</a>, too.</p></li></ul>{image}</div>'
    )
