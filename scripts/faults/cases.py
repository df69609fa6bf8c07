"""The other faults: signals, disks, files, numbers, memory. Each runs the real command line into it and looks at what
it said and at what was lost; where a run can go on afterwards, its result must be that of an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.fault_table import Case
from scripts.faults.children import POLL, Child, Watch
from scripts.faults.kills import Moment, Undisturbed, command, difference, result_of, undisturbed, wait_for

METHOD = "simclr"
NOBODY = 65534  # an account without rights, for folders that cannot be written; the system's own may write everywhere
SAME = "resumed to the same bits"
CASES: dict[str, Callable[[Bench], Case]] = {}


def case(fault: str):
    """Registers a function of a bench that tries `fault`."""

    def keep(function):
        CASES[fault] = function
        return function

    return keep


class NotPossible(Exception):
    """A fault that cannot be made here, such as a full disk without the right to mount one."""


class Bench:
    """A folder to break things in, and what a run of `METHOD` should give.

    known: undisturbed runs by what makes them differ, made when first asked for.
    """

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random, self.number = folder, random.Random(f"{seed} cases"), 0
        self.known: dict[tuple[str, ...], Undisturbed] = {}
        self.cache = folder / "cache"
        # An account without rights must get here to meet the folder that it may not write.
        for place in (folder, folder.parent):
            place.chmod(place.stat().st_mode | 0o055)

    def place(self) -> Path:
        """A fresh path for a run."""
        self.number += 1
        return self.folder / f"run{self.number}"

    def start(self, out: Path, *options: str, resume: bool = True, log: Path | None = None, prepare=None) -> Child:
        arguments = [*command(METHOD, out), *options]
        if not resume:
            arguments.remove("--resume")
        self.number += 1
        log = log or self.folder / f"{self.number}.log"
        return Child(arguments, log, {"REFIMPL_CACHE": str(self.cache)}, prepare)

    def whole(self, *options: str) -> Undisturbed:
        """The undisturbed run with these options."""
        if options not in self.known:
            out = self.place()
            if options:
                child = self.start(out, *options)
                if child.wait():
                    raise RuntimeError(f"an undisturbed run fails: {child.said()}")
                usual = self.whole()
                self.known[options] = Undisturbed(
                    result_of(out), usual.started, usual.trained, usual.ended, usual.steps, usual.saves, usual.write
                )
            else:
                self.known[options] = undisturbed(METHOD, out, 1)
        return self.known[options]

    def disturbed(self, out: Path, phase: str, *options: str, step: int | None = None, **how) -> Child:
        """A run at a random moment of `phase`. Raises RuntimeError if it was over before, five times."""
        whole = self.whole(*options)
        step = self.random.randrange(1, whole.steps - 2) if step is None else step
        share = self.random.random()
        for _ in range(5):
            child, watch = self.start(out, *options, **how), Watch(out)
            if wait_for(Moment(phase, step, share), watch, whole, time.monotonic(), lambda c=child: c.poll() is None):
                return child
            # The machine has become faster since the undisturbed run was timed.
            share /= 3
            for place in out.iterdir() if out.exists() and not child.wait() else ():
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise RuntimeError(f"the run was over too soon: {child.said()}")

    def resumed(self, out: Path, *options: str) -> str:
        """Lets the run in `out` end; "" if its result is as it should be, else what is wrong."""
        child = self.start(out, *options)
        if child.wait():
            return f"not resumed: {child.said()}"
        return self.same(out, *options)

    def same(self, out: Path, *options: str) -> str:
        try:
            wrong = difference(result_of(out), self.whole(*options).result)
        except (OSError, ValueError, KeyError) as error:
            return f"no result: {error}"
        return f"not equal: {wrong}" if wrong else ""


def clear(said: str) -> bool:
    """Whether it is one line, and one of ours: an error that nobody foresaw names no remedy, and where to look."""
    mine = "REFIMPL_DEBUG" not in said and "Traceback" not in said
    return mine and len(said.splitlines()) == 1 and ("; " in said or "use --" in said)


def judge(fault: str, attempts: list[tuple[bool, str, str]], kept: str) -> Case:
    """attempts: (as it should be, what was said, what is wrong) of each."""
    failed = next(((said, wrong) for fine, said, wrong in attempts if not fine or wrong), None)
    survived = sum(fine and not wrong for fine, _, wrong in attempts)
    said = failed[0] if failed else attempts[-1][1]
    return Case(fault, len(attempts), survived, said, (failed[1] or "not said clearly") if failed else kept)


# -- signals -----------------------------------------------------------------------------------------------------------


def _signalled(bench: Bench, fault: str, number: int, phase: str, code: int, times: int) -> Case:
    attempts = []
    for _ in range(times):
        out = bench.place()
        child = bench.disturbed(out, phase)
        child.signal(number)
        ended, said = child.wait(), child.said()
        attempts.append((ended == code and clear(said), f"exit {ended}: {said}", bench.resumed(out)))
    return judge(fault, attempts, SAME)


@case("SIGTERM during a step")
def _(bench):
    return _signalled(bench, "SIGTERM during a step", signal.SIGTERM, "steps", 0, 3)


@case("SIGTERM while judging")
def _(bench):
    return _signalled(bench, "SIGTERM while judging", signal.SIGTERM, "judging", 0, 2)


@case("SIGTERM before the first step")
def _(bench):
    """While data and network are made."""
    fault, attempts = "SIGTERM before the first step", []
    for seconds in (0.1, 0.2):
        out = bench.place()
        child = bench.start(out)
        time.sleep(seconds)
        child.signal(signal.SIGTERM)
        ended, said = child.wait(), child.said()
        attempts.append((ended == 0 and clear(said), f"exit {ended}: {said}", bench.resumed(out)))
    return judge(fault, attempts, SAME)


@case("Ctrl-C during a step")
def _(bench):
    return _signalled(bench, "Ctrl-C during a step", signal.SIGINT, "steps", 130, 3)


@case("Ctrl-C while judging")
def _(bench):
    return _signalled(bench, "Ctrl-C while judging", signal.SIGINT, "judging", 130, 2)


@case("stopped and continued (SIGSTOP, SIGCONT)")
def _(bench):
    out = bench.place()
    child = bench.disturbed(out, "steps")
    child.signal(signal.SIGSTOP)
    time.sleep(0.3)
    child.signal(signal.SIGCONT)
    ended = child.wait()
    fine = ended == 0 and not child.said()
    return judge("stopped and continued (SIGSTOP, SIGCONT)", [(fine, child.said(), bench.same(out))], "same bits")


@case("nobody reads the output any more")
def _(bench):
    """Such as `refimpl run ... 2>&1 | tee log` after tee has died."""
    out, pipe = bench.place(), bench.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    arguments = [a for a in command(METHOD, out) if a != "--quiet"]
    child, watch = Child(arguments, pipe, {"REFIMPL_CACHE": str(bench.cache)}, lambda: os.close(reader)), Watch(out)
    wait_for(Moment("steps", 2, 0.0), watch, bench.whole(), time.monotonic(), lambda: child.poll() is None)
    os.close(reader)
    ended = child.wait()
    pipe.unlink()
    return judge("nobody reads the output any more", [(ended == 0, f"exit {ended}", bench.same(out))], "same bits")


# -- folders -----------------------------------------------------------------------------------------------------------


@case("a second run in the same folder")
def _(bench):
    out = bench.place()
    first = bench.disturbed(out, "steps", step=1)
    first.signal(signal.SIGSTOP)  # so that it does not end meanwhile
    second = bench.start(out)
    ended, said = second.wait(), second.said()
    first.signal(signal.SIGCONT)
    wrong = bench.same(out) if first.wait() == 0 else f"the first run ended: {first.said()}"
    return judge("a second run in the same folder", [(ended == 1 and clear(said), said, wrong)], "first run: same bits")


@case("a folder that holds a run, without --resume")
def _(bench):
    out = bench.place()
    bench.start(out).wait()
    child = bench.start(out, resume=False)
    ended, said = child.wait(), child.said()
    fine = ended == 1 and clear(said)
    return judge("a folder that holds a run, without --resume", [(fine, said, bench.same(out))], "run untouched")


@case("--out is a file, or lies below one")
def _(bench):
    file = bench.place()
    file.write_text("mine")
    attempts = []
    for out in (file, file / "run"):
        child = bench.start(out)
        ended, said = child.wait(), child.said()
        attempts.append((ended == 1 and clear(said), said, "" if file.read_text() == "mine" else "file changed"))
    return judge("--out is a file, or lies below one", attempts, "file untouched")


def _as_nobody() -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _writable_by(out: Path, mode: int) -> None:
    for folder in (out, out / "checkpoints"):
        if folder.exists():
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, NOBODY)
            folder.chmod(mode)


@case("a folder that must not be written, from the start")
def _(bench):
    out = bench.place()
    out.mkdir()
    out.chmod(0o555)
    child = bench.start(out, prepare=_as_nobody if os.geteuid() == 0 else None)
    ended, said = child.wait(), child.said()
    out.chmod(0o755)
    fault = "a folder that must not be written, from the start"
    return judge(fault, [(ended == 1 and clear(said), said, bench.resumed(out))], "begins once it may")


@case("a folder that must not be written any more")
def _(bench):
    out = bench.place()
    out.mkdir()
    _writable_by(out, 0o755)
    _given(bench.cache)
    child = bench.disturbed(out, "steps", step=4, prepare=_as_nobody if os.geteuid() == 0 else None)
    _writable_by(out, 0o555)
    ended, said = child.wait(), child.said()
    _writable_by(out, 0o755)
    lines = said.splitlines()
    fine = ended == 1 and all("cannot be" in line for line in lines) and clear(lines[-1])
    fault = "a folder that must not be written any more"
    return judge(fault, [(fine, lines[-1] if lines else "", bench.resumed(out))], SAME)


def _given(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


# -- disks -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(bench: Bench, megabytes: float) -> Iterator[Path]:
    """A file system of its own in memory. Raises NotPossible."""
    where = bench.place()
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(where)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        raise NotPossible("no right to mount a small disk")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=False)


def fill(disk: Path) -> Path:
    """Takes all room that is left; returns the file that holds it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def _checkpoint_size(bench: Bench) -> float:
    """Megabytes of a checkpoint."""
    bench.whole()
    return max(path.stat().st_size for path in bench.folder.rglob("checkpoints/*.safetensors")) / 2**20


