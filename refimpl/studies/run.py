"""What `python -m refimpl run` does: train, judge beside the baselines, and leave a folder that tells all of it.

<out>/config.json            what was asked for; --resume compares with it
<out>/metrics.jsonl          one line per logged step
<out>/checkpoints/           what a killed run resumes from
<out>/weights.safetensors    the trained method, with all that is needed to load it
<out>/record.json            the run record
<out>/report.html            one page with curve.png and features.png
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from refimpl import registry
from refimpl.data import known
from refimpl.data.bands import same_bands
from refimpl.data.dataset import Data, DataError
from refimpl.engine import distributed
from refimpl.engine.checkpoint import write_atomically
from refimpl.engine.errors import TrainingError
from refimpl.engine.loop import train
from refimpl.engine.meeting import across_machines
from refimpl.engine.nerve import FolderLock, names_lost_processes
from refimpl.engine.progress import Bar, say
from refimpl.evaluation import PROTOCOLS, EvaluationError
from refimpl.studies import build, record, report
from refimpl.studies.saved import load_method, save_method

RESULTS = registry.ROOT.parent / "catalog" / "results"
ASKED = ("data", "bands", "size", "samples", "smoke")  # options that say which data; kept so that they can be reopened


@dataclass
class Options:
    """What a person may ask of a run; None leaves it to the method."""

    method: str
    data: str | None = None
    backbone: str | None = None
    bands: str | None = None
    size: int | None = None
    samples: int | None = None
    smoke: bool = False
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    shard: bool = False
    tensorboard: bool = False
    seed: int = 0
    out: str | None = None
    resume: bool = False
    preset: str | None = None
    settings: dict[str, object] = field(default_factory=dict)
    quiet: bool = False


def choose_device(name: str) -> torch.device:
    """ "auto" is the first GPU if there is one. Raises TrainingError where the device does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingError(f"unknown device {name!r}; use cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise TrainingError("no CUDA device can be used here; run with --device cpu")
        if distributed.local_rank() is not None:
            device = torch.device("cuda", distributed.local_rank())
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device


def open_for(options: Options) -> Data:
    """The data of a run, checked against what its method needs. Raises DataError."""
    needs = registry.find(options.method).needs
    spec = options.data
    if spec is None:
        fitting = known.matching(needs)
        if not fitting:
            raise DataError(f"no known data set gives {' and '.join(needs)}; name one with --data")
        spec = fitting[0]
    size, samples = options.size, options.samples
    if options.smoke:
        smoke = registry.find(options.method).smoke
        size, samples = size or smoke.get("size", build.SMOKE_SIZE), samples or build.SMOKE_SAMPLES
    data = known.open_data(spec, bands=options.bands, size=size, seed=options.seed, samples=samples, needs=needs)
    known.require(data, needs, options.method)
    return data


def run(options: Options) -> Path:
    """Trains, evaluates and reports; returns the run folder.

    Raises:
        DataError, TrainingError, SettingError, BackboneError, UnknownMethod: each one line that names the remedy.
        Stopped: a signal asked for it; the folder holds a checkpoint.
    """
    cls = build.method_class(options.method)
    started = record.now()
    settings = {**(build.preset(cls, options.preset) if options.preset else {}), **options.settings}
    backbone, recipe = settings.pop("backbone", None), cls.recipe
    backbone = options.backbone or backbone
    hyper, changes = build.split_settings(cls, settings)
    if options.smoke:
        smoke_backbone, smoke_hyper, recipe = build.smoke_recipe(options.method)
        backbone, hyper = backbone or smoke_backbone, {**smoke_hyper, **hyper}
    recipe = recipe.but(**changes)
    device = choose_device(options.device)
    data = open_for(options)
    hyper = {**cls.settings_for(data), **hyper}
    method = build.build_method(options.method, data.inputs, backbone=backbone, seed=options.seed, **hyper)
    config = {
        "method": options.method,
        "data": data.name,
        "backbone": backbone or cls.backbone,
        "bands": list(method.encoder.input.bands),
        "size": method.encoder.input.size,
        "hyper": {**build.hyper_parameters(cls), **hyper},
        "recipe": asdict(recipe),
        "seed": options.seed,
        "precision": options.precision,
        "asked": {key: getattr(options, key) for key in ASKED},
        "digest": data.digest(),
        "begun": {"commit": record.commit(), "code_hash": registry.rung_hash(options.method, "measured")},
    }
    with contextlib.ExitStack() as held:  # the folder is ours until it is finished
        with names_lost_processes(), across_machines(device), distributed.process_group(device):
            folder = _folder(options, config, started, held)
            if distributed.is_main() and not options.quiet:
                size = f"{config['size']} px" if config["size"] > 1 else "pixels"
                say(
                    f"{options.method} on {data.name}: {len(data.splits['train'])} training samples, "
                    f"{len(config['bands'])} bands, {size}, {config['backbone']}, {device}"
                )
            trained = train(
                method,
                data,
                recipe,
                seed=options.seed,
                device=device,
                precision=options.precision,
                compiles=options.compile,
                shard=options.shard,
                tensorboard=options.tensorboard,
                folder=folder,
                max_steps=build.SMOKE_STEPS if options.smoke and "epochs" not in options.settings else None,
                quiet=options.quiet,
            )
            main = distributed.is_main()
        if main:
            method.eval()
            save_method(folder, options.method, config["backbone"], config["hyper"], method)
            facts = {**asdict(trained), "device": record.device_name(device)}
            finish(folder, method, data, config, facts, started, quiet=options.quiet)
    return folder


def finish(folder: Path, method, data: Data, config: dict, trained: dict, started: str, *, quiet: bool = False) -> dict:
    """Judges a trained method, writes record.json and report.html; returns the record."""

    def fresh():
        twin = build.build_method(
            config["method"], data.inputs, backbone=config["backbone"], seed=config["seed"] + 1000, **config["hyper"]
        )
        return twin.eval()

    protocol = PROTOCOLS[method.protocol]
    scores, rules = [], ""
    try:
        with Bar("judging", 100, quiet=quiet) as bar:
            scores = protocol.evaluate(
                method,
                data,
                seed=config["seed"],
                fresh=fresh,
                progress=lambda what, share: bar.reach(100 * share, what),
            )
        rules = protocol.fingerprint(method, data)
    except EvaluationError as error:
        # Training on data without labels is the very point; it only cannot be judged there.
        say(f"trained, but not judged: {error}; `refimpl evaluate {folder} --data ...` judges it on other data")
    facts = {
        "name": data.name,
        "digest": config["digest"] if data.name == config["data"] else data.digest(),
        "synthetic": data.synthetic,
        "samples": len(data),
        "source": data.source,
    }
    rows = [{key: value for key, value in score.as_dict().items() if value is not None} for score in scores]
    for row in rows:
        row["unit"] = row["unit"] or "1"  # a pure number
    # What was asked for may hold a path of this machine; the record names the data by name and hash.
    settings = {key: value for key, value in config.items() if key not in ("asked", "begun", "digest")}
    made = record.run_record(settings, config["begun"], facts, trained, rows, rules, started)
    write_atomically(folder / "record.json", record.as_json(made))
    report.write_report(folder, made, method, data)
    if not quiet:
        if scores:
            report.print_scores(made)
        say(f"report: {folder / 'report.html'}")
    return made


def evaluate(run_folder: str | Path, *, data: str | None = None, device: str = "auto") -> dict:
    """Judges a finished run again, on the data it was trained on or on others; returns the new record.

    With other data the record and the report go to <run>/on-<data>/ and the run's own are left alone.
    Raises:
        CheckpointError, DataError: one line with the remedy.
    """
    folder = Path(run_folder)
    method = load_method(folder).to(choose_device(device))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    before = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    options = Options(config["method"], seed=config["seed"], **{k: config["asked"][k] for k in ASKED})
    if data is not None:
        options.data = data
    opened = open_for(options)
    if not same_bands(opened.inputs[method.needs[0]].bands, method.encoder.input.bands):
        bands = ", ".join(method.encoder.input.bands)
        raise DataError(f"{opened.name} has other bands than the run ({bands}); train a run with its bands")
    if opened.inputs[method.needs[0]].size != method.encoder.input.size:
        size = method.encoder.input.size
        raise DataError(f"{opened.name} has images of another size than the run ({size} px); train a run at its size")
    target = folder
    if data is not None:
        target = folder / f"on-{opened.name}".replace("/", "_")
        target.mkdir(exist_ok=True)
    trained = {key: before[key] for key in ("seconds", "images_per_second", "peak_memory_mb", "curve", "device")}
    return finish(target, method, opened, config, trained, before["started"])


def publish(run_folder: str | Path, results: Path = RESULTS) -> Path:
    """Copies a finished run's record to catalog/results/<method>-<data>-<id>.json, where the site finds it.

    Raises TrainingError where there is no record, or one without scores.
    """
    source = Path(run_folder) / "record.json"
    if not source.exists():
        raise TrainingError(f"{source}: no record there; name the folder of a finished run")
    made = json.loads(source.read_text(encoding="utf-8"))
    if not made["scores"]:
        raise TrainingError(
            f"{source}: the run was not judged; a result needs scores (refimpl evaluate ... --data ...)"
        )
    name = re.sub(r"[^a-z0-9]+", "_", Path(made["data"]["name"]).stem.lower())
    target = results / f"{made['method']}-{name}-{made['id']}.json"
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(target, source.read_bytes())
    return target


def _folder(options: Options, config: dict, started: str, held: contextlib.ExitStack) -> Path:
    """Creates (or for --resume finds) the run folder, the same on every process; the main one locks it into `held`."""
    chosen: list[Path | str | None] = [None]
    if distributed.is_main():
        try:
            chosen[0] = _prepare_folder(options, config, started, held)
        except Exception as error:  # the other processes wait for an answer, whatever happened here
            chosen[0] = str(error)
    if distributed.world_size() > 1:
        dist.broadcast_object_list(chosen)  # between processes of this very run
    if not isinstance(chosen[0], Path):
        raise TrainingError(str(chosen[0]))
    return chosen[0]


def _prepare_folder(options: Options, config: dict, started: str, held: contextlib.ExitStack) -> Path:
    # torchrun starts all processes anew when one was lost: they go on where the last checkpoint is.
    resume = options.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    name = f"{options.method}-{config['data']}".replace("/", "_")
    runs = Path("runs")
    if options.out:
        folder = Path(options.out)
    elif resume:
        earlier = sorted(runs.glob(f"{name}-*/config.json"), key=lambda path: path.stat().st_mtime)
        if not earlier:
            raise TrainingError(f"no earlier run of {name} under {runs}/ to resume; name its folder with --out")
        folder = earlier[-1].parent
    else:
        stamp = started.replace("-", "").replace(":", "").replace("T", "-").rstrip("Z")
        folder = runs / f"{name}-{stamp}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
    held.enter_context(FolderLock(folder))
    note = folder / "config.json"
    if note.exists():
        if not resume:
            raise TrainingError(f"{folder} holds a run already; continue it with --resume or choose another --out")
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{note}: cannot be read ({error}); put it right or choose another --out") from None
        # `begun` may differ: the record keeps the code that the run began with, and expires if that has changed.
        keys = [key for key in config if key != "begun"]
        differing = [key for key in keys if before.get(key) != json.loads(json.dumps(config[key]))]
        if differing:
            raise TrainingError(f"{folder} was begun with another {' and '.join(differing)}; resume it as it was begun")
        config["begun"] = before["begun"]
        return folder
    write_atomically(note, (json.dumps(config, indent=1) + "\n").encode())
    return folder
