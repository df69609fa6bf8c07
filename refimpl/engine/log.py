"""The metrics of a run, as JSON lines (and TensorBoard events), and the alarms raised while they are written."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from torch import Tensor

from refimpl.engine import checkpoint, distributed, watch
from refimpl.engine.errors import TrainingError
from refimpl.engine.progress import say


class Log:
    """metrics.jsonl: one line per logged step; lines beyond the step that a run resumes from are dropped.

    Args:
        folder: where it is written; None keeps the curve in memory only.
        first: the step a run begins or resumes at.
        batch: samples per step, of all processes together.
        tensorboard: also write events to `folder`/tensorboard.
    """

    def __init__(self, folder: Path | None, first: int, batch: int, quiet: bool, tensorboard: bool = False):
        self._file, self._events, self._quiet, self._warned = None, None, quiet, False
        self._first, self._batch, self._began = first, batch, time.monotonic()
        self._curve: list[tuple[int, float]] = []
        if folder is None or not distributed.is_main():
            return
        path = folder / "metrics.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in _lines(path) if line["step"] < first]
            checkpoint.write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by close()
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        self._curve = [(line["step"], line["loss"]) for line in kept]
        if tensorboard:
            self._events = _event_writer(folder / "tensorboard", first)

    def write(self, step: int, rate: float, metrics: dict[str, Tensor], embedding: Tensor | None) -> dict:
        """Logs a step; returns its line, with the alarms under "warnings".

        Raises:
            TrainingError: a metric is not finite on any process (all raise it together).
        """
        values = {name: float(distributed.mean_over_processes(v)) for name, v in metrics.items()}
        line: dict = {"step": step, **values, "lr": rate}
        line["images_per_second"] = (step - self._first + 1) * self._batch / max(1e-9, time.monotonic() - self._began)
        if not all(math.isfinite(v) for v in values.values()):
            raise TrainingError(f"step {step}: the loss is not finite ({values})")
        self._curve.append((step, line["loss"]))
        warnings = []
        if embedding is not None and len(embedding) > 1:
            line["embedding_std"] = watch.embedding_std(embedding)
            line["effective_rank"] = watch.effective_rank(embedding)
            warning = watch.collapse_warning(line["embedding_std"], line["effective_rank"])
            if warning and not self._warned:
                self._warned = True
                warnings.append(f"step {step}: {warning}")
                if not self._quiet:
                    say(warnings[-1], style="yellow")
        self._keep(line)
        return {**line, "warnings": warnings}

    def _keep(self, line: dict) -> None:
        try:
            if self._file:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
        except OSError as error:  # a full disk costs lines of the log, never the run
            say(f"{self._file.name}: cannot be written ({error.strerror}); the run goes on without its metrics")
            self._file = None
        if self._events:
            for name, value in line.items():
                if name != "step":
                    self._events.add_scalar(name, value, line["step"])

    def curve(self, points: int = 300) -> list[tuple[int, float]]:
        """(step, loss) of the whole run, resumed or not: at most `points`, evenly chosen, the last included."""
        every = -(-len(self._curve) // points) or 1
        return self._curve[::-1][::every][::-1]

    def close(self) -> None:
        for open_file in (self._file, self._events):
            if open_file:
                open_file.close()


def summary(line: dict) -> str:
    """A logged line in a few words, for the progress bar."""
    words = [f"loss {line['loss']:.4g}", f"{line['images_per_second']:.0f} images/s"]
    if "embedding_std" in line:
        words += [f"std {line['embedding_std']:.2f}", f"rank {line['effective_rank']:.1f}"]
    return ", ".join([*words, f"lr {line['lr']:.2g}"])


def _lines(path: Path) -> list[dict]:
    """The whole lines of a metrics file; one that a killed process left half-written is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict) and "step" in line and "loss" in line]


def _event_writer(folder: Path, first: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError(
            "TensorBoard is not installed; pip install tensorboard, or leave out --tensorboard"
        ) from None
    return SummaryWriter(str(folder), purge_step=first)
