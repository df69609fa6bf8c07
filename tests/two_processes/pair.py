"""Two worker processes that live as long as the test session and do one job at a time together.

Starting Python and torch twice takes longer than most jobs, so all tests share one pair. A job is the name of a
function in `jobs.py` and its arguments as JSON, one line on the worker's standard input; the answer is one line back,
and tensors travel as a safetensors file. A pair that hangs or dies is killed with a message and started afresh for the
next job.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

WORKER = Path(__file__).with_name("worker.py")
START_LIMIT = 120.0  # seconds; both processes import torch, perhaps on one busy core
JOB_LIMIT = 60.0
GRACE = 2.0  # after one worker failed, how long the other may take to notice


class WorkerError(AssertionError):
    """A job that failed, hung or killed a worker; the message holds what the workers said last."""


class Pair:
    """Two (or more) processes in one gloo group. folder: where they meet and leave their tensors."""

    def __init__(self, folder: Path, world: int = 2):
        self.world = world
        self.folder, self.processes, self.starts, self.jobs = folder, [], 0, 0
        self.ready = False

    def run(self, job: str, *, limit: float = JOB_LIMIT, **arguments) -> list[dict[str, Tensor]]:
        """What `jobs.<job>(**arguments)` returned in each process, in order of rank."""
        if not self.processes or any(p.poll() is not None for p in self.processes):
            self.start()
        if not self.ready:
            self._wait("starting", START_LIMIT)
            self.ready = True
        self.jobs += 1
        out = [self.folder / f"{self.jobs}-{rank}.safetensors" for rank in range(self.world)]
        for process, path in zip(self.processes, out):
            process.stdin.write(json.dumps({"job": job, "arguments": arguments, "out": str(path)}) + "\n")
            process.stdin.flush()
        self._wait(f"{job}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})", limit)
        tensors = [load_file(path) for path in out]
        for path in out:
            path.unlink()
        return tensors

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.processes, self.ready = [], False

    def start(self) -> None:
        """Launches both processes and returns at once; the first job waits until they are ready."""
        self.close()
        self.starts += 1
        meeting = self.folder / f"meeting-{self.starts}"
        paths = [str(WORKER.parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.answers: queue.Queue[tuple[int, str]] = queue.Queue()
        for rank in range(self.world):
            command = [sys.executable, str(WORKER), str(rank), str(self.world), str(meeting)]
            errors = open(self.folder / f"errors-{rank}.txt", "w")  # noqa: SIM115  the child's own copy stays open
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            errors.close()
            self.processes.append(process)
            threading.Thread(target=self._listen, args=(rank, process, self.answers), daemon=True).start()

    @staticmethod
    def _listen(rank: int, process: subprocess.Popen, answers: queue.Queue) -> None:
        for line in process.stdout:
            answers.put((rank, line))
        answers.put((rank, ""))

    def _wait(self, what: str, limit: float) -> None:
        """Waits for one answer of each worker; kills both if one failed, died, or took too long."""
        deadline = time.monotonic() + limit
        waiting, failures = set(range(self.world)), []
        while waiting:
            try:
                rank, line = self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                if not failures:
                    failures.append(f"no answer from process {sorted(waiting)} within {limit:.0f} s; killed")
                break
            waiting.discard(rank)
            problem = f"died: {self._last_words(rank)}" if not line else json.loads(line)["error"]
            if problem:
                failures.append(f"process {rank}: {problem}")
                # The other one may wait in a collective operation for ever.
                deadline = min(deadline, time.monotonic() + GRACE)
        if failures:
            self.close()
            raise WorkerError(f"{what} in {self.world} processes: " + "\n".join(failures))

    def _last_words(self, rank: int) -> str:
        return (self.folder / f"errors-{rank}.txt").read_text()[-1500:] or "no message"
