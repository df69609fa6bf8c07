"""The pages of the leaderboards: an overview, and a page per board (see `boards` for what may be ranked together)."""

from __future__ import annotations

from pathlib import PurePath

from scripts.site.blocks import command_box, entry_link, raw, table
from scripts.site.boards import Board, Line, data_entry, gather
from scripts.site.ladder import day
from scripts.site.links import implementation_page, relative, run_page, source_file
from scripts.site.model import Site
from scripts.site.output import Output
from scripts.site.records import bands_in_words, name_of
from scripts.site.records import page as record_page
from scripts.site.reported import INTRODUCTION as REPORTED
from scripts.site.reported import gather as gather_reported
from scripts.site.reported import page as reported_page
from scripts.site.results import value
from scripts.site.scores import Score, less_is_better
from scripts.site.tables import Cell, script, sortable, style
from scripts.site.text import front_matter, html, label, made_on, markdown, plain

PAGE = "leaderboards/"
TITLE = "Leaderboards"
DESCRIPTION = (
    "Scores by protocol: those reproduced here from run records, and, apart from them, those that authors report."
)
WIDTH = 150  # pixels of the drawn intervals


def board_page(board: Board) -> str:
    return f"{PAGE}{board.slug}/"


def _shown(score: Score) -> str:
    return value({"value": score.value, "lower": score.lower, "upper": score.upper, "unit": score.unit})


def _settings(line: Line) -> str:
    """What tells the rows of one method apart."""
    config = line.runs[0].get("config") or {}
    recipe = config.get("recipe") if isinstance(config.get("recipe"), dict) else {}
    parts = [line.backbone]
    parts += [f"{recipe[name]} {name}" for name in ("epochs",) if recipe.get(name) is not None]
    parts += [f"batch {recipe['batch']}"] if recipe.get("batch") is not None else []
    parts.append(f"{len(line.runs)} seeds" if len(line.runs) > 1 else "1 seed")
    return ", ".join(plain(p) for p in parts if p)


def _name(site: Site, line: Line, here: str) -> str:
    if not line.method:
        network = f"<br><small>{html(line.backbone)}</small>" if line.backbone else ""
        return f"{html(label(line.features))}{network}"
    method = site.implementations.get(line.method)
    name = html(name_of(site, line.method))
    linked = f'<a href="{html(relative(here, implementation_page(method.name)))}">{name}</a>' if method else name
    mark = ' <span class="badge old">expired</span>' if line.expired else ""
    return f"{linked}{mark}<br><small>{html(_settings(line))}</small>"


def _score(board: Board, line: Line, metric: str, here: str) -> str:
    """A score that opens its record (the first of several), with what is said against it."""
    address = html(relative(here, run_page(line.runs[0]["file"])))
    shown = f'<a href="{address}">{_shown(line.scores[metric])}</a>'
    if line.method:
        failed = board.failed(line, metric)
        if failed:
            names = ", ".join(dict.fromkeys(label(f.features) for f in failed))
            shown += f'<br><small class="below">not above {html(names)}</small>'
    return shown


def _place(places: dict[int, tuple[int, bool]], board: Board, n: int) -> Cell:
    if not board.lines[n].method:
        return Cell("<small>baseline</small>")
    if n not in places:
        return Cell('<small class="below">unranked</small>')
    place, tied = places[n]
    return Cell(f"{place}{' <small>tie</small>' if tied else ''}", place)


def _records(site: Site, line: Line, here: str) -> str:
    """Links to the records of a row: by their date, or, where it has several, by what tells them apart."""
    links = []
    for run in line.runs:
        words = day(run.get("started")) or "record"
        if len(line.runs) > 1:
            words = f"seed {run.get('seed')}" if line.method else f"with {name_of(site, run.get('method'))}"
        links.append(f'<a href="{html(relative(here, run_page(run["file"])))}">{html(words)}</a>')
    machine = made_on(line.runs[0]) if line.method else ""
    return "<br>".join(links) + (f"<br><small>{html(machine)}</small>" if machine else "")


def _drawn(board: Board, n: int, low: float, high: float) -> str:
    """The headline score as a dot on its interval; upright lines are the baselines that it has to beat."""
    line = board.lines[n]

    def x(number: float) -> str:
        return f"{5 + (number - low) / ((high - low) or 1) * (WIDTH - 10):.1f}"

    score = line.scores[board.headline]
    floors = board.floors_of(line, board.headline) if line.method else []
    marks = "".join(f'<path class="floor" d="M{x(f.scores[board.headline].value)} 2V18"/>' for f in floors)
    start, end = score.ends
    return (
        f'<svg class="span" viewBox="0 0 {WIDTH} 20" width="{WIDTH}" height="20" aria-hidden="true">'
        f'<path class="axis" d="M5 10H{WIDTH - 5}"/>{marks}<path class="whisker" d="M{x(start)} 10H{x(end)}"/>'
        f'<circle cx="{x(score.value)}" cy="10" r="4"/></svg>'
    )


