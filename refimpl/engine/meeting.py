"""How processes on several machines find each other again after one of them was lost.

torchrun keeps one store for all attempts of a run, so that whoever starts anew may read the addresses of processes
that are gone. On one machine the number of the attempt keeps attempts apart; over several machines each launcher counts
its own, so the processes agree on a name for the round instead, and use only what was stored under it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

PATIENCE = timedelta(seconds=0.5)  # to wait for a round to be complete, before looking whether a newer one has begun


@contextmanager
def across_machines(device: torch.device) -> Iterator[None]:
    """Joins the group of a run on several machines and leaves it at the end; does nothing in any other run."""
    started_by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if not started_by_torchrun or os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] or dist.is_initialized():
        yield
        return
    store, rank, world = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(agree_on_round(store, rank, world), store)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def agree_on_round(store: dist.Store, rank: int, world: int) -> str:
    """The name, new each time, of the round that all `world` processes have joined; every one of them calls this.

    Rank 0 names the round and lists who answered. A round whose list lacks this process's token is an earlier one.

    Raises:
        dist.DistStoreError: somebody did not come within the store's own time limit.
    """
    if rank == 0:
        name = secrets.token_hex(8)
        store.set("round", name)
        present = [store.get(f"{name}/{other}").decode() for other in range(1, world)]  # waits for each
        store.set(f"{name}/present", " ".join(present))
        return name
    token = secrets.token_hex(8)
    deadline = time.monotonic() + store.timeout.total_seconds()
    while True:
        name = store.get("round").decode()
        store.set(f"{name}/{rank}", token)
        try:
            store.wait([f"{name}/present"], PATIENCE)
            if token in store.get(f"{name}/present").decode().split():
                return name
            time.sleep(0.05)  # an earlier round, long complete
        except dist.DistStoreError:  # begun by a process that is gone, or others are late
            if time.monotonic() > deadline:
                raise
