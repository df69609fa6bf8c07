"""Item 7: two processes with half a batch each do what one process does with the whole batch."""

from __future__ import annotations

import pytest
import torch
from two_processes import jobs

# Computed in float64, so sums over the batch in another order differ by about 1e-15 of the largest entry; layers and
# normalisations magnify that by at most a few thousand. The logged loss passes through float32. A gather without
# gradient, local statistics or local negatives differ by 1e-2 and more.
CLOSE = 1e-7  # float64 sums in another order; timm interpolates position tables in float32 (DINO: 4e-8)
LOSS = 1e-6


def largest_difference(a: torch.Tensor, b: torch.Tensor, floor: float) -> float:
    """Relative to the largest magnitude in the tensor, or to `floor` where that is larger."""
    a, b = a.double(), b.double()
    return float((a - b).abs().max() / b.abs().max().clamp(min=floor)) if a.numel() else 0.0


@pytest.fixture(scope="session")
def one(name):
    """What one process makes of a method."""
    return jobs.train(name)


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_method_in_two_processes_equals_one(name, one, workers, shard):
    """Losses, first gradients, weights and buffers after two steps of plain gradient descent."""
    both = workers.run("train", name=name, shard=shard)
    gradients = [value.abs().max() for key, value in one.items() if key.startswith("gradient/")]
    # A gradient that is zero but for rounding is compared with the method's typical one.
    typical = float(torch.stack(gradients).median()) * 1e-2
    for rank, two in enumerate(both):
        assert two.keys() == one.keys()
        torch.testing.assert_close(two["losses"], one["losses"], rtol=LOSS, atol=LOSS)
        # Of a sharded method each process keeps half: a little more where the first axis is odd, or of one row.
        assert float(two["held"] / two["bytes"]) == (pytest.approx(0.5, abs=0.05) if shard else 1.0)
        for key, value in one.items():
            if key.startswith(("gradient/", "state/")):
                floor = typical if key.startswith("gradient/") else 1e-2
                assert largest_difference(two[key], value, floor) < CLOSE, f"process {rank}: {key}"
    for key in one:
        if key.startswith("state/"):
            assert torch.equal(both[0][key], both[1][key]), f"the two processes disagree about {key}"


def test_gather_has_the_gradient_of_all_processes(workers):
    one = jobs.gather_gradient()
    two = workers.run("gather_gradient")
    for rank in range(2):
        torch.testing.assert_close(two[rank]["loss"], one["loss"].detach())
        torch.testing.assert_close(two[rank]["everything"], one["everything"].detach())
    torch.testing.assert_close(torch.cat([t["gradient"] for t in two]), one["gradient"])


def test_global_batch_norm_is_batch_norm(workers):
    one = jobs.batch_norm()
    for two in workers.run("batch_norm"):
        for key, value in one.items():
            torch.testing.assert_close(two[key], value.detach(), rtol=1e-9, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")


def test_odd_batch_is_refused(workers):
    for answer in workers.run("odd_batch"):
        text = bytes(answer["message"].tolist()).decode()
        assert text.startswith("TrainingError") and "15" in text and "2 processes" in text, text
