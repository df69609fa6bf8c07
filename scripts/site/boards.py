"""Leaderboards as data: run records that may be ranked together, their settings and the baselines beside them.

A board holds the records of one protocol fingerprint (a hash of data, splits, bands, size, normalisation and rules) on
one state of the data. A record without a fingerprint has a board of its own, because nothing is known to be like it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from refimpl import registry
from scripts.catalog import Entry
from scripts.site.model import Site
from scripts.site.scores import Score, better, less_is_better, places, pooled, read
from scripts.site.text import plain, slug

TRAINED = "trained"
FLOORS = ("random", "band statistics", "pixels")  # a trained network has to beat these; other ones are competitors


@dataclass
class Line:
    """One row: a method in one setting over its seeds, or a baseline (method ""). scores: by metric."""

    method: str
    features: str
    backbone: str
    runs: list[Mapping]
    scores: dict[str, Score]
    expired: bool = False

    @property
    def floor(self) -> bool:
        return not self.method and self.features.startswith(FLOORS)


@dataclass
class Board:
    """Records that may be ranked together. lines: methods and baselines; superseded: older records of a line."""

    slug: str
    protocol: str
    data: Mapping
    fingerprint: str
    headline: str
    metrics: list[str]
    lines: list[Line]
    superseded: list[Mapping] = field(default_factory=list)

    def floors_of(self, line: Line, metric: str) -> list[Line]:
        """Baselines that this row has to beat: random weights of its own network, and what needs no network."""
        return [f for f in self.lines if f.floor and f.backbone in ("", line.backbone) and metric in f.scores]

    def failed(self, line: Line, metric: str) -> list[Line]:
        """Those of them that it does not beat."""
        score, less = line.scores[metric], less_is_better(metric)
        return [f for f in self.floors_of(line, metric) if not better(score, f.scores[metric], less)]

    def places(self, metric: str) -> dict[int, tuple[int, bool]]:
        """Number of a row -> (place, whether it is shared). Rows below their baselines have none."""
        ranked = [
            n for n, line in enumerate(self.lines)
            if line.method and metric in line.scores and not self.failed(line, metric)
        ]  # fmt: skip
        found = places([self.lines[n].scores[metric] for n in ranked], less_is_better(metric))
        return dict(zip(ranked, found))

    def sorted(self, metric: str) -> list[int]:
        """Numbers of the rows, the best first, those without this metric last."""
        sign = 1 if less_is_better(metric) else -1
        with_it = [n for n, line in enumerate(self.lines) if metric in line.scores]
        rest = [n for n in range(len(self.lines)) if n not in with_it]
        return sorted(with_it, key=lambda n: sign * self.lines[n].scores[metric].value) + rest


def expired(run: Mapping) -> bool:
    """Whether the code that the record depends on has changed since, or is gone."""
    method = run.get("method")
    return method not in registry.methods() or run.get("code_hash") != registry.rung_hash(method, "measured")


def data_name(run: Mapping) -> str:
    return plain((run.get("data") or {}).get("name") or "unnamed data")


def data_entry(site: Site, name: str) -> Entry | None:
    """The data set's entry whose id or alias the name is, or begins with: "eurosat_rgb_16000.zip" -> EuroSAT."""
    words = "_" + re.sub(r"[^a-z0-9]+", "_", PurePath(name).stem.lower()) + "_"
    found = []
    for entry in site.of_kind("dataset"):
        for spelling in (entry.id, entry.name, *(entry.get("aliases", list, []))):
            start = re.sub(r"[^a-z0-9]+", "_", plain(spelling).lower()).strip("_")
            if start and words.startswith(f"_{start}_"):
                found.append((len(start), entry))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _config(run: Mapping) -> Mapping:
    return run.get("config") if isinstance(run.get("config"), Mapping) else {}


def _setting(run: Mapping) -> str:
    """All that was set but the seed."""
    return json.dumps({k: v for k, v in _config(run).items() if k != "seed"}, sort_keys=True, default=str)


