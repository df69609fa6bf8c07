"""Processes that run the real command line, and what can be seen of them from outside.

Importing torch takes longer than a small training, so it is imported once, here, and every run is a fork of this
process: its own memory, its own process number, its own command line (`refimpl.cli.main`), and a kill is a kill. This
process computes nothing itself, so that no thread is lost in a fork. Runs under torchrun start from nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

LIMIT = 300.0  # seconds that a small run may take on a busy machine
GRACE = 30.0  # seconds for a process to notice that its partner is gone
POLL = 0.001  # seconds between two looks


def load(names: Sequence[str]) -> None:
    """Imports everything that runs of the methods `names` import."""
    from refimpl import registry

    modules = ["refimpl.cli", "refimpl.studies.run", "matplotlib.pyplot", "PIL.Image", "scipy.optimize", "scipy.linalg"]
    for module in (*modules, *(registry.find(name).module for name in names)):
        importlib.import_module(module)
    for name in names:
        registry.rung_hash(name, "measured")  # read once, remembered by every fork


class Child:
    """A fork that runs `refimpl <arguments>`.

    log: file that gets what it prints. environment: variables that it sees besides ours. prepare: called in the child
    before the command line, such as to set a limit.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ):
        self.log, self._code = log, None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(list(arguments), log, environment or {}, prepare)

    def poll(self) -> int | None:
        """None while it runs, then its exit status, or minus the signal that ended it."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit status. Raises TimeoutError, having killed it."""
        deadline = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"not done within {limit:.0f} s; it said: {self.said() or 'nothing'}")
            time.sleep(0.005)
        return self._code

    def signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.001)

    def said(self) -> str:
        """All it printed."""
        return self.log.read_text(errors="replace").strip() if self.log.exists() else ""


def _become(arguments: list[str], log: Path, environment: dict[str, str], prepare) -> None:
    """Turns a fork into the process of a run; never returns."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if prepare:
            prepare()
        code = importlib.import_module("refimpl.cli").main(arguments)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # what `python -m refimpl` would print
        with contextlib.suppress(BaseException):
            traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def group(arguments: Sequence[str], log: Path, processes: int) -> list[Child]:
    """One process, or several that torchrun would have started: with the variables that it sets."""
    if processes == 1:
        return [Child(arguments, log)]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        Child(arguments, log.with_name(f"{log.name}-{rank}"), {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(arguments: Sequence[str], log: Path, processes: int, restarts: int) -> subprocess.Popen:
    """`torchrun -m refimpl <arguments>`, which starts all processes anew when one is lost, at most `restarts` times."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*launcher, f"--max-restarts={restarts}", "--monitor-interval=0.1", "-m", "refimpl", *arguments],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def children_of(pid: int) -> list[int]:
    """Process numbers of a process's children (Linux)."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


class Watch:
    """What the folder of a run shows since this watch began, while a run goes on in it.

    Files that an earlier process left there do not count: the metrics are replaced when training begins, unfinished
    files carry the number of the process that writes them, and the trained weights are written anew.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._metrics, self._weights = _stamp(folder / "metrics.jsonl"), _stamp(folder / "weights.safetensors")
        self._parts = set(self._unfinished())

    def step(self) -> int:
        """The last logged step; -1 before the first."""
        path = self.folder / "metrics.jsonl"
        if _stamp(path) in (None, self._metrics):
            return -1
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - 4096))
                found = re.findall(rb'"step": (\d+)', file.read())
            return int(found[-1]) if found else -1
        return -1

    def writing(self) -> int | None:
        """The step whose checkpoint is being written, -1 for the trained weights, None for nothing."""
        for path in self._unfinished():
            if path not in self._parts:
                number = re.match(r"\.(\d{8})\.", path.name)
                return int(number[1]) if number else -1
        return None

    def trained(self) -> bool:
        return _stamp(self.folder / "weights.safetensors") not in (None, self._weights)

    def _unfinished(self) -> list[Path]:
        found = []
        for folder in (self.folder / "checkpoints", self.folder):
            with contextlib.suppress(OSError):
                found += [folder / name for name in os.listdir(folder) if re.search(r"safetensors\.\d+\.part$", name)]
        return found


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tells one file of a name from the next (not from the same one, grown)."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_ctime_ns if path.suffix == ".safetensors" else 0
