import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from refimpl.evaluation.linear import Standardised, fit, probe, standardiser


def toy(n=300, width=12, classes=4, seed=0, noise=1.0):
    """Features of very different scales and strongly correlated, as those of real networks are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = rng.integers(0, classes, n)
    mix = np.random.default_rng(98).normal(size=(width, width)) * np.logspace(0, -2, width)
    x = (centres[labels] + noise * rng.normal(size=(n, width))) @ mix * np.logspace(-2, 3, width) + 7
    return torch.tensor(x), torch.tensor(labels)


def scipy_solution(x, labels, classes, l2):
    """The same objective in float64 by another program, on standardised features without rotation."""
    x, labels = x.numpy(), labels.numpy()
    x = (x - x.mean(0)) / x.std(0)
    n, width = x.shape
    one_hot = np.eye(classes)[labels]

    def objective(theta):
        w, b = theta[: width * classes].reshape(width, classes), theta[width * classes :]
        logits = x @ w + b
        total = logsumexp(logits, axis=1)
        slope = (np.exp(logits - total[:, None]) - one_hot) / n
        loss = (total - logits[np.arange(n), labels]).mean() + l2 / 2 * (w**2).sum()
        return loss, np.concatenate([(x.T @ slope + l2 * w).ravel(), slope.sum(0)])

    start = np.zeros((width + 1) * classes)
    done = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 20000, "ftol": 1e-15, "gtol": 1e-9}
    )
    w, b = done.x[: width * classes].reshape(width, classes), done.x[width * classes :]
    return done.fun, x @ w + b


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_agrees_with_an_independent_solver(l2, dtype):
    x, labels = toy()
    loss, logits = scipy_solution(x, labels, 4, l2)
    model = fit(Standardised(x.to(dtype)), labels, 4, l2)
    assert model.loss == pytest.approx(loss, abs=1e-4)
    accuracy = (torch.from_numpy(logits).argmax(1) == labels).float().mean()
    assert (model.predict(x) == labels).float().mean() == pytest.approx(float(accuracy), abs=0.004)  # one sample of 300
    # The bias is free up to a constant shared by the classes, so logits are compared without their mean.
    ours = x.to(dtype) @ model.weight + model.bias
    gap = (ours - ours.mean(1, keepdim=True)).double().numpy() - (logits - logits.mean(1, keepdims=True))
    assert np.abs(gap).max() < (0.02 if l2 >= 1e-2 else 0.2)


def test_without_a_start_and_from_another_strength_it_ends_at_the_same_loss():
    x, labels = toy()
    train = Standardised(x.float())
    cold = fit(train, labels, 4, 1e-3)
    warm = fit(train, labels, 4, 1e-3, fit(train, labels, 4, 1e-1).solution)
    assert warm.loss == pytest.approx(cold.loss, abs=1e-5)


def test_order_of_samples_scale_of_features_and_names_of_classes_do_not_matter():
    x, labels = toy()
    x, (other, _) = x.float(), toy(seed=5)
    guess = fit(Standardised(x), labels, 4, 1e-2).predict(other)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    same = fit(Standardised(x[order]), labels[order], 4, 1e-2).predict(other)
    assert (same == guess).float().mean() > 0.99
    scaled = fit(Standardised(x * 1000), labels, 4, 1e-2).predict(other * 1000)
    assert (scaled == guess).float().mean() > 0.99
    swap = torch.tensor([2, 0, 3, 1])
    renamed = fit(Standardised(x), swap[labels], 4, 1e-2).predict(other)
    assert (renamed == swap[guess]).float().mean() > 0.99


def test_the_same_input_gives_the_same_bits():
    x, labels = toy()
    first, second = (fit(Standardised(x.float()), labels, 4, 1e-3) for _ in range(2))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)


def test_a_constant_feature_is_ignored_even_when_it_moves_later():
    x, labels = toy()
    constant = torch.full((300, 1), 1234.5, dtype=x.dtype)
    plain = fit(Standardised(x), labels, 4, 1e-2).predict(x)
    model = fit(Standardised(torch.cat([x, constant], 1)), labels, 4, 1e-2)
    assert torch.equal(model.predict(torch.cat([x, constant + 1e6], 1)), plain)
    assert standardiser(constant)[1].item() == 0


def test_collapsed_features_predict_the_most_frequent_class():
    labels = torch.tensor([0] * 10 + [1] * 30 + [2] * 5)
    model = fit(Standardised(torch.ones(45, 8)), labels, 3, 1e-2)
    assert model.predict(torch.ones(4, 8)).tolist() == [1, 1, 1, 1]
    shares = torch.tensor([10, 30, 5]) / 45
    assert model.loss == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-5)  # entropy of the classes


def test_the_strength_is_the_validation_splits_choice():
    # 40 samples of 40 noisy features: a weak penalty fits noise, a strong one does not.
    (x, labels), (val, val_labels) = toy(40, 40, 2, 1, 6.0), toy(400, 40, 2, 2, 6.0)
    strengths = (10.0, 1.0, 1e-1, 1e-2, 1e-4)
    train = Standardised(x)
    hits = [int((fit(train, labels, 2, l2).predict(val) == val_labels).sum()) for l2 in strengths]
    assert probe(x, labels, val, val_labels, 2, strengths).l2 == strengths[int(np.argmax(hits))] == 1.0
    # Chosen by the training samples themselves it would be the first that fits all of them.
    assert probe(x, labels, x, labels, 2, strengths).l2 == 0.1


def test_labels_that_mean_nothing_give_chance():
    rng = np.random.default_rng(3)
    x, labels = torch.tensor(rng.normal(size=(2600, 12))), torch.tensor(rng.integers(0, 4, 2600))
    model = probe(x[:400], labels[:400], x[400:600], labels[400:600], 4)
    right = (model.predict(x[600:]) == labels[600:]).float().mean()
    assert float(right) == pytest.approx(0.25, abs=0.03)  # three standard deviations of 2,000 guesses