def _scores(runs: list[Mapping], features: str) -> dict[str, Score]:
    found: dict[str, list[Score]] = {}
    for run in runs:
        for score in run.get("scores") or []:
            value = read(score)
            if value is not None and str(score.get("features", TRAINED)) == features:
                found.setdefault(plain(score.get("metric")), []).append(value)
    return {metric: pooled(values) for metric, values in found.items()}


def _newest(runs: list[Mapping]) -> tuple[list[Mapping], list[Mapping]]:
    """Runs of one method and setting: the newest of each seed on the newest state of the code, and the others."""
    by_date = sorted(runs, key=lambda r: (not expired(r), str(r.get("started", ""))), reverse=True)
    code, kept, others = by_date[0].get("code_hash"), {}, []
    for run in by_date:
        if run.get("code_hash") == code and str(run.get("seed")) not in kept:
            kept[str(run.get("seed"))] = run
        else:
            others.append(run)
    return list(kept.values()), others


def _board(name: str, runs: list[Mapping], headlines: Mapping[str, str]) -> Board:
    settings: dict[tuple[str, str], list[Mapping]] = {}
    for run in runs:
        settings.setdefault((str(run.get("method")), _setting(run)), []).append(run)
    lines, superseded, current = [], [], []
    for (method, _), same in settings.items():
        kept, others = _newest(same)
        superseded += others
        current += kept
        backbone = plain(_config(kept[0]).get("backbone") or "")
        scores = _scores(kept, TRAINED)
        if scores:
            lines.append(Line(method, TRAINED, backbone, kept, scores, expired(kept[0])))
    baselines: dict[tuple[str, str], list[Mapping]] = {}
    for run in current:
        for features in dict.fromkeys(str(s.get("features", TRAINED)) for s in run.get("scores") or []):
            if features != TRAINED:
                network = plain(_config(run).get("backbone") or "") if features.startswith("random") else ""
                baselines.setdefault((features, network), []).append(run)
    for (features, network), beside in baselines.items():
        scores = _scores(beside, features)
        if scores:
            lines.append(Line("", features, network, beside, scores))
    count = Counter(metric for line in lines for metric in line.scores)
    metrics = list(dict.fromkeys(metric for line in lines for metric in line.scores))
    protocol = plain(runs[0].get("protocol") or "")
    headline = headlines.get(protocol) if headlines.get(protocol) in count else (metrics[0] if metrics else "")
    metrics.sort(key=lambda metric: metric != headline)
    return Board(name, protocol, runs[0].get("data") or {}, str(runs[0].get("fingerprint") or ""), headline,
                 metrics, lines, superseded)  # fmt: skip


def headlines(site: Site) -> dict[str, str]:
    """Protocol -> the metric by which implementations judged by it are verified to learn."""
    votes: dict[str, Counter] = {}
    for record in site.verifications:
        method = site.implementations.get(record.get("method"))
        metric = ((record.get("rungs") or {}).get("learns") or {}).get("metric")
        if method and metric:
            votes.setdefault(method.protocol, Counter())[plain(metric)] += 1
    return {protocol: counter.most_common(1)[0][0] for protocol, counter in votes.items()}


def gather(site: Site) -> list[Board]:
    """All boards of the public run records: real data first, then those with more rows."""
    groups: dict[tuple[str, ...], list[Mapping]] = {}
    for run in site.runs:
        alone = "" if run.get("fingerprint") else str(run.get("file"))
        digest = str((run.get("data") or {}).get("digest"))
        key = (str(run.get("protocol")), str(run.get("fingerprint") or ""), digest, alone)
        groups.setdefault(key, []).append(run)
    main, found, names = headlines(site), [], set()
    for (protocol, fingerprint, digest, alone), runs in sorted(groups.items()):
        stem = PurePath(data_name(runs[0])).stem
        name = f"{slug(protocol)}-{slug(stem)}-{slug(fingerprint or alone)[:8]}"[:100]
        if name in names:  # one fingerprint on two states of the data
            name += f"-{slug(digest)[:8]}"
        names.add(name)
        board = _board(name, runs, main)
        if board.lines:
            found.append(board)
    return sorted(
        found, key=lambda b: (bool(b.data.get("synthetic")), -sum(bool(line.method) for line in b.lines), b.slug)
    )
