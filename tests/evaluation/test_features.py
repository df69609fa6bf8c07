import numpy as np
import pytest
import torch
from torch import nn

from refimpl.data.dataset import Data, Input
from refimpl.evaluation.features import extract, frozen
from refimpl.evaluation.scores import EvaluationError


class Net(nn.Module):
    """Everything that a careless probe would disturb: batch norm, dropout, a method beside forward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 5))

    def embed(self, stored):
        return self.layers(stored.float() / 1000)


def toy(n=70, dtype=np.uint16):
    spectra = np.random.default_rng(0).integers(0, 5000, (n, 4)).astype(dtype)
    rows = np.arange(n)
    return Data("toy", {"spectrum": spectra}, {"spectrum": Input(("a", "b", "c", "d"), 1)}, {"train": rows})


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_nothing_of_the_network_changes_and_each_layer_keeps_its_own_mode():
    net, data = Net(), toy()
    net.train()
    net.layers[1].eval()  # a batch norm that someone froze on purpose
    modes, before, draws = [m.training for m in net.modules()], state(net), torch.get_rng_state()
    features = extract(net.embed, data, "spectrum", np.arange(70), batch=16)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), draws)
    assert features.dtype == torch.float32 and features.shape == (70, 5) and not features.requires_grad


def test_the_mode_returns_after_an_error_too():
    net = Net().train()
    with pytest.raises(RuntimeError), frozen(net):
        raise RuntimeError
    assert all(m.training for m in net.modules())


def test_dropout_is_off_and_batches_do_not_matter():
    net, data = Net(), toy()
    whole = extract(net.embed, data, "spectrum", np.arange(70), batch=512)
    torch.testing.assert_close(extract(net.embed, data, "spectrum", np.arange(70), batch=7), whole)
    torch.testing.assert_close(extract(net.layers, toy(dtype=np.float32), "spectrum", np.arange(70)).shape, whole.shape)


def test_rows_follow_the_index():
    net, data = Net(), toy()
    whole = extract(net.embed, data, "spectrum", np.arange(70))
    order = np.random.default_rng(1).permutation(70)[:33]
    torch.testing.assert_close(extract(net.embed, data, "spectrum", order), whole[torch.from_numpy(order)])


def test_features_may_be_used_in_a_gradient_afterwards():
    features = extract(Net().embed, toy(), "spectrum", np.arange(8))
    weight = torch.ones(5, requires_grad=True)
    (features @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, features.sum(0))


def test_bfloat16_keeps_the_features_to_a_few_digits():
    net, data = Net(), toy()
    exact = extract(net.embed, data, "spectrum", np.arange(70))
    rough = extract(net.embed, data, "spectrum", np.arange(70), autocast=True)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_advance_counts_all_samples():
    seen = []
    extract(Net().embed, toy(), "spectrum", np.arange(70), batch=32, advance=seen.append)
    assert seen == [32, 32, 6]


def test_what_cannot_be_judged_is_named():
    data = toy()
    with pytest.raises(EvaluationError, match="toy: no samples to judge; its splits are train 70"):
        extract(lambda x: x.float(), data, "spectrum", np.array([], dtype=int))
    with pytest.raises(EvaluationError, match="trained: NaN or infinity in 70 of 70 samples"):
        extract(lambda x: x.float() * float("nan"), data, "spectrum", np.arange(70), what="trained")
    with pytest.raises(EvaluationError, match=r"embed gave \(70, 4, 1\) for 70 samples"):
        extract(lambda x: x.float()[:, :, None], data, "spectrum", np.arange(70))
