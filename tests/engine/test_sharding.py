"""Weights shared out over processes: what a method may do with them, and what is refused."""

from __future__ import annotations

import pytest
import torch
from lines import line_data
from torch import nn
from tutor import Tutor
from two_processes import jobs

from refimpl import backbones
from refimpl.data.dataset import Input
from refimpl.engine import loop, sharding
from refimpl.engine.sharding import blocks_of

FIELD = Input(("B04", "B03", "B02"), 32, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_whatever_a_method_does_to_its_weights_is_done_to_the_slices(workers, accumulate):
    """Teacher, prototypes set between epochs and normalised after steps, clipping, Adam: three epochs of each."""
    arguments = {"batch": 8 // accumulate, "accumulate": accumulate}
    one = jobs.train_tutor(**arguments)
    for two in workers.run("train_tutor", shard=True, **arguments):
        assert two.keys() == one.keys()
        for key, value in one.items():  # losses pass through float32
            close = 1e-6 if key == "losses" else 1e-9
            torch.testing.assert_close(two[key], value, rtol=close, atol=close, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("what", ["scalar", "mixed"])
def test_what_cannot_be_sharded_is_refused_in_one_line(workers, what):
    for answer in workers.run("refused", what=what):
        text = bytes(answer["message"].tolist()).decode()
        assert text.startswith("TrainingError") and "run" in text and "without --shard" in text, text
        assert "\n" not in text, text


def test_one_process_has_nothing_to_share():
    data = line_data()
    torch.manual_seed(0)
    method = Tutor(data.inputs)
    loop.train(method, data, jobs.lines.RECIPE, precision="fp32", quiet=True, shard=True, max_steps=1)
    assert type(method) is Tutor


@pytest.mark.parametrize(
    "backbone, kind, count",
    [("resnet18", "BasicBlock", 8), ("vit_micro", "Block", 4), ("convnext_atto", "ConvNeXtBlock", 12)],
)
def test_blocks_are_the_repeated_parts(backbone, kind, count):
    found = blocks_of(backbones.build_encoder(backbone, FIELD))
    assert [type(block).__name__ for block in found].count(kind) == count
    seen = [p for block in found for p in block.parameters()]
    assert len(seen) == len(set(seen)), "a block within a block"


def test_a_plain_row_of_layers_is_no_block():
    assert blocks_of(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))) == []


def test_bytes_count_parameters_and_moments():
    net = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    assert sharding.held_bytes(net, [optimiser]) == (8 * 4, 0)
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    assert sharding.held_bytes(net, [optimiser]) == (8 * 4, 8 * 4)
