"""Runs killed at random moments and resumed until they are done, then compared with one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.fault_table import PHASES, Killed
from scripts.faults.children import GRACE, LIMIT, POLL, Watch, children_of, group, torchrun

EPOCHS, BATCH, SAMPLES = 4, 16, 96
KILLS_PER_RUN = 5  # then the run is left to end and is compared
# The smallest network that still has each kind's parts; a method's own smoke settings choose the rest.
SMALLER = {"resnet10t": "test_resnet", "resnet18": "test_resnet", "resnet50": "test_resnet"}


@dataclass(frozen=True)
class Undisturbed:
    """A run as it should be. started, trained, ended: seconds after its start; steps: how many; saves: checkpoints."""

    result: dict[str, object]
    started: float
    trained: float
    ended: float
    steps: int
    saves: tuple[int, ...]
    write: float


@dataclass(frozen=True)
class Moment:
    """When to kill: in `phase`, after `step` (or while its checkpoint is written), `share` of that piece later."""

    phase: str
    step: int
    share: float


def command(name: str, folder: Path) -> list[str]:
    """A small run that begins, or goes on, in `folder`: 32 px, a dozen steps, a checkpoint every epoch."""
    from refimpl.studies.build import smoke_recipe

    backbone = smoke_recipe(name)[0]
    chosen = ["--backbone", SMALLER[backbone]] if backbone in SMALLER else []
    sizes = ["--samples", str(SAMPLES), "--batch", str(BATCH), "--epochs", str(EPOCHS)]
    return ["run", name, "--smoke", *chosen, *sizes, "--device", "cpu", "--quiet", "--resume", "--out", str(folder)]


def result_of(folder: Path) -> dict[str, object]:
    """What must not depend on how often a run was killed. Raises OSError, ValueError, KeyError where it is absent."""
    record = json.loads((folder / "record.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": (folder / "weights.safetensors").read_bytes(),
        "losses": [(line["step"], line["loss"]) for line in lines],
        "scores": record["scores"],
        "curve": record["curve"],
    }


def difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    """What differs between two results, "" for nothing."""
    return ", ".join(key for key in wanted if found[key] != wanted[key])


def undisturbed(name: str, folder: Path, processes: int) -> Undisturbed:
    """Runs to the end and notes when things happened. Raises RuntimeError where it fails."""
    began, watch = time.monotonic(), Watch(folder)
    children = group(command(name, folder), folder.with_suffix(".log"), processes)
    started = trained = write = 0.0
    saves: dict[int, float] = {}
    while any(child.poll() is None for child in children):
        now = time.monotonic() - began
        started = started or (now if watch.step() >= 0 else 0.0)
        trained = trained or (now if watch.trained() else 0.0)
        if (saving := watch.writing()) is not None:
            saves.setdefault(saving, now)
            write = max(write, now - saves[saving])
        if now > LIMIT:
            for child in children:
                child.kill()
        time.sleep(POLL)
    if any(child.wait() for child in children):
        raise RuntimeError(f"{name}: an undisturbed run fails: {children[0].said()}")
    result = result_of(folder)
    steps = len(result["losses"])
    per_epoch = steps // EPOCHS
    every = tuple(range(per_epoch, steps + 1, per_epoch))
    return Undisturbed(result, started, trained, time.monotonic() - began, steps, every, max(write, 0.01))


def plan(random_: random.Random, run: Undisturbed, count: int) -> list[Moment]:
    """`count` moments in the order in which a run comes by them; starts lie anywhere, since every resume has one."""
    moments = []
    for phase in random_.sample(PHASES * count, count):
        step = random_.randrange(run.steps)
        if phase == "checkpoint":
            step = random_.choice((*run.saves, -1))  # -1: the trained weights
        moments.append(Moment(phase, step, random_.random()))

    def when(moment: Moment) -> tuple[int, int]:
        last = moment.phase == "judging"
        ends = moment.phase == "checkpoint" and moment.step < 0
        return (2 if last else 1 if ends else 0), moment.step

    return sorted(moments, key=when)


def wait_for(moment: Moment, watch: Watch, run: Undisturbed, began: float, running: Callable[[], bool]) -> bool:
    """Whether the moment came before the processes ended by themselves."""
    per_step = (run.trained - run.started) / max(1, run.steps)
    arrived = {
        "start": lambda: True,
        "steps": lambda: watch.step() >= moment.step,
        "checkpoint": lambda: watch.writing() == moment.step,
        "judging": watch.trained,
    }[moment.phase]
    lasts = {
        "start": run.started,
        "steps": per_step,
        "checkpoint": run.write,
        "judging": max(0.0, run.ended - run.trained - 0.1),
    }[moment.phase]
    while not arrived():
        if not running() or time.monotonic() - began > LIMIT:
            return False
        time.sleep(POLL)
    until = time.monotonic() + moment.share * lasts
    while running() and time.monotonic() < until:
        time.sleep(min(POLL, max(0.0, until - time.monotonic())))
    return running()


def campaign(name: str, family: str, kills: int, processes: int, folder: Path, seed: int, say=print) -> Killed:
    """Kills runs of a method, resuming each until it is done, until at least `kills` kills were made."""
    began = time.monotonic()
    random_ = random.Random(f"{seed} {name} {processes}")
    whole = undisturbed(name, folder / "undisturbed", processes)
    counts, runs, equal, message, wrong = dict.fromkeys(PHASES, 0), 0, 0, "", ""
    while sum(counts.values()) < kills and runs < 3 * kills:
        place = folder / f"run{runs}"
        for moment in plan(random_, whole, min(KILLS_PER_RUN, kills - sum(counts.values()))):
            at, watch = time.monotonic(), Watch(place)
            children = group(command(name, place), place.with_suffix(".log"), processes)
            running = lambda main=children[0]: main.poll() is None  # noqa: E731  only the first one judges
            counts[moment.phase] += wait_for(moment, watch, whole, at, running)
            # One of several is lost, or all at once; what is left of them must then end by itself. Only while they look
            # for one another does it take whoever started them (torchrun, a scheduler) to end them.
            alone = len(children) == 1 or watch.step() < 0 or random_.random() < 0.5
            victims = children if alone else [random_.choice(children)]
            for child in victims:
                child.kill()
            message = _survivors([child for child in children if child not in victims]) or message
        wrong = _finish(name, place, processes, whole) or wrong
        runs, equal = runs + 1, equal + (not wrong)
        if wrong:
            break
        _remove(place)
        say(f"{name}, {processes} process{'es' * (processes > 1)}: {sum(counts.values())} kills, {equal}/{runs} equal")
    seconds = round(time.monotonic() - began, 1)
    return Killed(name, family, processes, "command line", counts, runs, equal, seconds, wrong or message)


def _survivors(children) -> str:
    """Waits for processes whose partner was killed; what they said."""
    said = ""
    for child in children:
        try:
            if child.wait(GRACE):
                said = child.said().splitlines()[-1] if child.said() else said
        except TimeoutError:
            said = f"a process hung for {GRACE:.0f} s after its partner was killed"
    return said


def _finish(name: str, folder: Path, processes: int, whole: Undisturbed) -> str:
    """Lets a run end; what is wrong with its result, "" for nothing."""
    children = group(command(name, folder), folder.with_suffix(".log"), processes)
    try:
        codes = [child.wait() for child in children]
        if any(codes):
            return f"resuming failed: {children[0].said()}"
        wrong = difference(result_of(folder), whole.result)
    except (TimeoutError, OSError, ValueError, KeyError) as error:
        return f"resuming failed: {error}"
    litter = [path.name for path in folder.rglob("*.part")]
    return f"not equal: {wrong}" if wrong else f"left behind: {litter[0]}" if litter else ""


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def elastic(name: str, family: str, kills: int, folder: Path, seed: int, say=print) -> Killed:
    """The same under torchrun with two processes: a worker is killed, and torchrun starts both anew by itself.

    Every fourth kill takes torchrun itself and all its workers, and the run is then started again.
    """
    began = time.monotonic()
    random_ = random.Random(f"{seed} {name} torchrun")
    whole = undisturbed(name, folder / "undisturbed", 2)
    counts, runs, equal, wrong = dict.fromkeys(PHASES, 0), 0, 0, ""
    while sum(counts.values()) < kills and not wrong:
        place = folder / f"run{runs}"
        log = place.with_suffix(".log")
        moments = plan(random_, whole, min(KILLS_PER_RUN, kills - sum(counts.values())))
        agent, before = None, []
        try:
            for number, moment in enumerate(moments):
                if agent is None:
                    agent, before = torchrun(command(name, place), log, 2, len(moments)), []
                workers = _workers(agent, before)
                watch, at = Watch(place), time.monotonic()
                if not wait_for(moment, watch, whole, at, lambda agent=agent: agent.poll() is None):
                    break
                counts[moment.phase] += 1
                if number % 4 == 3:
                    _end_all(agent)
                    agent = None
                else:
                    os.kill(random_.choice(workers), signal.SIGKILL)
                    before = before + workers
            if agent is None:
                agent = torchrun(command(name, place), log, 2, 0)
            code = agent.wait(LIMIT)
            wrong = f"torchrun ended with {code}: {log.read_text()[-300:]}" if code else ""
            wrong = wrong or difference(result_of(place), whole.result)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            _end_all(agent)
        runs, equal = runs + 1, equal + (not wrong)
        say(f"{name}, torchrun with 2 processes: {sum(counts.values())} kills, {equal}/{runs} equal")
    seconds = round(time.monotonic() - began, 1)
    return Killed(name, family, 2, "torchrun", counts, runs, equal, seconds, wrong)


def _workers(agent, before: list[int]) -> list[int]:
    """The two workers that torchrun has started since those in `before`."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and agent.poll() is None:
        found = [pid for pid in children_of(agent.pid) if pid not in before and _is_worker(pid)]
        if len(found) == 2:
            return found
        time.sleep(0.01)
    raise RuntimeError("torchrun started no workers")


def _is_worker(pid: int) -> bool:
    try:
        return b"refimpl" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _end_all(agent) -> None:
    """Kills torchrun and its workers."""
    if agent is None:
        return
    workers = children_of(agent.pid)
    if agent.poll() is None:
        agent.kill()
        agent.wait()
    for pid in workers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
