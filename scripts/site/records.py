"""The page of one run record: scores, curve, settings, code and machine, as the JSON file has them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath

from scripts.site.blocks import command_box, entry_link, raw, record_page, table
from scripts.site.boards import Board, data_entry, data_name, expired
from scripts.site.implementations import title
from scripts.site.ladder import day
from scripts.site.links import implementation_page, relative, run_page
from scripts.site.model import Site
from scripts.site.results import curve, score_table
from scripts.site.tables import style
from scripts.site.text import front_matter, html, label, markdown, plain, shorten

BANDS_SHOWN = 13
# Settings that the command line has an option for; all others go through --set.
_OPTIONS = ("data", "backbone", "size", "epochs", "batch", "seed")
_PASSED = ("method", "bands", "precision", *_OPTIONS)


def name_of(site: Site, method: object) -> str:
    """A method as its implementation calls itself."""
    implementation = site.implementations.get(method)
    return title(implementation)[0] if implementation else plain(method)


def _flat(config: Mapping) -> dict[str, object]:
    """Settings without their groups: recipe.epochs -> epochs."""
    found: dict[str, object] = {}
    for key, value in config.items():
        found |= value if isinstance(value, Mapping) else {key: value}
    return found


def bands_in_words(bands: object) -> str:
    names = [plain(b) for b in bands] if isinstance(bands, list) else []
    if len(names) <= BANDS_SHOWN:
        return ", ".join(names)
    return f"{len(names)} bands, {names[0]} to {names[-1]}"


def command(run: Mapping) -> str:
    """The command that repeats a run, from the settings in its record."""
    config = _flat(run.get("config") or {})
    bands = config.get("bands")
    words = ["python", "-m", "refimpl", "run", plain(run.get("method") or "METHOD")]
    for name in _OPTIONS:
        if config.get(name) is not None:
            words += [f"--{name}", plain(config[name])]
    if isinstance(bands, list) and len(bands) <= BANDS_SHOWN:
        words += ["--bands", ",".join(map(plain, bands))]
    for name, value in config.items():
        if name not in _PASSED and isinstance(value, (str, int, float)):
            words += ["--set", f"{plain(name)}={str(value).lower() if isinstance(value, bool) else plain(value)}"]
    return shlex.join(words)


def _value(value: object) -> str:
    return html(", ".join(map(plain, value)) if isinstance(value, list) else plain(value))


def _numbers(run: Mapping) -> list[tuple[str, str]]:
    units = (("seconds", "training took", "s"), ("images_per_second", "samples trained per second", ""),
             ("peak_memory_mb", "peak memory", "MB"))  # fmt: skip
    return [
        (words, html(f"{run[name]:,.0f} {unit}".strip().replace(",", "\u202f")))
        for name, words, unit in units
        if isinstance(run.get(name), (int, float))
    ]


def page(site: Site, run: Mapping, board: Board | None) -> str:
    """The Markdown file of a record's page. board: the leaderboard that it is on."""
    here, data = run_page(run["file"]), run.get("data") or {}
    method, name = site.implementations.get(run.get("method")), name_of(site, run.get("method"))
    config = run.get("config") if isinstance(run.get("config"), Mapping) else {}
    kind = "synthetic" if data.get("synthetic") else "real"
    old = expired(run)
    crumbs = [f'<a href="{html(relative(here, "leaderboards/"))}">Leaderboards</a>']
    if board:
        address = html(relative(here, f"leaderboards/{board.slug}/"))
        crumbs.append(f'<a href="{address}">{html(PurePath(data_name(run)).stem)}, {html(label(board.protocol))}</a>')
    entry, samples = data_entry(site, data_name(run)), data.get("samples")
    about = [
        ("method", f'<a href="{html(relative(here, implementation_page(method.name)))}">{html(name)}</a>'
         if method else html(name)),
        ("data", html(data_name(run)) + (f", from {entry_link(entry, here)}" if entry else "")),
        ("samples", f"{samples:,}".replace(",", "\u202f") if isinstance(samples, int) else ""),
        ("source of the data", _value(data.get("source") or "")),
        ("hash of the data", f"<code>{_value(data.get('digest') or '')}</code>"),
        ("protocol", _value(label(run.get("protocol") or ""))),
        ("fingerprint", f"<code>{_value(run['fingerprint'])}</code>" if run.get("fingerprint") else
         "none: this record is ranked with no other"),
        ("seed", _value(run.get("seed"))),
    ]  # fmt: skip
    machine = [
        ("device", _value(run.get("device") or "")),
        ("started", _value(run.get("started") or "")),
        *_numbers(run),
        ("commit", f"<code>{_value(run.get('commit') or 'unknown')}</code>"),
        ("hash of the code", f"<code>{_value(run.get('code_hash') or '')}</code>, "
         + ("<b>expired</b>: the code has changed since" if old else "the code is still the same")),
        ("versions", html(", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items()))),
    ]  # fmt: skip
    settings = [
        (label(k), html(bands_in_words(v)) if k == "bands" else _value(v)) for k, v in _flat(config).items() if v != ""
    ]
    badges = f'<span class="badge {kind}">{kind} data</span>' + (
        ' <span class="badge old">expired</span>' if old else ""
    )
    drawn = curve(run.get("curve") or [], 640, 170, 160)
    note = f'<p class="notice">{html(run["note"])}</p>' if run.get("note") else ""
    words = f"Run of {name} on {PurePath(data_name(run)).stem}"
    return "\n".join(
        [
            front_matter(
                title=words,
                description=shorten(f"{words}: scores, settings, commit, device, curve."),
                hide=["navigation", "toc"],
            ),
            raw(f'<p class="eyebrow">{style(here)}{" · ".join(crumbs)}</p>'),
            f"# {markdown(words)}\n",
            raw(f'<div><p>{badges} <span class="quiet">{html(day(run.get("started")))}</span></p>{note}</div>'),
            "## Scores\n",
            raw(f"<div>{score_table(run, brief=False)}</div>"),
            *(["## Loss\n", raw(drawn)] if drawn else []),
            "## What was run\n",
            raw(f"<div>{table([row for row in about if row[1]])}</div>"),
            "## Settings\n",
            raw(f"<div>{table(settings)}</div>"),
            "## Where and when\n",
            raw(f"<div>{table([row for row in machine if row[1]])}</div>"),
            "## Repeat it\n",
            raw(f"<div>{command_box(command(run))}</div>"),
            raw(
                f'<p class="foot"><a href="{html(relative(here, record_page(run["file"])))}">'
                f"{html(PurePath(run['file']).name)}</a>, the record itself</p>"
            ),
        ]
    )