@case("disk full before the run")
def _(bench):
    fault = "disk full before the run"
    with small_disk(bench, 5 * _checkpoint_size(bench) + 2) as disk:
        ballast = fill(disk)
        child = bench.start(disk / "run")
        ended, said = child.wait(), child.said()
        ballast.unlink()
        return judge(fault, [(ended == 1 and clear(said), said, bench.resumed(disk / "run"))], "begins with room")


@case("disk full for a while")
def _(bench):
    fault = "disk full for a while"
    with small_disk(bench, 5 * _checkpoint_size(bench) + 2) as disk:
        out, whole = disk / "run", bench.whole()
        child = bench.disturbed(out, "steps", step=whole.saves[0])
        ballast = fill(disk)
        watch_until(child, lambda: "the run goes on" in child.said())
        ballast.unlink()
        ended, said = child.wait(), child.said()
        lines = said.splitlines()
        fine = ended == 0 and lines and all("the run goes on" in line for line in lines)
        wrong = difference(result_of(out), {k: v for k, v in whole.result.items() if k in ("weights", "scores")})
        return judge(
            fault, [(bool(fine), lines[0] if lines else "", wrong)], "same bits; metrics of that time are lost"
        )


@case("disk full to the end")
def _(bench):
    fault = "disk full to the end"
    attempts = []
    for step in (4, 7):
        with small_disk(bench, 5 * _checkpoint_size(bench) + 2) as disk:
            out = disk / "run"
            child = bench.disturbed(out, "steps", step=step)
            ballast = fill(disk)
            ended, said = child.wait(), child.said()
            ballast.unlink()
            last = said.splitlines()[-1] if said else ""
            wrong = bench.resumed(out)
            attempts.append((ended == 1 and clear(last), last, "" if wrong == "not equal: losses" else wrong))
    return judge(fault, attempts, "resumed to the same bits")


