"""The metrics of a run, as JSON lines, and the alarms raised while they are written."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from refimpl.engine import checkpoint, distributed, watch
from refimpl.engine.progress import say


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is one line with the remedy."""


class Log:
    """metrics.jsonl: one line per logged step; lines beyond the step that a run resumes from are dropped."""

    def __init__(self, folder: Path | None, first: int, quiet: bool):
        self.file, self.quiet, self.warned = None, quiet, False
        self._curve: list[tuple[int, float]] = []
        if folder is None or not distributed.is_main():
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] < first]
            checkpoint.write_atomically(path, "".join(line + "\n" for line in kept).encode())
            self._curve = [(line["step"], line["loss"]) for line in map(json.loads, kept)]
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by close()

    def write(self, step, rate, metrics, embedding, recipe, began, first) -> dict:
        values = {name: float(distributed.mean_over_processes(v)) for name, v in metrics.items()}
        line: dict = {"step": step, **values, "lr": rate}
        line["images_per_second"] = (
            (step - first + 1) * recipe.batch * recipe.accumulate / max(1e-9, time.monotonic() - began)
        )
        if not all(math.isfinite(v) for v in values.values()):
            raise TrainingError(
                f"step {step}: the loss is not finite ({values}); lower --set lr or use --precision fp32"
            )
        self._curve.append((step, line["loss"]))
        warnings = []
        if embedding is not None and len(embedding) > 1:
            line["embedding_std"] = watch.embedding_std(embedding)
            line["effective_rank"] = watch.effective_rank(embedding)
            warning = watch.collapse_warning(line["embedding_std"], line["effective_rank"])
            if warning and not self.warned:
                self.warned = True
                warnings.append(f"step {step}: {warning}")
                if not self.quiet:
                    say(warnings[-1], style="yellow")
        if self.file:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        return {**line, "warnings": warnings}

    def curve(self, points: int = 300) -> list[tuple[int, float]]:
        """(step, loss) of the whole run, resumed or not: at most `points`, evenly chosen, the last included."""
        every = -(-len(self._curve) // points) or 1
        return self._curve[::-1][::every][::-1]

    def close(self) -> None:
        if self.file:
            self.file.close()
