"""A run that goes on with another number of processes, sharded or not, ends where an uninterrupted one does."""

from __future__ import annotations

import pytest
import torch
from two_processes import jobs
from two_processes.pair import Pair

CLOSE = 1e-8  # of the largest entry, in float64: sums over the batch in another order

# Pieces of one run, each going on where the one before stopped: (processes, sharded). Together the orders hold every
# change from one kind to another, and from sharded to sharded.
ORDERS = [
    [(1, False), (2, False), (2, True), (2, True), (1, False)],
    [(1, False), (2, True), (2, False), (1, False)],
]


def run_in_pieces(name: str, folder, pieces: list[tuple[int, bool]], groups: dict[int, Pair], steps: int) -> list[dict]:
    """The last piece's state in each of its processes; every piece but it takes `steps` steps."""
    for number, (world, shard) in enumerate(pieces, start=1):
        after = number * steps if number < len(pieces) else 10**9
        arguments = {"name": name, "folder": str(folder), "after": after, "shard": shard}
        states = groups[world].run("piece", **arguments) if world > 1 else [jobs.piece(**arguments)]
    assert len(list((folder / "checkpoints").glob("*.json"))) == 2
    return states


def assert_close(state: dict, wanted: dict) -> None:
    assert state.keys() == wanted.keys()
    for key, value in wanted.items():
        if value.numel():
            scale = value.abs().max().clamp(min=1e-2)
            assert float((state[key] - value).abs().max() / scale) < CLOSE, key


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    made: dict[str, dict[str, torch.Tensor]] = {}

    def run(name: str) -> dict[str, torch.Tensor]:
        if name not in made:
            made[name] = jobs.piece(name, str(tmp_path_factory.mktemp(name)), 10**9)
        return made[name]

    return run


# Batch norm and global negatives; work between epochs that the optimiser must forget; two optimisers.
@pytest.mark.parametrize("method", ["simclr", "deepcluster", "context_encoder"])
@pytest.mark.parametrize("order", ORDERS, ids=["whole-first", "sharded-first"])
def test_run_goes_on_with_other_processes(workers, uninterrupted, tmp_path, method, order):
    for state in run_in_pieces(method, tmp_path, order, {2: workers}, steps=1):
        assert_close(state, uninterrupted(method))


def test_run_goes_on_with_four_processes(workers, uninterrupted, tmp_path):
    """Also where there are fewer rows of weights than processes."""
    four = Pair(tmp_path / "four", world=4)
    four.folder.mkdir()
    folder = tmp_path / "run"
    pieces = [(1, False), (4, True), (2, True), (4, False), (1, False), (4, True)]
    try:
        states = run_in_pieces("line", folder, pieces, {2: workers, 4: four}, steps=1)
    finally:
        four.close()
    assert len(states) == 4
    for state in states:
        assert_close(state, uninterrupted("line"))


def test_processes_that_see_different_folders_are_stopped(workers, tmp_path):
    jobs.piece("line", str(tmp_path / "0"), 2)
    for answer in workers.run("piece_elsewhere", folder=str(tmp_path)):
        text = bytes(answer["message"].tolist()).decode()
        assert "put the run folder (--out) where all machines see it" in text
