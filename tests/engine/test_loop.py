"""The loop's own promises, on a method small enough to check by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from refimpl.data.dataset import Data, DataError, Input
from refimpl.engine import loop
from refimpl.engine.errors import TrainingError
from refimpl.engine.method import Method, Output, Recipe

SAMPLES, BANDS = 22, 4
RECIPE = Recipe(epochs=3, batch=4, optimiser="sgd", lr=0.1, betas=(0.0, 0.0), warmup=0.0, weight_decay=0.0)
PER_EPOCH = 20 // 4


@pytest.fixture
def data() -> Data:
    rng = np.random.default_rng(0)
    spectrum = rng.integers(0, 1000, (SAMPLES, BANDS)).astype(np.uint16)
    field = Input(tuple("abcd"), 1, (500.0,) * BANDS, (300.0,) * BANDS)
    return Data(
        "lines", {"spectrum": spectrum}, {"spectrum": field}, {"train": np.arange(20), "test": np.arange(20, 22)}
    )


class Line(Method):
    """Learns to sum a spectrum; writes down what the engine asks of it."""

    needs = ("spectrum",)
    backbone = "spectral_mlp"

    def __init__(self, inputs, backbone=None, *, noise: float = 0.0):
        super().__init__(inputs, backbone)
        self.line, self.noise = nn.Linear(BANDS, 1), noise
        self.seen, self.calls = [], []
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def parameters_of(self, turn):
        return [("line.weight", self.line.weight), ("line.bias", self.line.bias)]

    def before_epoch(self, epoch, data, tools):
        self.calls.append(("epoch", epoch))

    def draw(self, data, index, draws):
        self.seen.append(index.tolist())
        return super().draw(data, index, draws)

    def prepare(self, batch, draws):
        x = self.encoder.normalise(batch["spectrum"])
        return {"x": x + self.noise * draws.normal(BANDS)}

    def forward(self, batch, turn="all"):
        x = batch["x"]
        return Output((self.line(x)[:, 0] - x.sum(1)).square().mean(), embedding=x)

    def after_step(self, progress):
        self.count += 1
        self.calls.append(("step", progress.step, progress.epoch))


def line(data, seed: int = 0, **hyper) -> Line:
    torch.manual_seed(seed)
    return Line(data.inputs, **hyper)


def train(method, data, recipe=RECIPE, **options):
    return loop.train(method, data, recipe, precision="fp32", quiet=True, **options)


def test_every_epoch_sees_each_training_sample_once(data):
    method = line(data)
    trained = train(method, data)
    assert trained.steps == 3 * PER_EPOCH and len(method.seen) == trained.steps
    seen = [sample for batch in method.seen for sample in batch]
    epochs = [seen[e * 20 : (e + 1) * 20] for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert epochs[0] != epochs[1] != epochs[2]


def test_hooks_come_in_order(data):
    method = line(data)
    train(method, data, RECIPE.but(epochs=2))
    expected = []
    for epoch in range(2):
        expected.append(("epoch", epoch))
        expected += [("step", epoch * PER_EPOCH + i + 1, epoch) for i in range(PER_EPOCH)]
    assert method.calls == expected


def test_weights_follow_gradient_descent_by_hand(data):
    """Two steps against the update written out, in the order that the method saw."""
    method, twin = line(data, noise=0.0), line(data)
    train(method, data, max_steps=2)
    w, b = twin.line.weight.detach().double()[0], twin.line.bias.detach().double()[0]
    peak = 0.1 * 4 / 256
    for step, seen in enumerate(method.seen):
        x = (torch.tensor(data.fields["spectrum"][seen].astype(np.float64)) - 500) / 300
        error = x @ w + b - x.sum(1)
        rate = peak * 0.5 * (1 + np.cos(np.pi * step / 2))
        w, b = w - rate * 2 * (error[:, None] * x).mean(0), b - rate * 2 * error.mean()
    torch.testing.assert_close(method.line.weight[0].double(), w, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.line.bias[0].double(), b, rtol=1e-5, atol=1e-6)


def test_same_seed_same_weights_other_seed_other(data):
    weights = []
    for seed in (1, 1, 2):
        method = line(data, noise=0.5)
        train(method, data, seed=seed)
        weights.append(method.line.weight.detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_callers_random_numbers_do_not_matter(data):
    weights = []
    for noise in (0, 99):
        method = line(data, noise=0.5)
        torch.manual_seed(noise)
        train(method, data, seed=1)
        weights.append(method.line.weight.detach().clone())
    assert torch.equal(*weights)


def test_resuming_at_any_step_gives_the_same_weights(data, tmp_path):
    whole = line(data, noise=0.5)
    train(whole, data, folder=tmp_path / "whole", save_every=1)
    for stop in range(1, 3 * PER_EPOCH, 2):
        folder = tmp_path / str(stop)
        stopped = line(data, noise=0.5)
        forward, left = stopped.forward, iter(range(stop))

        def dying(batch, turn="all", forward=forward, left=left):
            if next(left, None) is None:
                raise ZeroDivisionError
            return forward(batch, turn)

        stopped.forward = dying
        with pytest.raises(ZeroDivisionError):
            train(stopped, data, folder=folder, save_every=1)
        resumed = line(data, seed=9, noise=0.5)  # other initial weights: all must come from the checkpoint
        train(resumed, data, folder=folder, save_every=1)
        assert torch.equal(resumed.line.weight, whole.line.weight), f"stopped in step {stop}"
        assert int(resumed.count) == 3 * PER_EPOCH
        # The epoch's work is done again only where the epoch begins again.
        assert ("epoch", stop // PER_EPOCH) in resumed.calls or stop % PER_EPOCH


def test_resuming_a_finished_run_does_nothing(data, tmp_path):
    first, again = line(data), line(data, seed=9)
    train(first, data, folder=tmp_path)
    trained = train(again, data, folder=tmp_path)
    assert torch.equal(first.line.weight, again.line.weight)
    assert again.calls == []
    assert [step for step, _ in trained.curve] == list(range(3 * PER_EPOCH))


def test_metrics_are_a_line_per_step_even_after_a_torn_write(data, tmp_path):
    train(line(data), data, folder=tmp_path, max_steps=6, save_every=4)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    assert [json.loads(row)["step"] for row in lines] == list(range(6))
    # A kill can leave half a line, and lines beyond the newest checkpoint.
    path.write_text("\n".join(lines) + '\n{"step": 6, "lo')
    for extra in tmp_path.glob("checkpoints/00000006.*"):
        extra.unlink()
    train(line(data), data, folder=tmp_path, max_steps=6)
    assert [json.loads(row)["step"] for row in path.read_text().splitlines()] == list(range(6))


def test_accumulated_batches_are_one_batch(data):
    big, small = line(data, noise=0.5), line(data, noise=0.5)
    train(big, data, RECIPE.but(batch=4))
    train(small, data, RECIPE.but(batch=2, accumulate=2))
    torch.testing.assert_close(small.line.weight, big.line.weight, rtol=1e-5, atol=1e-6)
    assert int(big.count) == int(small.count), "state that follows the weights moves once per optimiser step"


def test_fewer_samples_than_a_batch_is_refused(data):
    with pytest.raises(DataError, match=r"lines: 20 training samples are fewer than one batch of 64.*batch=20"):
        train(line(data), data, RECIPE.but(batch=64))


def test_accumulation_is_refused_where_samples_are_compared(data):
    method = line(data)
    method.couples_samples = True
    with pytest.raises(TrainingError, match=r"Line compares the samples.*set accumulate=1"):
        train(method, data, RECIPE.but(accumulate=2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_with_its_step(data, value):
    method = line(data)
    forward = method.forward

    def breaks(batch, turn="all"):
        out = forward(batch, turn)
        return Output(out.loss * value) if int(method.count) == 3 else out

    method.forward = breaks
    with pytest.raises(TrainingError, match="step 3: the loss is not finite"):
        train(method, data)


def test_unknown_precision_names_the_known(data):
    with pytest.raises(ValueError, match=r"fp64.*auto, fp32, bf16"):
        loop.train(line(data), data, RECIPE, precision="fp64", quiet=True)


def test_collapse_is_said_once(data):
    constant = np.full_like(data.fields["spectrum"], 500)
    data.fields["spectrum"] = constant
    trained = train(line(data), data)
    assert len(trained.warnings) == 1 and "step 0" in trained.warnings[0] and "collapsed" in trained.warnings[0]


def test_features_of_the_training_split_are_in_order(data):
    method = line(data)
    features = loop.training_features(method, data, torch.device("cpu"), torch.autocast("cpu", enabled=False), batch=6)
    method.eval()
    stored = torch.tensor(data.fields["spectrum"][:20].astype(np.int32))
    with torch.no_grad():
        torch.testing.assert_close(features, method.embed(stored))


def test_training_mode_is_restored_after_features(data):
    method = line(data).train()
    loop.training_features(method, data, torch.device("cpu"), torch.autocast("cpu", enabled=False))
    assert method.training and all(module.training for module in method.modules())


def test_forgetting_drops_the_momentum_of_what_was_made_anew(data):
    """A layer that an epoch re-initialises must not be pushed by the gradients of its former self."""

    def trained(forgets: bool) -> torch.Tensor:
        method = line(data)

        def before_epoch(epoch, data, tools):
            if epoch == 1:
                with torch.no_grad():
                    method.line.weight.zero_()
                    method.line.bias.zero_()
                if forgets:
                    tools.forget(method.line.parameters())

        method.before_epoch = before_epoch
        train(method, data, RECIPE.but(betas=(0.9, 0.0), epochs=2), max_steps=PER_EPOCH + 1)
        return method.line.weight.detach()

    fresh, pushed = trained(True), trained(False)
    assert pushed.norm() > 1.5 * fresh.norm() > 0


def test_an_epochs_random_numbers_depend_on_seed_and_epoch_alone(data):
    drawn = {}
    for seed, caller in ((1, 0), (1, 99), (2, 0)):
        method = line(data)
        method.before_epoch = lambda epoch, data, tools, key=(seed, caller): drawn.setdefault((*key, epoch), []).extend(
            torch.rand(3, generator=tools.generator).tolist()
        )
        torch.manual_seed(caller)
        train(method, data, seed=seed)
    assert drawn[1, 0, 0] == drawn[1, 99, 0] and drawn[1, 0, 2] == drawn[1, 99, 2]
    assert len({tuple(v) for k, v in drawn.items() if k[1] == 0}) == 6