def _ranking(site: Site, board: Board, here: str) -> str:
    places = {metric: board.places(metric) for metric in board.metrics}
    ends = [end for line in board.lines if board.headline in line.scores for end in line.scores[board.headline].ends]
    low, high = min(ends), max(ends)
    rows, marks = [], []
    for n in board.sorted(board.headline):
        line = board.lines[n]
        cells = [
            Cell(_name(site, line, here), plain(name_of(site, line.method) if line.method else line.features).lower())
        ]
        cells.append(_place(places[board.headline], board, n))
        for metric in board.metrics:
            if metric in line.scores:
                shown, key = _score(board, line, metric, here), line.scores[metric].value
                if metric != board.headline and n in places[metric]:
                    place, tied = places[metric][n]
                    shown += f'<br><small class="place">place {place}{", tie" if tied else ""}</small>'
                cells.append(Cell(shown, key))
            else:
                cells.append(Cell("–"))
            if metric == board.headline:
                cells.append(Cell(_drawn(board, n, low, high) if metric in line.scores else ""))
        cells.append(Cell(_records(site, line, here), str(line.runs[0].get("started", ""))))
        rows.append(cells)
        marks.append("" if line.method else "base")
    less = less_is_better(board.headline)
    head = ["method, or baseline", "place"]
    for metric in board.metrics:
        head.append(f"{metric} ({'less' if less_is_better(metric) else 'more'} is better)")
        if metric == board.headline:
            head.append("95 % interval")
    return sortable("ranking", [*head, "record"], rows, css="ranking", by=2, falling=not less, marks=marks)


def _shared(site: Site, board: Board, here: str) -> list[tuple[str, str]]:
    """What all rows have in common."""
    config = board.lines[0].runs[0].get("config") or {}
    entry = data_entry(site, plain(board.data.get("name") or ""))
    samples = board.data.get("samples")
    rows = [
        ("data", html(board.data.get("name") or "") + (f", from {entry_link(entry, here)}" if entry else "")),
        ("samples", html(f"{samples:,}".replace(",", "\u202f")) if isinstance(samples, int) else ""),
        ("hash of the data", f"<code>{html(board.data.get('digest') or '')}</code>"),
        ("judged by", html(label(board.protocol))),
        ("bands", html(bands_in_words(config.get("bands")))),
        ("size", html(f"{config['size']} px") if config.get("size") else ""),
        ("fingerprint", f"<code>{html(board.fingerprint)}</code>" if board.fingerprint else "none"),
    ]
    return [row for row in rows if row[1]]


def title(site: Site, board: Board) -> str:
    """The data set by its name where it has an entry, what was used of it, and the protocol."""
    data = plain(board.data.get("name") or "unnamed data")
    entry = data_entry(site, data)
    stem = PurePath(data).stem
    return f"{f'{entry.name} ({stem})' if entry else stem}, {label(board.protocol)}"


def page(site: Site, board: Board) -> str:
    """The Markdown file of one board."""
    here = board_page(board)
    kind = "synthetic" if board.data.get("synthetic") else "real"
    methods = sum(bool(line.method) for line in board.lines)
    data = plain(board.data.get("name") or "DATA")
    parts = [
        front_matter(
            title=f"Leaderboard: {title(site, board)}",
            description=f"Reproduced scores on {title(site, board)}: {methods} settings beside their baselines.",
            hide=["navigation", "toc"],
        ),
        raw(
            f'<p class="eyebrow">{style(here)}<a href="{relative(here, PAGE)}">{TITLE}</a> · reproduced · '
            f'<span class="badge {kind}">{kind} data</span></p>'
        ),
        f"# {markdown(title(site, board))}\n",
        raw(f"<div>{_ranking(site, board, here)}</div>"),
        "## How to read it\n",
        raw(
            '<ul class="notes"><li>A <b>place</b> is one more than the number of rows that are surely better: better, '
            "with 95 % intervals that do not overlap. Rows that nobody can tell apart are ties.</li>"
            "<li>Each score opens its record: settings, loss curve, commit, device.</li>"
            "<li>An upright line in the drawing is a baseline of the row: its own network with random weights, or "
            "plain band statistics. What is not above them has learned nothing that this metric "
            "sees, and has no place.</li>"
            '<li><span class="badge old">expired</span> The code has changed since the record was written. The number '
            "holds for the commit in the record and waits to be measured again.</li></ul>"
        ),
        "## What every row shares\n",
        raw(
            f"<div>{table(_shared(site, board, here))}<p>The fingerprint is a hash of data, splits, classes, bands, "
            "size, normalisation and rules of judging. Records with another one are on another board.</p></div>"
        ),
    ]
    if board.superseded:
        older = "".join(
            f'<li><a href="{html(relative(here, run_page(run["file"])))}">{html(name_of(site, run.get("method")))}, '
            f"{html(day(run.get('started')))}</a></li>"
            for run in board.superseded
        )
        parts += ["## Earlier records of the same settings\n", raw(f"<ul>{older}</ul>")]
    join = command_box(f"python -m refimpl run METHOD --data {data}") + command_box(
        "python -m refimpl publish runs/..."
    )
    parts += ["## Join it\n", raw(f"<div>{join}{script(here)}</div>")]
    return "\n".join(parts)