@case("disk full while the report is written")
def _(bench):
    fault = "disk full while the report is written"
    with small_disk(bench, 5 * _checkpoint_size(bench) + 2) as disk:
        out = disk / "run"
        child = bench.disturbed(out, "judging")
        ballast = fill(disk)
        ended, said = child.wait(), child.said()
        ballast.unlink()
        last = said.splitlines()[-1] if said else ""
        return judge(fault, [(ended == 1 and clear(last), last, bench.resumed(out))], SAME)


@case("files may not grow beyond a limit")
def _(bench):
    """Such as a quota; Python turns the signal into an error."""
    fault, out = "files may not grow beyond a limit", bench.place()
    limit = int(_checkpoint_size(bench) * 2**20) // 2
    child = bench.start(out, prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    ended, said = child.wait(), child.said()
    last = said.splitlines()[-1] if said else ""
    return judge(fault, [(ended == 1 and clear(last), last, bench.resumed(out))], SAME)


def watch_until(child: Child, happened: Callable[[], bool], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while child.poll() is None and not happened() and time.monotonic() < deadline:
        time.sleep(POLL)


# -- what a run left behind is damaged ---------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def garble(path: Path) -> None:
    path.write_text('{"step": ')


def _damaged(bench: Bench, fault: str, damage: Callable[[list[Path]], None], kept: str, lines: int = 1) -> Case:
    """damage gets the notes (.json) of two checkpoints, the newest first. lines: how many it should say."""
    out = bench.place()
    child = bench.disturbed(out, "steps", step=bench.whole().saves[1] + 1)
    child.kill()
    damage(sorted((out / "checkpoints").glob("*.json"), reverse=True))
    child = bench.start(out)
    ended, said = child.wait(), child.said()
    fine = ended == 0 and len(said.splitlines()) == lines and "REFIMPL_DEBUG" not in said
    return judge(fault, [(fine, said.splitlines()[-1] if said else "", bench.same(out))], kept)


def _weights(note: Path) -> Path:
    return note.with_suffix(".safetensors")


for _fault, _damage in (
    ("newest checkpoint truncated", lambda notes: truncate(_weights(notes[0]))),
    ("newest checkpoint with a flipped bit", lambda notes: flip_a_bit(_weights(notes[0]))),
    ("newest checkpoint's note damaged", lambda notes: garble(notes[0])),
    ("newest checkpoint's weights missing", lambda notes: _weights(notes[0]).unlink()),
):
    CASES[_fault] = lambda bench, fault=_fault, damage=_damage: _damaged(
        bench, fault, damage, "went on from the one before, same bits"
    )


@case("every checkpoint damaged")
def _(bench):
    def all_of_them(notes):
        for note in notes:
            flip_a_bit(_weights(note))

    return _damaged(bench, "every checkpoint damaged", all_of_them, "began anew, same bits", lines=3)


@case("settings of the run (config.json) damaged")
def _(bench):
    out, fault = bench.place(), "settings of the run (config.json) damaged"
    bench.disturbed(out, "steps", step=5).kill()
    before = (out / "config.json").read_bytes()
    garble(out / "config.json")
    child = bench.start(out)
    ended, said = child.wait(), child.said()
    (out / "config.json").write_bytes(before)
    return judge(fault, [(ended == 1 and clear(said), said, bench.resumed(out))], "checkpoints untouched")


@case("resumed with another backbone")
def _(bench):
    out, fault = bench.place(), "resumed with another backbone"
    bench.disturbed(out, "steps", step=5).kill()
    child = bench.start(out, "--backbone", "resnet10t")
    ended, said = child.wait(), child.said()
    return judge(fault, [(ended == 1 and clear(said), said, bench.resumed(out))], "checkpoints untouched")


@case("checkpoints of another backbone in the folder")
def _(bench):
    out, other, fault = bench.place(), bench.place(), "checkpoints of another backbone in the folder"
    bench.disturbed(out, "steps", step=5).kill()
    bench.disturbed(other, "steps", "--backbone", "resnet10t", step=5).kill()
    shutil.move(out / "checkpoints", out / "mine")
    shutil.copytree(other / "checkpoints", out / "checkpoints")
    child = bench.start(out)
    ended, said = child.wait(), child.said()
    shutil.rmtree(out / "checkpoints")
    shutil.move(out / "mine", out / "checkpoints")
    return judge(fault, [(ended == 1 and clear(said), said, bench.resumed(out))], "checkpoints untouched")


# -- data --------------------------------------------------------------------------------------------------------------


def pictures(bench: Bench, count: int = 96) -> Path:
    """Class folders of PNG files."""
    import numpy as np
    from PIL import Image

    folder, rng = bench.place(), np.random.default_rng(0)
    for n in range(count):
        path = folder / "ab"[n % 2] / f"{n:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 160, (32, 32, 3)) + 80 * (n % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=0)
    return folder


def archive(bench: Bench, hole: bool = False) -> Path:
    """An .npz of float images, one of which may hold a NaN."""
    import numpy as np

    path, rng = bench.folder / f"images{bench.number}.npz", np.random.default_rng(1)
    image = rng.normal(size=(96, 3, 32, 32)).astype(np.float32)
    if hole:
        image[7, 1, 3, 4] = np.nan
    np.savez(path, image=image, label=np.arange(96) % 2)
    return path


def _stored(bench: Bench, folder: Path) -> Path:
    """The memory-mapped images of an opened folder."""
    return next(bench.cache.glob(f"decoded/{folder.name}-*/image.npy"))


@case("a damaged image file")
def _(bench):
    fault, folder, attempts = "a damaged image file", pictures(bench), []
    for damage in (truncate, lambda path: path.write_bytes(b"")):
        path = folder / "b" / "00007.png"
        before = path.read_bytes()
        damage(path)
        child = bench.start(bench.place(), "--data", str(folder))
        ended, said = child.wait(), child.said()
        path.write_bytes(before)
        fine = ended == 1 and clear(said) and "00007.png" in said
        left = list(bench.cache.glob("decoded/*.part"))
        attempts.append((fine, said, f"left behind: {left[0]}" if left else ""))
    return judge(fault, attempts, "nothing kept of the half-read set")


@case("an image file that vanishes while they are decoded")
def _(bench):
    fault, folder = "an image file that vanishes while they are decoded", pictures(bench, 1500)
    child = bench.start(bench.place(), "--data", str(folder), "--samples", "1500")
    watch_until(child, lambda: any(bench.cache.glob(f"decoded/{folder.name}-*.part/image.npy")))
    (folder / "b" / "01499.png").unlink()
    ended, said = child.wait(), child.said()
    fine = ended == 1 and clear(said) and "01499.png" in said
    return judge(fault, [(fine, said, "")], "nothing kept of the half-read set")


@case("the decoded cache deleted during a run")
def _(bench):
    fault, folder, out = "the decoded cache deleted during a run", pictures(bench), bench.place()
    child = bench.disturbed(out, "steps", "--data", str(folder), step=4)
    shutil.rmtree(bench.cache / "decoded")
    ended, said = child.wait(), child.said()
    return judge(fault, [(ended == 0 and not said, said, bench.same(out, "--data", str(folder)))], "same bits")


@case("the decoded cache cut short during a run")
def _(bench):
    """Reading past the end of a memory-mapped file is a signal (SIGBUS) that would end the process without a word."""
    fault, folder, attempts = "the decoded cache cut short during a run", pictures(bench), []
    for _ in range(5):
        out = bench.place()
        child = bench.disturbed(out, "steps", "--data", str(folder), step=4)
        os.truncate(_stored(bench, folder), 4096)
        ended, said = child.wait(), child.said()
        attempts.append((ended == 1 and clear(said), said, bench.resumed(out, "--data", str(folder))))
    return judge(fault, attempts, "decoded again, resumed to the same bits")


@case("data that changed between run and resume")
def _(bench):
    fault, folder, out = "data that changed between run and resume", pictures(bench), bench.place()
    bench.disturbed(out, "steps", "--data", str(folder), step=5).kill()
    path = folder / "a" / "00004.png"
    before, about = path.read_bytes(), path.stat()
    path.write_bytes((folder / "a" / "00006.png").read_bytes())
    child = bench.start(out, "--data", str(folder))
    ended, said = child.wait(), child.said()
    path.write_bytes(before)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    fine = ended == 1 and clear(said)
    return judge(fault, [(fine, said, bench.resumed(out, "--data", str(folder)))], "with the former data: same bits")


@case("NaN in an image")
def _(bench):
    fault, path, out = "NaN in an image", archive(bench, hole=True), bench.place()
    child = bench.start(out, "--data", str(path))
    ended, said = child.wait(), child.said()
    fine = ended == 1 and clear(said) and "sample 7" in said
    return judge(fault, [(fine, said, "")], "nothing was begun")


@case("a loss that is not finite")
def _(bench):
    fault, out = "a loss that is not finite", bench.place()
    child = bench.start(out, "--set", "lr=1e30", "--set", "warmup=0.0")
    ended, said = child.wait(), child.said()
    fine = ended == 1 and clear(said) and "not finite" in said
    return judge(fault, [(fine, said, "")], "no unsound checkpoint")


# -- memory ------------------------------------------------------------------------------------------------------------


def _room(megabytes: int) -> None:
    """Limits this process to so much more memory than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@case("a batch that does not fit into memory")
def _(bench):
    fault, attempts, batch = "a batch that does not fit into memory", [], 640
    while batch:
        sizes = ["--samples", "1500", "--epochs", "1", "--size", "64", "--batch", str(batch)]
        child = bench.start(bench.place(), *sizes, prepare=lambda: _room(700))
        ended, said = child.wait(), child.said()
        if ended == 0:
            break
        attempts.append((clear(said) and "does not fit" in said and "--set batch=" in said, said, ""))
        batch = int(said.split("--set batch=")[1].split()[0].rstrip(",")) if attempts[-1][0] else 0
    return judge(fault, attempts or [(False, said, "it fits")], f"the proposed batch of {batch} fits")


def try_all(folder: Path, seed: int, chosen: Callable[[str], bool] = lambda fault: True, say=print) -> list[Case]:
    """Every case that can be made here."""
    bench, rows = Bench(folder, seed), []
    for fault, attempt in CASES.items():
        if not chosen(fault):
            continue
        try:
            row = attempt(bench)
        except NotPossible as error:
            row = Case(fault, 0, 0, "", f"not tried: {error}")
        except (RuntimeError, TimeoutError, OSError) as error:
            row = Case(fault, 1, 0, "", f"{type(error).__name__}: {error}")
        rows.append(_plain(row, folder))
        say(f"{row.survived}/{row.tried}  {fault}: {row.said} | {row.kept}")
    return rows


def _plain(row: Case, folder: Path) -> Case:
    """Without the path of the folder that things were broken in."""
    values = json.loads(json.dumps(row.__dict__).replace(str(folder) + "/", ""))
    return Case(**values)
