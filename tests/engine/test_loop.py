"""The loop's own promises, on a method small enough to check by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lines import PER_EPOCH, RECIPE, line, line_data, train

from refimpl.data.dataset import Data, DataError, Input
from refimpl.engine import loop
from refimpl.engine.draws import Draws
from refimpl.engine.errors import TrainingError
from refimpl.engine.features import training_features
from refimpl.engine.feed import MicroBatch
from refimpl.engine.method import Output, Progress
from refimpl.engine.step import Stepper
from refimpl.studies.build import build_method


@pytest.fixture
def data() -> Data:
    return line_data()


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
    features = training_features(method, data, torch.device("cpu"), torch.autocast("cpu", enabled=False), batch=6)
    method.eval()
    stored = torch.tensor(data.fields["spectrum"][:20].astype(np.int32))
    with torch.no_grad():
        torch.testing.assert_close(features, method.embed(stored))


def test_training_mode_is_restored_after_features(data):
    method = line(data).train()
    training_features(method, data, torch.device("cpu"), torch.autocast("cpu", enabled=False))
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


def test_gradients_can_be_changed_before_the_update(data):
    """As where a last layer is frozen at first: the hook sees the gradients of the whole step, once per turn."""
    method, told = line(data), []

    def before_update(turn, progress):
        told.append((turn, progress.step, method.line.bias.grad is not None))
        method.line.bias.grad = None

    method.before_update = before_update
    bias = method.line.bias.detach().clone()
    train(method, data, RECIPE.but(accumulate=2, batch=2), max_steps=3)
    assert told == [("all", 1, True), ("all", 2, True), ("all", 3, True)]
    assert torch.equal(method.line.bias, bias)


def test_compiling_changes_no_name_and_no_weight(data, tmp_path, monkeypatch):
    """Without the code generator, which would take most of a minute; what is traced is the same."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: compile_(*args, **{**options, "backend": "eager"}))
    plain, compiled = line(data, noise=0.5), line(data, noise=0.5)
    train(plain, data)
    train(compiled, data, compiles="on", folder=tmp_path)
    assert compiled._compiled_call_impl is not None, "nothing was compiled"
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
    resumed = line(data, seed=9)
    train(resumed, data, folder=tmp_path)
    assert torch.equal(resumed.line.weight, compiled.line.weight)
    with pytest.raises(ValueError, match="known are auto, on, off"):
        train(line(data), data, compiles="maybe")


def test_recomputed_activations_give_the_same_gradients_in_less_memory():
    """The memory is what autograd keeps between forward and backward pass."""
    kept, weights = {}, {}
    for recompute in (False, True):
        method = build_method("simclr", {"image": Input(tuple("abc"), 32)}, backbone="vit_micro")
        recipe = RECIPE.but(recompute=recompute, batch=4)
        stepper = Stepper(method, recipe, torch.device("cpu"), "fp32", "off")
        sizes = []
        stored = torch.arange(4 * 3 * 32 * 32).remainder(251).reshape(4, 3, 32, 32).to(torch.uint8)
        batch = MicroBatch({"image": stored}, Draws(0, 0, torch.arange(4)), torch.arange(4))
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.nbytes) or x, lambda x: x):
            stepper.take([batch], Progress(1, 2, 0, 1))
        kept[recompute], weights[recompute] = sum(sizes), method.state_dict()
    torch.testing.assert_close(weights[True], weights[False])
    assert kept[True] < 0.5 * kept[False]


def test_a_network_that_cannot_recompute_says_so(data):
    with pytest.raises(TrainingError, match="spectral_mlp cannot recompute its activations"):
        train(line(data), data, RECIPE.but(recompute=True))


def test_tensorboard_events_hold_the_metrics(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(line(data), data, folder=tmp_path, max_steps=4, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = [json.loads(row)["loss"] for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [e.step for e in events.Scalars("loss")] == [0, 1, 2, 3]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx(logged)
