"""Which method for my data? A page of questions, each answer with the methods that suit it and why (see `advice`).

The page is complete as it stands; docs/assets/guide.js combines the answers, from the same lists in a script.
"""

from __future__ import annotations

from scripts.site.advice import Answer, Method, Question, questions
from scripts.site.blocks import command_box, entry_link, ladder_pips, raw
from scripts.site.explore import page_scripts
from scripts.site.facets import Facet
from scripts.site.index import script
from scripts.site.links import entry_page, implementation_page, relative
from scripts.site.model import Site
from scripts.site.output import Output
from scripts.site.tables import style
from scripts.site.text import front_matter, html, plain

PAGE, INDEX = "guide/", "assets/guide-index.js"
TITLE = "Which method for my data?"
DESCRIPTION = "Methods by what you have: sensor, image series, pairs, labels, compute, task. With reasons and commands."
HERE, ELSEWHERE = "Run here", "Known for it, without an implementation of their own here"
SHOWN = 4  # methods per answer that run here, and as many that do not
OPEN = ("modality", "labels", "compute")  # questions whose first answer is unfolded


def command(method: Method) -> str:
    """The command that trains on a visitor's own images."""
    data = "MY_SCENE.npz" if method.needs & {"spectrum", "patch", "series"} else "MY_IMAGES/"
    return f"python -m refimpl run {method.runs.name} --data {data}"


def _needs(method: Method) -> str:
    return ", ".join(plain(n) for n in method.runs.needs)


def _sentence(text: str) -> str:
    return html(text[:1].upper() + text[1:]) + "." if text else ""


def _item(site: Site, method: Method, reason: str) -> str:
    entry = method.entry
    about = " · ".join(html(x) for x in (site.family(entry), entry.data.get("year")) if x)
    head = f"<b>{entry_link(entry, PAGE)}</b> <small>{about}</small>"
    if method.runs:
        head += ladder_pips(site.method_ladder(method.runs.name))
        learned = f"<br><small>Learned here: {html(method.learned)}.</small>" if method.learned else ""
        needs = f"Needs of a sample: {html(_needs(method))}."
        return f"<li><p>{head}</p><p>{_sentence(reason)} {needs}{learned}</p>{command_box(command(method))}</li>"
    text = _sentence(reason + ("; weights are published" if entry.get("code.weights") else ""))
    if method.closest:
        address = html(relative(PAGE, implementation_page(method.closest.name)))
        text += f' What runs here comes closest: <a href="{address}">{html(method.closest.name)}</a>.'
    return f"<li><p>{head}</p><p>{text}</p></li>"


def _answer(site: Site, question: Question, answer: Answer, facets: dict[tuple[str, str], str], unfolded: bool) -> str:
    here = [(m, reason) for m, reason in answer.methods if m.runs]
    others = [(m, reason) for m, reason in answer.methods if not m.runs]
    lists = ""
    for title, found in ((HERE, here), (ELSEWHERE, others)):
        if found:
            items = "".join(_item(site, m, reason) for m, reason in found[:SHOWN])
            more = f" <small>the first {SHOWN} of {len(found)}</small>" if len(found) > SHOWN else ""
            lists += f'<p class="label">{title}{more}</p><ul class="picks">{items}</ul>'
    page = facets.get(answer.facet) if answer.facet else None
    every = f'<p><a href="{html(relative(PAGE, page))}">Everything in the catalog for it</a></p>' if page else ""
    state = " open" if unfolded else ""
    counts = f"{len(here)} run, {len(answer.methods)} in all"
    return (
        f'<details id="{question.code}-{html(answer.code)}"{state}><summary><b>{html(answer.label)}</b> '
        f"<span>{html(answer.description)}</span> <i>{counts}</i></summary><div>{lists}{every}</div></details>"
    )


def _form(asked: list[Question]) -> str:
    """The filter's fields: part of the page, so that nothing moves when the script comes (hidden where none can)."""
    fields = ""
    for question in asked:
        options = "".join(f'<option value="{html(a.code)}">{html(a.label)}</option>' for a in question.answers)
        fields += (
            f'<label><span>{html(question.title)}</span><select name="{question.code}"><option value="">any</option>'
            f"{options}</select></label>"
        )
    return (
        f'<form class="ask" aria-label="Your data">{fields}</form><div class="bar"><p class="count" role="status"></p>'
        '<button type="button" class="clear" hidden>Clear</button></div>'
        f'<div class="found" data-here="{HERE}" data-elsewhere="{ELSEWHERE}"></div>'
        '<button type="button" class="more" hidden>Show more</button>'
    )


def page(site: Site, asked: list[Question], facets: list[Facet]) -> str:
    """The Markdown file of the guide."""
    pages = {(f.code, code): f.page(value) for f in facets for code, value in f.values.items()}
    parts = [
        front_matter(title=TITLE, description=DESCRIPTION, hide=["navigation", "toc"]),
        f"# {TITLE}\n",
        raw(
            f'<div class="lead">{style(PAGE)}<p>Answers are worked out from the catalog: what an entry is for, what '
            "its implementation needs of a sample, what it did here on record. Methods that ran and learned here come "
            'first. What your files have to look like is under <a href="../data/">Your data</a>.</p></div>'
        ),
        raw(f'<div id="guide" class="guide">{_form(asked)}{page_scripts(PAGE, INDEX, "assets/guide.js")}</div>'),
    ]
    for question in asked:
        answers = "".join(
            _answer(site, question, answer, pages, question.code in OPEN and n == 0)
            for n, answer in enumerate(question.answers)
        )
        parts.append(f"## {question.title}\n")
        parts.append(raw(f'<div class="answers"><p class="quiet">{html(question.about)}</p>{answers}</div>'))
    return "\n".join(parts)


def index(site: Site, asked: list[Question]) -> dict:
    """What the filter needs: questions with their answers, methods in their order, and who suits which answer and why.

    fits: per method, "question.answer.reason" by number, joined by spaces.
    """
    number: dict[int, int] = {}
    found: list[Method] = []
    reasons: dict[str, int] = {}
    fits: list[list[str]] = []
    for q, question in enumerate(asked):
        for a, answer in enumerate(question.answers):
            for method, reason in answer.methods:
                if id(method.entry) not in number:
                    number[id(method.entry)] = len(found)
                    found.append(method)
                    fits.append([])
                fits[number[id(method.entry)]].append(f"{q}.{a}.{reasons.setdefault(reason, len(reasons))}")
    order = sorted(range(len(found)), key=lambda n: found[n].key)
    return {
        "questions": [[q.code, [a.code for a in q.answers]] for q in asked],
        "reasons": list(reasons),
        "methods": [
            {
                "name": plain(m.entry.name),
                "page": entry_page(m.entry.kind, m.entry.id),
                "about": " · ".join(plain(x) for x in (site.family(m.entry), m.entry.data.get("year")) if x),
                **({"run": command(m), "needs": _needs(m), "learned": m.learned} if m.runs else {}),
                **({"closest": m.closest.name} if m.closest else {}),
                **({"weights": 1} if m.entry.get("code.weights") else {}),
                "fits": " ".join(fits[n]),
            }
            for n in order
            for m in [found[n]]
        ],
    }


def write(site: Site, facets: list[Facet], output: Output) -> None:
    """Adds the page and the script that its filter reads."""
    asked = questions(site)
    output.add("guide.md", page(site, asked, facets))
    output.add(INDEX, script("catalogGuide", index(site, asked)))
