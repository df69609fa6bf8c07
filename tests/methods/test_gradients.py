"""Items 5 and 10: gradients reach what they should and nothing else; a method can learn one batch by heart."""

from __future__ import annotations

from itertools import pairwise

import smoke
import torch

from refimpl.engine.optim import build_optimiser
from refimpl.engine.watch import RANK_FLOOR, STD_FLOOR, effective_rank, embedding_std

STEPS = 3
OVERFIT_STEPS = 24


def begun(name):
    data = smoke.smoke_data(name)
    method = smoke.build(name, data)
    smoke.start_epoch(method, data)
    return method, data, smoke.prepared(method, data, smoke.first_samples(data))


def test_turns_share_out_the_trainable_parameters(name):
    method, _, _ = begun(name)
    trainable = {n for n, p in method.named_parameters() if p.requires_grad}
    owners: dict[str, str] = {}
    for turn in method.turns:
        for parameter, value in method.parameters_of(turn):
            assert value is dict(method.named_parameters()).get(parameter), f"{turn} names {parameter} wrongly"
            assert parameter not in owners, f"{parameter} belongs to both {owners.get(parameter)} and {turn}"
            owners[parameter] = turn
    assert set(owners) == trainable, f"no turn, or no gradient, for {sorted(set(owners) ^ trainable)[:3]}"


def test_nothing_shares_memory(name):
    """A momentum teacher that is the student itself teaches nothing (found in published libraries)."""
    method, _, _ = begun(name)
    tensors = [(n, t) for n, t in method.state_dict(keep_vars=True).items() if t.numel()]
    spans = sorted((t.data_ptr(), t.data_ptr() + t.numel() * t.element_size(), n) for n, t in tensors)
    for (_, end, first), (start, _, second) in pairwise(spans):
        assert start >= end, f"{first} and {second} share memory"


def test_every_parameter_learns_and_nothing_else_does(name):
    """Over a few steps each trainable parameter gets a gradient that is not zero; the rest stays out of autograd.

    A few steps, because residual branches often begin with a zero gain, behind which the first gradient is zero.
    """
    method, _, batch = begun(name)
    recipe = smoke.recipe(name, lr=1e-2)
    optimisers = {turn: build_optimiser(method.parameters_of(turn), recipe) for turn in method.turns}
    waiting = {n for n, p in method.named_parameters() if p.requires_grad}
    frozen = {n: p.detach().clone() for n, p in method.named_parameters() if not p.requires_grad}
    for _ in range(STEPS):
        for turn in method.turns:
            method.zero_grad()
            method(batch, turn).loss.backward()
            for parameter, value in method.parameters_of(turn):
                if value.grad is not None:
                    assert torch.isfinite(value.grad).all(), parameter
                    if value.grad.count_nonzero():
                        waiting.discard(parameter)
            optimisers[turn].step()
            for parameter, value in method.named_parameters():
                assert value.requires_grad or value.grad is None, f"{parameter} is frozen but got a gradient"
            for buffer, value in method.named_buffers():
                assert not value.requires_grad, f"buffer {buffer} takes part in autograd"
    assert not waiting, f"no gradient ever reached {sorted(waiting)[:5]}"
    for parameter, value in method.named_parameters():
        assert parameter not in frozen or torch.equal(frozen[parameter], value), f"{parameter} moved though frozen"


def test_one_batch_can_be_learned_by_heart(name):
    """The loss on one batch with fixed views falls clearly, and its features stay apart."""
    method, _, batch = begun(name)
    recipe = smoke.recipe(name, lr=2e-3, weight_decay=0.0)
    optimisers = {turn: build_optimiser(method.parameters_of(turn), recipe) for turn in method.turns}
    curve, embedding = [], None
    for step in range(OVERFIT_STEPS):
        torch.manual_seed(step)
        for turn in method.turns:
            method.zero_grad()
            out = method(batch, turn)
            out.loss.backward()
            optimisers[turn].step()
            if turn == method.turns[0]:
                curve.append(out.loss.item())
                embedding = out.embedding
    start, end = curve[0], sum(curve[-3:]) / 3
    assert end < start - 0.1 * max(abs(start), 0.1), f"loss {start:.4f} -> {end:.4f}"
    if embedding is not None and embedding.shape[1] > 1:
        assert embedding_std(embedding) > STD_FLOOR, "the features have collapsed to a point"
        assert effective_rank(embedding) > RANK_FLOOR, "the features have collapsed to a line"
