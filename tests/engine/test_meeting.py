"""Processes of several machines agree on a round, whatever earlier rounds have left in the store they share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from refimpl.engine.meeting import agree_on_round

WORLD = 3


@pytest.fixture
def store():
    made = dist.HashStore()
    made.set_timeout(timedelta(seconds=20))
    return made


def meet(store, ranks=range(WORLD)) -> list[str]:
    """The names that the ranks come back with; started in the order given."""
    with ThreadPoolExecutor(WORLD) as pool:
        return [answer.result(30) for answer in [pool.submit(agree_on_round, store, rank, WORLD) for rank in ranks]]


def test_all_come_back_with_one_name_and_another_one_each_time(store):
    rounds = [meet(store, order) for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2])]
    assert all(len(set(names)) == 1 for names in rounds)
    assert len({names[0] for names in rounds}) == len(rounds)


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "broken-off"])
def test_who_comes_first_does_not_take_an_earlier_round_for_this_one(store, complete):
    store.set("round", "earlier")
    for rank in (1, 2):
        store.set(f"earlier/{rank}", f"gone{rank}")
    if complete:
        store.set("earlier/present", "gone1 gone2")
    with ThreadPoolExecutor(WORLD) as pool:
        early = [pool.submit(agree_on_round, store, rank, WORLD) for rank in (1, 2)]
        with pytest.raises(TimeoutError):
            early[0].result(0.7)
        name = pool.submit(agree_on_round, store, 0, WORLD).result(30)
        assert [answer.result(30) for answer in early] == [name, name]
    assert name != "earlier"


def test_who_waits_in_vain_says_so(store):
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(dist.DistStoreError):
        agree_on_round(store, 1, WORLD)
    store.set("round", "earlier")
    with pytest.raises(dist.DistStoreError):
        agree_on_round(store, 1, WORLD)