def _joined(names: list[str]) -> str:
    """A, B and C, each once."""
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def _card(site: Site, board: Board) -> str:
    places = board.places(board.headline)
    first = [name_of(site, board.lines[n].method) for n, (place, _) in places.items() if place == 1]
    leading = board.lines[board.sorted(board.headline)[0]]
    best = next((board.lines[n] for n in board.sorted(board.headline) if n in places), None)
    kind = "synthetic" if board.data.get("synthetic") else "real"
    said = (
        f"{html(board.headline)}: <b>{_shown(best.scores[board.headline])}</b> by {html(_joined(first))}"
        if best
        else f"No method is above its baselines yet; {html(label(leading.features))} leads."
    )
    methods = len({line.method for line in board.lines if line.method})
    rows = f"{methods} {'method' if methods == 1 else 'methods'}, {len(board.lines)} rows"
    return (
        f'<li class="card"><h3><a href="{html(relative(PAGE, board_page(board)))}">{html(title(site, board))}</a></h3>'
        f'<p>{said}</p><p class="meta"><span>{kind} data</span><span>{rows}</span></p></li>'
    )


def overview(site: Site, boards: list[Board]) -> str:
    """The Markdown file of the overview."""
    cards = "".join(_card(site, board) for board in boards)
    reported = gather_reported(site)
    total = sum(len(r.scores) for r in reported)
    rows = []
    for one in reported:
        metrics = ", ".join(dict.fromkeys(metric for metric, _, _ in one.tables()))
        name = f'<a href="{html(relative(PAGE, one.page))}">{html(one.name)}</a>'
        rows.append([Cell(name, one.name.lower()), Cell(str(len(one.scores)), len(one.scores)), Cell(html(metrics))])
    return "\n".join(
        [
            front_matter(title=TITLE, description=DESCRIPTION, hide=["navigation", "toc"]),
            f"# {TITLE}\n",
            raw(
                f'<div class="lead">{style(PAGE)}<p>Two kinds of numbers, never in one table: scores <b>reproduced</b> '
                "here, each with a run record, ranked only where data, splits, bands, size, normalisation and "
                "rules are the same; and scores that authors <b>report</b>, each with the place where it was "
                "read.</p></div>"
            ),
            "## Reproduced here\n",
            raw(f'<ul class="cards">{cards}</ul>') if cards else "No run on record yet.\n",
            "## Reported by authors\n",
            raw(f"<p>{total} scores on {len(reported)} data sets. {html(REPORTED)}</p>"),
            raw(sortable("reported", ["data set", "scores", "metrics"], rows, css="reported", by=1, falling=True))
            if rows
            else "",
            raw(
                f'<p>As data: <a href="../api/v1/results.csv">CSV</a>, <a href="../api/v1/results.json">JSON</a>.'
                f"{script(PAGE)}</p>"
            ),
        ]
    )


def write(site: Site, output: Output) -> None:
    """Adds the overview, the boards, the tables of reported scores, and the pages of the records that they open."""
    boards = gather(site)
    output.add("leaderboards/index.md", overview(site, boards))
    of_run = {}
    for board in boards:
        output.add(source_file(board_page(board)), page(site, board))
        for line in board.lines:
            of_run |= {run["file"]: board for run in line.runs}
        of_run |= {run["file"]: board for run in board.superseded}
    for one in gather_reported(site):
        output.add(source_file(one.page), reported_page(site, one))
    for run in site.runs:
        output.add(source_file(run_page(run["file"])), record_page(site, run, of_run.get(run["file"])))
