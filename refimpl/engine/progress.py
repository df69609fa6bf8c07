"""What a person sees while a run goes on: a bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class _Console(Console):
    def on_broken_pipe(self) -> None:
        self.quiet = True  # a run does not end because nobody listens any more


console = _Console(stderr=True, highlight=False)


class Bar:
    """A progress bar over steps; used as a context manager. Silent when `quiet`.

    Off a terminal (a log file, CI) it prints at most one line every `every` seconds instead.
    """

    def __init__(self, title: str, total: int, *, start: int = 0, quiet: bool = False, every: float = 15.0):
        self.title, self.total, self.done, self.quiet, self.every = title, total, start, quiet, every
        self._start, self._began, self._said = start, time.monotonic(), time.monotonic()
        self._bar = None
        if not quiet and console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(title, total=total, completed=start, note="")

    def __enter__(self) -> Bar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, note: str | None = None, steps: int = 1) -> None:
        self.done += steps
        if self._bar:
            self._bar.update(self._task, advance=steps, **({} if note is None else {"note": note}))
            return
        now = time.monotonic()
        if not self.quiet and (now - self._said >= self.every or self.done == self.total):
            self._said = now
            left = (now - self._began) / max(1, self.done - self._start) * (self.total - self.done)
            with contextlib.suppress(BrokenPipeError):
                print(
                    f"{self.title}: {self.done}/{self.total}, {left:.0f} s left{'' if not note else ', ' + note}",
                    file=sys.stderr,
                )

    def reach(self, done: float, note: str | None = None) -> None:
        """Moves the bar to `done` of `total`; for work that knows its share and not its steps."""
        steps = int(done) - self.done
        if steps > 0:
            self.advance(note, steps)


def say(text: str, *, style: str = "") -> None:
    """One line to the person, on standard error."""
    console.print(text, style=style, soft_wrap=True, markup=False)
