"""The pages on data and on running: every command is one, the script does what it says, the Python runs as printed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from refimpl import cli

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("data.md", "running.md")}


def commands() -> list[str]:
    """Every line of a block that calls this project, continued lines joined."""
    found = []
    for text in PAGES.values():
        for block in re.findall(r"^```(?:bash)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.removeprefix("srun ").removesuffix(" &") for line in lines if "-m refimpl " in line]
    return found


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one(line):
    launcher, _, arguments = line.partition("-m refimpl ")
    asked = cli._parser().parse_args(shlex.split(arguments))
    program, *options = shlex.split(launcher)
    assert program == "torchrun" or (program, options) == ("python", [])
    if program == "torchrun":
        from torch.distributed.run import get_args_parser

        get_args_parser().parse_args([*options, "-m", "refimpl"])
    if asked.command == "run":
        from refimpl.studies.build import method_class, split_settings

        split_settings(method_class(asked.name), cli._settings(asked.set))


def test_there_are_commands():
    assert len(commands()) >= 12


def test_extras_exist():
    project = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"ssl-for-earth\[(\w+)\]", "".join(PAGES.values())):
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def test_shards_written_as_printed_can_be_trained_on(tmp_path, monkeypatch):
    from refimpl.data.known import open_data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFIMPL_CACHE", str(tmp_path / "cache"))
    (block,) = re.findall(r"```python\n(.*?)```", PAGES["data.md"], flags=re.DOTALL)
    exec(compile(block, "data.md", "exec"), {})
    data = open_data("shards:my_shards/")
    assert len(data) == 60 and data.classes == ("forest", "water")
    assert data.fields["image"][:8].shape == (8, 13, 64, 64)
    assert sorted(data.fields["label"].tolist()) == [0] * 30 + [1] * 30


SLURM = {
    "scontrol": '[ "$1" = show ] && echo node0 || echo "$@" >> calls',
    "scancel": 'echo "$@" >> calls; kill -TERM "$(cat step)"',
    "srun": 'echo $$ > step; trap "sleep 0.2; echo saved >> calls; exit 0" TERM; echo "$@" > asked; '
    "for i in $(seq $LENGTH); do sleep 0.05; done",
}


@pytest.mark.parametrize("stopped", [True, False])
def test_the_script_for_slurm_goes_back_into_the_queue_only_at_the_signal(tmp_path, stopped):
    (script,) = re.findall(r"```bash\n(.*?)```", PAGES["running.md"], flags=re.DOTALL)
    for name, body in {**SLURM, "job": script.partition("\n")[2]}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    about = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[0-1]", "LENGTH": "200"}
    about |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **({} if stopped else {"LENGTH": "1"})}
    job = subprocess.Popen([tmp_path / "bin" / "job"], cwd=tmp_path, env=about)
    try:
        if stopped:
            deadline = time.monotonic() + 20
            while not (tmp_path / "asked").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            job.send_signal(signal.SIGTERM)
        job.wait(20)
    finally:
        job.kill()
    assert (tmp_path / "asked").read_text().startswith("torchrun --nnodes 2 ")
    calls = (tmp_path / "calls").read_text().splitlines() if stopped else []
    assert calls == (["--signal=TERM 7", "saved", "requeue 7"] if stopped else [])
    assert (tmp_path / "calls").exists() == stopped
