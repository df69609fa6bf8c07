"""Run records as tables and a small static curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scripts.site.blocks import columns
from scripts.site.ladder import day
from scripts.site.links import relative, run_page
from scripts.site.text import html, label, made_on

# Which features a score belongs to, in the order of the columns; other names follow as they come.
FEATURES = ("trained", "random", "statistics")
_COLUMNS = {
    "trained": "trained",
    "random": "random initialisation",
    "random_initialisation": "random initialisation",
    "statistics": "band statistics",
    "band_statistics": "band statistics",
}


def value(score: Mapping) -> str:
    """A score with its unit and interval."""
    unit = "" if score.get("unit") in (None, "1") else str(score["unit"])

    def shown(x: object) -> str:
        if not isinstance(x, (int, float)):
            return "–"
        return f"{x:.1f}" if unit == "%" else f"{x:.4g}"

    text = shown(score.get("value")) + (f" {unit}" if unit else "")
    if score.get("lower") is not None and score.get("upper") is not None:
        return f"{html(text)} <small>[{html(shown(score['lower']))}, {html(shown(score['upper']))}]</small>"
    return html(text)


def curve(points: list, width: int = 260, height: int = 72, most: int = 40) -> str:
    """A loss curve as SVG. points: [[step, loss], ...]; at most `most` of them are drawn."""
    points = [
        (float(x), float(y)) for x, y in points if isinstance(y, (int, float)) and y == y and abs(y) != float("inf")
    ]
    if len(points) < 2:
        return ""
    if len(points) > most:
        points = [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low_x, low_y = min(xs), min(ys)
    span_x, span_y = (max(xs) - low_x) or 1.0, (max(ys) - low_y) or 1.0
    drawn = " ".join(
        f"{4 + (x - low_x) / span_x * (width - 8):.0f},{4 + (1 - (y - low_y) / span_y) * (height - 8):.0f}"
        for x, y in points
    )
    words = f"loss {ys[0]:.3g} at step {xs[0]:.0f}, {ys[-1]:.3g} at step {xs[-1]:.0f}"
    return (
        f'<figure class="curve"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true"><polyline points="{drawn}"/></svg><figcaption>{html(words)}</figcaption></figure>'
    )


# Left to the implementation's page: they say nearly the same as the metrics beside them.
SECOND_OPINIONS = ("5-NN accuracy", "linear probe balanced accuracy")


def score_table(run: Mapping, brief: bool) -> str:
    """Scores of a run, a column for each of the features that they belong to. brief: the leading ones."""
    scores = [s for s in run.get("scores") or [] if not (brief and s.get("metric") in SECOND_OPINIONS)]
    features = sorted(
        dict.fromkeys(s.get("features", "trained") for s in scores),
        key=lambda f: next((i for i, known in enumerate(FEATURES) if str(f).startswith(known[:6])), len(FEATURES)),
    )
    cells = {(s.get("metric"), s.get("features", "trained")): value(s) for s in scores}
    rows = (
        [html(label(metric)), *(cells.get((metric, c), "–") for c in features)]
        for metric in dict.fromkeys(s.get("metric") for s in scores)
    )
    return columns(["metric", *(_COLUMNS.get(c, label(c)) for c in features)], rows)


def run_block(run: Mapping, record_link: str = "", brief: bool = False) -> str:
    """One run: where and on what, its scores (brief: the leading ones) beside the baselines, its curve."""
    data = run.get("data") or {}
    kind = "synthetic" if data.get("synthetic") else "real"
    badges = f'<span class="badge {kind}">{kind} data</span>'
    if run.get("local"):
        badges += ' <span class="badge">run on this machine</span>'
    facts = [
        f"{data['samples']:,} samples".replace(",", "\u202f") if isinstance(data.get("samples"), int) else "",
        f"protocol {label(run['protocol'])}" if run.get("protocol") else "",
        f"seed {run['seed']}" if run.get("seed") is not None else "",
        made_on(run),
        f"{run['seconds']:.0f} s" if isinstance(run.get("seconds"), (int, float)) else "",
        f"{run['images_per_second']:.0f} images/s" if isinstance(run.get("images_per_second"), (int, float)) else "",
        f"{run['peak_memory_mb']:.0f} MB" if isinstance(run.get("peak_memory_mb"), (int, float)) else "",
        f"commit {str(run['commit'])[:10]}" if run.get("commit") else "",
    ]
    record = f' · <a href="{html(record_link)}">record</a>' if record_link else ""
    drawn = curve(run.get("curve") or [])
    return (
        f'<section class="run"><p><strong>{html(data.get("name", "unnamed data"))}</strong> {badges} '
        f'<span class="quiet">{html(day(run.get("started")))}</span></p>{score_table(run, brief)}{drawn}'
        f'<p class="quiet">{html(" · ".join(f for f in facts if f))}{record}</p></section>'
    )


def newest(runs: list[Mapping]) -> list[Mapping]:
    """Newest first, real data before synthetic."""
    by_date = sorted(runs, key=lambda r: str(r.get("started", "")), reverse=True)
    return sorted(by_date, key=lambda r: bool((r.get("data") or {}).get("synthetic")))


def run_blocks(runs: Iterable[Mapping], here: str, brief: bool = False) -> str:
    """Several runs on the page `here`; a run of this machine has no public record to link."""
    return "".join(
        run_block(run, "" if run.get("local") else relative(here, run_page(run.get("file", ""))), brief) for run in runs
    )
