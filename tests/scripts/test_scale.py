"""The measurement of several processes: what is planned, what is computed of it, its file. Times are not tested."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from scripts.scale import __main__ as command
from scripts.scale import worker
from scripts.scale_table import STRONG, WEAK, NotScale, Scale, Scaled, read

WORK = command.Work("simclr", "test_resnet", 32, batch=8, steps=4, warm_up=1, samples=40, device="cpu")


def seen(work: command.Work) -> command.Seen:
    """Twice as fast with two processes, with a loss that is a little off in one step."""
    after = {"w": torch.tensor([3.0, 4.0 + 0.5 * (work.processes > 1)])}
    losses = [2.0, 1.0 if work.processes == 1 else 1.01, 4.0, 4.0]
    return command.Seen(6.0 / work.processes, 6.0, 2**20, losses, {"w": torch.zeros(2)}, after)


def test_everybody_runs_in_turn_and_is_compared_with_one_process():
    ran = []

    def run(work):
        ran.append((work.processes, work.sharded, work.batch))
        return seen(work)

    rows = command.measure(WORK, [1, 2], rounds=2, run=run, said=lambda line: None)
    assert ran == 2 * [(1, False, 8), (2, False, 8), (2, True, 8), (2, False, 16)]
    assert [(row.kind, row.processes, row.sharded) for row in rows] == [
        (STRONG, 1, False), (STRONG, 2, False), (STRONG, 2, True), (WEAK, 2, False)]  # fmt: skip
    one, two, _, weak = rows
    assert (one.images_per_second, one.core_seconds, one.held, one.loss) == (4.0, 0.25, 1.0, None)
    assert (two.images_per_second, two.loss, two.weights) == (8.0, pytest.approx(0.01), pytest.approx(0.1))
    assert (weak.images_per_second, weak.loss) == (16.0, None)


def table(*rows: Scaled, **changes) -> Scale:
    about = {"made": "2026-01-02T03:04:05Z", "commit": "abc", "device": "CPU X", "device_type": "cpu", "cores": 2,
             "versions": {"torch": "2"}, "settings": {"method": "simclr"}}  # fmt: skip
    return Scale(**{**about, **changes}, rows=list(rows))


def row(processes: int, rate: float, kind: str = STRONG, **changes) -> Scaled:
    about = {"sharded": False, "batch": 8, "low": rate, "high": rate, "core_seconds": 0.25, "held": 1.0, **changes}
    return Scaled(kind, processes, images_per_second=rate, **about)


def test_speed_is_relative_to_one_process_and_cores_bound_it():
    made = table(row(1, 4.0), row(2, 6.0, WEAK), row(4, 7.0))
    assert [made.speed_up(each) for each in made.rows] == [1.0, 1.5, 1.75]
    assert [made.possible(each) for each in made.rows] == [1, 2, 2]
    assert table(row(2, 6.0)).speed_up(row(2, 6.0)) is None


def test_the_file_is_read_back_and_what_is_none_is_named(tmp_path):
    path = tmp_path / "scale-x.json"
    made = table(row(1, 4.0), row(2, 7.5, loss=1e-5, weights=0.25))
    path.write_text(made.as_json())
    assert read(path) == made
    data = json.loads(made.as_json())
    bad = dict(data["rows"][0])
    wrong = [
        "{", "[]", {**data, "scale": 2}, {**data, "more": 1}, {**data, "cores": "2"}, {**data, "rows": None},
        *({**data, "rows": [{**bad, **change}]} for change in (
            {"kind": "odd"}, {"processes": 0}, {"processes": True}, {"images_per_second": float("nan")},
            {"low": "1"}, {"batch": None}, {"images_per_second": -1.0}, {"new": 1})),
        {key: value for key, value in data.items() if key != "rows"},
    ]  # fmt: skip
    for content in wrong:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(NotScale, match=r"scale-x\.json"):
            read(path)


@pytest.mark.parametrize("options", [["--processes", "3"], ["--processes", "0"], ["--steps", "1"]])
def test_what_cannot_be_measured_is_refused(options, capsys):
    assert command.main(["--quick", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_fails_is_one_line(monkeypatch):
    said = "Traceback\nx.y.DataError: no such set\n====\nChildFailedError: page"
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=said))
    with pytest.raises(command.RunFailed, match=r"^1 processes: x\.y\.DataError: no such set$"):
        command.carry_out(WORK)


def test_a_worker_leaves_what_is_measured(monkeypatch):
    def here(arguments, **_):
        """Without torchrun, which would import torch once more."""
        assert "--nproc-per-node=1" in arguments
        worker.main(json.loads(arguments[-1]))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr("subprocess.run", here)
    found = command.carry_out(WORK)
    assert found.seconds > 0 and found.cpu > 0 and len(found.losses) == WORK.steps
    assert command.difference(found, found) == (0.0, 0.0)
    assert any(not torch.equal(found.after[name], value) for name, value in found.before.items())
