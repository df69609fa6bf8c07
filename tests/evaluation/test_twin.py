"""The untrained twin: its batch normalisation knows the data, its weights know nothing."""

from __future__ import annotations

import torch
from smoke import smoke_data
from torch import nn

from refimpl.evaluation.twin import settle, untrained
from refimpl.studies.build import build_method

CPU = torch.device("cpu")


def batch_norms(method):
    return [layer for layer in method.encoder.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def make(backbone: str, seed: int = 0):
    return build_method("simclr", smoke_data("simclr").inputs, backbone=backbone, seed=seed)


def test_every_layer_passes_on_numbers_of_the_usual_size():
    """The point of settling: the output of each batch normalisation has mean 0 and deviation 1 on the data."""
    data = smoke_data("simclr")
    twin = untrained(lambda: make("test_resnet"), 0, CPU, data)
    found = {}

    def keep(layer, given, out):
        found[layer] = given[0].transpose(0, 1).flatten(1)

    hooks = [layer.register_forward_hook(keep) for layer in batch_norms(twin)]
    with torch.no_grad():
        twin.embed(data.take("image", torch.as_tensor(data.splits["train"])))
    for hook in hooks:
        hook.remove()
    assert len(found) > 5
    for layer, given in found.items():
        scaled = (given - layer.running_mean[:, None]) / (layer.running_var[:, None] + layer.eps).sqrt()
        assert scaled.mean().abs() < 0.1
        assert 0.8 < scaled.std() < 1.25


def test_mere_training_mode_gains_nothing_over_the_twin():
    """A network that was run in training mode without ever learning has the twin's features."""
    data = smoke_data("simclr")
    stored = data.take("image", torch.as_tensor(data.splits["train"]))
    run, twin, raw = make("test_resnet"), make("test_resnet"), make("test_resnet").eval()
    for layer in batch_norms(run):
        layer.reset_running_stats()
        layer.momentum = None
    run.train()
    with torch.no_grad():
        run.embed(stored)
    run.eval()
    settle(twin.eval(), data, CPU)
    with torch.no_grad():
        a, b, c = (method.embed(stored) for method in (run, twin, raw))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert (a - c).norm() > 0.1 * a.norm(), "without settling the features are others, or this test shows nothing"


def test_settling_touches_no_weight_and_leaves_evaluation_mode():
    twin = make("test_resnet").eval()
    before = {name: p.clone() for name, p in twin.named_parameters()}
    momentum = [layer.momentum for layer in batch_norms(twin)]
    settle(twin, smoke_data("simclr"), CPU)
    assert all(torch.equal(p, before[name]) for name, p in twin.named_parameters())
    assert [layer.momentum for layer in batch_norms(twin)] == momentum
    assert not any(module.training for module in twin.modules())


def test_a_network_without_batch_norm_is_left_alone():
    twin, other = make("vit_nano").eval(), make("vit_nano").eval()
    settle(twin, smoke_data("simclr"), CPU)
    assert all(torch.equal(a, b) for a, b in zip(twin.state_dict().values(), other.state_dict().values()))
