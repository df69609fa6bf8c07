"""The encoder of a finished run in the formats of others: timm / Hugging Face, ONNX, torch.export.

    timm    model.safetensors and config.json; `timm.create_model("local-dir:...", pretrained=True)` builds it
    onnx    model.onnx, for any runtime; takes stored numbers and normalises inside
    torch   model.pt2, a torch.export program; takes stored numbers and normalises inside

Each folder has a config.json with bands, normalisation and origin, and a README.md in plain words. Before a folder
takes its name it is read back by the library that will read it, and its features are compared with the run's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from refimpl.backbones import Encoder, TimmEncoder
from refimpl.data.words import did_you_mean, one_line, readable_bytes
from refimpl.engine.method import Method
from refimpl.engine.progress import say
from refimpl.studies.card import model_card
from refimpl.studies.embed import StoredEncoder
from refimpl.studies.facts import encoder_facts, read_record
from refimpl.studies.saved import load_method
from refimpl.studies.whole import whole_folder

TOLERANCE = 1e-4  # largest difference, relative to the largest feature; rounding of float32 stays below 1e-5
BATCHES = (1, 2, 5)  # numbers of images at which the formats are compared, so that a frozen batch size is noticed
ONE_FILE = 1_900_000_000  # bytes of weights that one ONNX file may hold (protobuf ends at 2 GiB)

# What timm's description of an architecture says of its public ImageNet weights (tag, licence, address, paper) does
# not hold for these. Only what tells how to build the network and prepare its input is kept.
_KEPT_BY_TIMM = (
    "custom_load", "fixed_input_size", "pool_size", "first_conv", "classifier", "num_classes",
)  # fmt: skip


class ExportError(RuntimeError):
    """An encoder that cannot be exported as asked; the message is one line with the remedy."""


def export(run: str | Path, to: str, out: str | Path | None = None, *, quiet: bool = False) -> Path:
    """Writes the encoder of a run; returns the folder.

    Args:
        run: a run folder. to: a key of `FORMATS`.
        out: the folder to make; default `<run>/<to>`.
    Raises:
        ExportError: unknown format, missing library, a network that the format cannot hold, or features that differ.
        CheckpointError, OutputError: no finished run; the folder exists or cannot be written.
    """
    if to not in FORMATS:
        raise ExportError(f"unknown format {to!r}{did_you_mean(to, FORMATS, 'known are ' + ', '.join(FORMATS))}")
    run = Path(run)
    method = load_method(run)
    record = read_record(run)
    facts = encoder_facts(method, record)
    target = Path(out) if out is not None else run / to
    model = StoredEncoder(method.encoder).eval()
    with whole_folder(target) as folder, torch.no_grad():
        again = FORMATS[to](folder, model, facts)
        reader = f"{READERS[to]} {version(READERS[to])}"
        difference, largest = _compare(model, again, example_images(method.encoder), to)
        checked = (
            f"Checked when it was written: read back by {reader}, on batches of {', '.join(map(str, BATCHES))} "
            f"random images, its features are {_apart(difference, largest)}."
        )
        own = type(method).embed is not Method.embed
        (folder / "README.md").write_text(model_card(facts, record, to, checked, own_features=own), encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.iterdir())
    if not quiet:
        say(
            f"{target}: {readable_bytes(size)}; read back by {reader}, its features are "
            f"{_apart(difference, largest)}; README.md there says how to use it"
        )
    return target


def example_images(encoder: Encoder, seed: int = 0) -> list[Tensor]:
    """Random stored numbers of the encoder's shape, with the mean and deviation of its bands, one item per `BATCHES`.

    Each is (B, C, size, size), or (B, C) where the encoder reads single pixels.
    """
    view = encoder.input
    side = (view.size, view.size) if view.size > 1 else ()
    generator = torch.Generator().manual_seed(seed)
    shape = (1, -1, *[1] * len(side))
    mean, std = encoder.mean.cpu().view(shape), encoder.std.cpu().view(shape)
    return [mean + std * torch.randn(b, len(view.bands), *side, generator=generator) for b in BATCHES]


def _apart(difference: float, largest: float) -> str:
    if difference == 0:
        return "the run's, bit for bit"
    return f"the run's to within {difference:.2g} (they are up to {largest:.3g} in size)"


def _compare(model: nn.Module, again: Callable[[Tensor], Tensor], images: list[Tensor], to: str) -> tuple[float, float]:
    """(largest difference of features, largest feature). Raises ExportError where they differ by more than rounding."""
    difference = largest = 0.0
    for stored in images:
        expected, got = model(stored), torch.as_tensor(again(stored))
        if got.shape != expected.shape:
            raise ExportError(f"{to}: gives features of shape {tuple(got.shape)}, the run {tuple(expected.shape)}")
        difference = max(difference, float((got - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    if not difference <= TOLERANCE * largest:  # so that NaN is refused too
        raise ExportError(
            f"{to}: features differ from the run's by {difference:.2g} of {largest:.3g}, more than rounding; "
            "nothing was written; try another --to"
        )
    return difference, largest


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# -- timm / Hugging Face -----------------------------------------------------------------------------------------------


def _to_timm(folder: Path, model: StoredEncoder, facts: dict) -> Callable[[Tensor], Tensor]:
    import timm
    from timm.models._hub import save_config_for_hf  # what timm's own upload writes; no public name does only this

    encoder = model.encoder
    if not isinstance(encoder, TimmEncoder):
        raise ExportError(f"{encoder.name} is not a network of timm; export it with --to onnx or --to torch")
    view = encoder.input
    path = folder / "config.json"
    save_config_for_hf(encoder.net, str(path))
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config["pretrained_cfg"].items() if key in _KEPT_BY_TIMM}
    prepare = {"mean": view.mean, "std": view.std, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center"}
    config["pretrained_cfg"] = {**kept, "input_size": [len(view.bands), view.size, view.size], **prepare}
    config["refimpl"] = facts
    _write_json(path, config)
    # Convolutions may lie in memory channels last, which safetensors does not write.
    weights = {key: value.detach().cpu().contiguous() for key, value in encoder.net.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    try:
        again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ExportError(
            f"{encoder.name}: timm {timm.__version__} cannot load it back ({one_line(error)}); "
            "install a newer timm or use --to torch"
        ) from None
    return lambda stored: again(encoder.normalise(stored))


# -- ONNX --------------------------------------------------------------------------------------------------------------


def _to_onnx(folder: Path, model: StoredEncoder, facts: dict) -> Callable[[Tensor], Tensor]:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise ExportError(f"--to onnx needs {name}; install it with: pip install 'ssl-for-earth[export]'") from None
    import onnxruntime

    with _silent():
        try:
            program = torch.onnx.export(
                model,
                (_two(model),),
                dynamo=True,
                dynamic_shapes={"stored": {0: torch.export.Dim("batch")}},
                input_names=["stored"],
                output_names=["features"],
                verbose=False,
            )
        except Exception as error:  # whatever in the network the exporter cannot express
            raise _inexpressible(model, "ONNX", error, "torch") from None
    program.model.metadata_props["refimpl"] = json.dumps(facts)
    weights = sum(value.nbytes for value in model.state_dict().values())
    path = folder / "model.onnx"
    program.save(str(path), external_data=weights > ONE_FILE)
    _write_json(folder / "config.json", facts)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda stored: torch.from_numpy(session.run(None, {"stored": stored.numpy()})[0])


# -- torch.export ------------------------------------------------------------------------------------------------------


def _to_torch(folder: Path, model: StoredEncoder, facts: dict) -> Callable[[Tensor], Tensor]:
    path = folder / "model.pt2"
    with _silent():
        try:
            shapes = {"stored": {0: torch.export.Dim("batch")}}
            program = torch.export.export(model, (_two(model),), dynamic_shapes=shapes)
        except Exception as error:  # whatever in the network the exporter cannot express
            raise _inexpressible(model, "a torch.export program", error, "timm") from None
        content = io.BytesIO()  # torch's own writing of files ends with a stack trace where the disk is full
        torch.export.save(program, content, extra_files={"refimpl.json": json.dumps(facts)})
        path.write_bytes(content.getbuffer())
        _write_json(folder / "config.json", facts)
        return torch.export.load(path).module()


FORMATS: dict[str, Callable[[Path, StoredEncoder, dict], Callable[[Tensor], Tensor]]] = {
    "timm": _to_timm,
    "onnx": _to_onnx,
    "torch": _to_torch,
}
"""format -> writes the files of one into a folder and returns the network as read back, stored -> features."""


READERS = {"timm": "timm", "onnx": "onnxruntime", "torch": "torch"}
"""format -> the package that reads it back"""


def _two(model: StoredEncoder) -> Tensor:
    """Two images: exporters take a batch of one for a constant."""
    return example_images(model.encoder)[BATCHES.index(2)]


def _inexpressible(model: StoredEncoder, what: str, error: Exception, other: str) -> ExportError:
    return ExportError(
        f"{model.encoder.name} cannot be written as {what} ({one_line(error)}); try --to {other} (REFIMPL_DEBUG=1 "
        "shows where)"
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Exporters talk much, of their own affairs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
