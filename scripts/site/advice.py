"""Which methods suit which data: answers to a few questions, matched with entries, implementations and records.

Nothing here names a method. An answer is a rule over fields of the catalog (modality, tasks, sensors, family, reported
protocols, weights), over what an implementation needs of a sample, and over what it did on record; each match comes
with its reason in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import log2

from refimpl import registry
from scripts.catalog import Entry
from scripts.site.facets import peak_memory
from scripts.site.model import Site
from scripts.site.text import plain

# Fields of a sample (refimpl.data.dataset.FIELDS) that data of a modality give. Implementations take any number of
# bands, so one that needs an image trains on every kind of raster; what is not named here gives no field.
GIVES = {
    "rgb": {"image"},
    "multispectral": {"image"},
    "sar": {"image"},
    "elevation": {"image"},
    "natural_image": {"image"},
    "hyperspectral": {"image", "patch", "spectrum"},
    "time_series": {"image", "series", "dates", "date"},
    "uav_video": {"image", "video"},
    "video": {"image", "video"},
}
SENSED = ("multispectral", "hyperspectral", "sar", "rgb", "elevation")  # modalities that sensors of their own make
SMALL_MB = 8 * 1024  # memory of a small GPU
LARGE_M, MANY = 300, 1_000_000  # millions of parameters, images of pre-training: more than one device can do
OWN = ("own", "simplified")


@dataclass
class Method:
    """A method of the catalog as the guide sees it. runs: its own implementation, or None."""

    entry: Entry
    runs: registry.Entry | None
    closest: registry.Entry | None
    ladder: list
    links: int

    @property
    def key(self) -> tuple:
        """Sorts what ran and learned here first, then what publishes weights, then what the catalog speaks of most."""
        state = sum({"reached": 2, "expired": 1}.get(rung.state, 0) for rung in self.ladder) if self.runs else 0
        weights = bool(self.entry.get("code.weights"))
        return (-bool(self.runs), -state, -weights, -round(log2(1 + self.links), 1), self.entry.name.lower())

    def rung(self, name: str) -> object | None:
        """A rung that was reached, on the code of today or of before."""
        return next((r for r in self.ladder if r.name == name and r.state != "open"), None) if self.runs else None

    @property
    def learned(self) -> str:
        """What its "learns" rung shows, or ""."""
        rung = self.rung("learns")
        return rung.detail.partition(";")[0] if rung else ""

    @property
    def needs(self) -> set[str]:
        return set(self.runs.needs) if self.runs else set()


Rule = Callable[[Method], str]  # the reason why a method suits, or ""


@dataclass
class Answer:
    """One answer to a question. facet: (code, value) of the facet page that lists all entries of it."""

    code: str
    label: str
    description: str
    rule: Rule
    facet: tuple[str, str] | None = None
    methods: list[tuple[Method, str]] = field(default_factory=list)


@dataclass
class Question:
    code: str
    title: str
    about: str
    answers: list[Answer]


def methods(site: Site) -> list[Method]:
    """Every method that learns without labels and is known to exist, the best founded first."""
    found = []
    for entry in site.of_kind("framework"):
        if entry.data.get("family") == "supervised" or entry.data.get("identity") == "unidentified":
            continue
        implementation = site.implementation(entry)
        own = entry.get("refimpl.fidelity") in OWN
        ladder = site.method_ladder(implementation.name) if implementation and own else []
        links = sum(map(len, site.catalog.inverse_relations(entry).values()))
        found.append(Method(entry, implementation if own else None, None if own else implementation, ladder, links))
    return sorted(found, key=lambda method: method.key)


def _listed(method: Method, name: str) -> list:
    return method.entry.get(name, list, [])


def _protocols(method: Method) -> set[str]:
    return {score.get("protocol") for score in _listed(method, "results")}


def _made_for(site: Site, vocabulary: str, name: str, word: str) -> Rule:
    said = f"for {site.word(vocabulary, word)}"
    return lambda method: said if word in _listed(method, name) else ""


def _modality(site: Site, word: str) -> Rule:
    named, gives = _made_for(site, "modality", "modality", word), GIVES.get(word, set())

    def rule(method: Method) -> str:
        takes = method.runs and method.needs - {"label", "location"} and method.needs - {"label", "location"} <= gives
        alone = "images one by one" if gives & {"series", "video"} else "any number of bands"
        return named(method) or (f"its implementation takes {alone}" if takes else "")

    return rule


def _situations(site: Site) -> Iterator[Answer]:
    def series(method: Method) -> str:
        if method.needs & {"series", "dates", "date"}:
            return "its implementation reads dates"
        return "for image time series" if "time_series" in _listed(method, "modality") else ""

    def pairs(method: Method) -> str:
        if method.needs & {"before", "after"}:
            return "its implementation reads pairs"
        return "for change detection" if "change_detection" in _listed(method, "tasks") else ""

    def sensors(method: Method) -> str:
        if "second" in method.needs:
            return "its implementation reads a second sensor"
        kinds = [m for m in SENSED if m in _listed(method, "modality")]
        tasks = site.catalog.related(method.entry).get("solves_pretext_task", [])
        across = any(task.data.get("family") == "contrastive_modal" for task in tasks)
        if len(kinds) < 2 or not across:
            return ""
        return f"learns across {', '.join(site.word('modality', k) for k in kinds)}"

    def places(method: Method) -> str:
        if "location" in method.needs:
            return "its implementation reads coordinates"
        return "for geolocation" if "geolocation" in _listed(method, "modality") else ""

    def pixels(method: Method) -> str:
        if method.needs & {"spectrum", "patch"}:
            return "its implementation reads spectra"
        tasks = {"unmixing", "pixel_classification"} & set(_listed(method, "tasks"))
        if "hyperspectral" not in _listed(method, "modality") or not tasks:
            return ""
        return f"for {', '.join(site.word('task', t).lower() for t in sorted(tasks))}"

    def video(method: Method) -> str:
        if "video" in method.needs:
            return "its implementation reads frames"
        return "for video" if {"video", "uav_video"} & set(_listed(method, "modality")) else ""

    yield Answer("series", "Image series", "The same places at several dates.", series, ("modality", "time_series"))
    yield Answer("pairs", "Before and after", "Two dates, and what changed.", pairs, ("task", "change_detection"))
    yield Answer("sensors", "Two sensors", "The same places seen by two instruments.", sensors)
    yield Answer("places", "Coordinates", "Where each image was taken.", places, ("modality", "geolocation"))
    yield Answer(
        "spectra", "Hyperspectral scene", "One scene, a spectrum per pixel.", pixels, ("modality", "hyperspectral")
    )
    yield Answer("video", "Video", "Frames of a flight.", video, ("modality", "uav_video"))


def _labels(site: Site) -> Iterator[Answer]:
    def none(method: Method) -> str:
        tasks = [t for t in ("clustering", "unmixing", "image_retrieval") if t in _listed(method, "tasks")]
        ways = [
            p for p in ("clustering", "unsupervised", "unmixing", "retrieval", "zero_shot") if p in _protocols(method)
        ]
        if "label" in method.needs or not (tasks or ways):
            return ""
        words = [site.word("task", t) for t in tasks] or [site.word("protocol", p) for p in ways]
        return f"gives a result without labels: {', '.join(w.lower() for w in words)}"

    def few(method: Method) -> str:
        if method.entry.data.get("family") == "semi_supervised" or "label" in method.needs:
            return "trains on few labels beside many images"
        if method.rung("learns"):
            return "a linear model on its frozen features beats random initialisation here"
        ways = [p for p in ("few_labels", "knn", "linear_probe") if p in _protocols(method)]
        return f"its authors report {site.word('protocol', ways[0])} scores" if ways else ""

    def many(method: Method) -> str:
        parts = ["weights to start from are published"] if method.entry.get("code.weights") else []
        parts += ["its authors report fine-tuning"] if "fine_tuning" in _protocols(method) else []
        return ", ".join(parts)

    yield Answer("none", "None", "The result has to come without any label.", none)
    yield Answer("few", "Few", "Some per class: a small model on frozen features, or semi-supervised training.", few)
    yield Answer("many", "Many", "Enough to train all weights further.", many)


def _compute(site: Site) -> Iterator[Answer]:
    records = {r.get("method"): r for r in site.verifications if str(r.get("device", "")).startswith("CPU")}

    def cpu(method: Method) -> str:
        on_cpu = records.get(method.runs.name) if method.runs else None
        smoke = ((on_cpu or {}).get("rungs") or {}).get("runs") or {}
        if not on_cpu or not method.rung("learns"):
            return ""
        return f"learned on a CPU here; its command took {float(smoke.get('seconds') or 0):.0f} s in smoke mode"

    def small(method: Method) -> str:
        peak = peak_memory(site, method.entry) if method.runs else None
        if peak is None or peak > SMALL_MB or method.runs.couples_samples:
            return ""
        return f"its loss needs no large batch; at most {peak / 1024:.1f} GB on record"

    def many(method: Method) -> str:
        sizes = [s for s in method.entry.get("facts.params_m", list, []) if isinstance(s, (int, float))]
        samples = method.entry.get("facts.pretraining_samples", int, 0)
        parts = ["its loss compares the samples of a batch: larger ones help"] if method.runs and (
            method.runs.couples_samples
        ) else []  # fmt: skip
        parts += [f"{max(sizes):g} million parameters"] if sizes and max(sizes) >= LARGE_M else []
        parts += [f"trained on {samples / 1e6:.3g} million images by its authors"] if samples >= MANY else []
        return "; ".join(parts)

    yield Answer("cpu", "A CPU", "No GPU at all.", cpu)
    yield Answer("small", "One small GPU", f"Up to {SMALL_MB // 1024} GB of memory.", small)
    yield Answer("many", "Many GPUs", "Large batches, large networks, large archives.", many)


def _words(site: Site, code: str, vocabulary: str, rule: Callable[[Site, str], Rule]) -> Iterator[Answer]:
    """An answer per word of a vocabulary."""
    for word, about in (site.catalog.vocabulary.get(vocabulary) or {}).items():
        yield Answer(plain(word), site.word(vocabulary, word), plain(about.get("description", "")),
                     rule(site, word), (code, plain(word)))  # fmt: skip


def _first(suits: tuple[Method, str]) -> tuple[bool, bool, bool]:
    """What runs and learned here comes first, and of that what its authors made for it."""
    method, reason = suits
    return not method.runs, not method.learned, bool(method.runs) and not reason.startswith("for ")


def questions(site: Site) -> list[Question]:
    """The questions with the methods that suit each answer, the best founded first; answers that nothing suits go."""
    found = [
        Question("modality", "What do your images show?", "By the kind of sensor.",
                 list(_words(site, "modality", "modality", _modality))),
        Question("have", "What else do you have?", "More than one image of a place is a source of supervision.",
                 list(_situations(site))),
        Question("labels", "How many labels?", "They decide what comes after pre-training.", list(_labels(site))),
        Question("compute", "What do you compute on?", "By what runs here needed on record.", list(_compute(site))),
        Question("task", "What for?", "By the task that the authors name.",
                 list(_words(site, "task", "task", lambda s, w: _made_for(s, "task", "tasks", w)))),
        Question("sensor", "Which sensor exactly?", "Methods whose authors trained on its images.",
                 list(_words(site, "sensor", "sensor", lambda s, w: _made_for(s, "sensor", "facts.sensors", w)))),
    ]  # fmt: skip
    every = methods(site)
    for question in found:
        for answer in question.answers:
            suits = [(m, reason) for m in every if (reason := answer.rule(m))]
            answer.methods = sorted(suits, key=_first)
        question.answers = [answer for answer in question.answers if answer.methods]
    return [question for question in found if question.answers]
