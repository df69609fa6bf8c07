import math

import numpy as np
import pytest
import torch

from refimpl.evaluation.knn import knn_predict, neighbours, vote


def toy(n=60, m=25, width=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    train, test = (torch.tensor(rng.normal(size=(size, width)), dtype=torch.float32) for size in (n, m))
    return train, torch.tensor(rng.integers(0, classes, n)), test, classes


def by_hand(train, labels, test, classes, k, temperature):
    """The rule of Wu et al. 2018, one sample at a time."""
    guesses = []
    for x in test.tolist():
        similar = []
        for t, label in zip(train.tolist(), labels.tolist()):
            cosine = sum(a * b for a, b in zip(x, t)) / math.hypot(*x) / math.hypot(*t)
            similar.append((cosine, label))
        votes = [0.0] * classes
        for cosine, label in sorted(similar, reverse=True)[:k]:
            votes[label] += 1 if temperature is None else math.exp(cosine / temperature)
        guesses.append(votes.index(max(votes)))
    return guesses


@pytest.mark.parametrize("k, temperature", [(1, 0.07), (5, None), (20, 0.07), (20, 1.0)])
def test_agrees_with_a_loop(k, temperature):
    train, labels, test, classes = toy()
    guess = knn_predict(train, labels, test, classes, k, temperature)
    assert guess.tolist() == by_hand(train, labels, test, classes, k, temperature)


def test_a_training_sample_is_its_own_nearest_neighbour():
    train, labels, _, classes = toy()
    similarity, rows = neighbours(train, train, 1)
    assert rows[:, 0].tolist() == list(range(60))
    torch.testing.assert_close(similarity[:, 0], torch.ones(60))
    assert torch.equal(knn_predict(train, labels, train, classes, k=1), labels)


def test_neither_order_nor_length_of_features_matters():
    train, labels, test, classes = toy()
    guess = knn_predict(train, labels, test, classes)
    order, back = torch.randperm(60, generator=torch.Generator().manual_seed(0)), torch.arange(24, -1, -1)
    lengths = torch.linspace(0.1, 50, 60)[:, None]
    assert torch.equal(knn_predict(train[order], labels[order], test, classes), guess)
    assert torch.equal(knn_predict(train, labels, test[back], classes), guess[back])
    assert torch.equal(knn_predict(train * lengths, labels, test * 3, classes), guess)


def test_names_of_classes_do_not_matter():
    train, labels, test, classes = toy()
    swap = torch.tensor([2, 0, 3, 1])
    assert torch.equal(knn_predict(train, swap[labels], test, classes), swap[knn_predict(train, labels, test, classes)])


def test_chunks_do_not_matter():
    train, _, test, _ = toy()
    whole, parts = neighbours(train, test, 5), neighbours(train, test, 5, chunk=4)
    torch.testing.assert_close(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_is_compared_in_float32(dtype):
    train, labels, test, classes = toy()
    rounded = knn_predict(train.to(dtype).float(), labels, test.to(dtype).float(), classes)
    assert torch.equal(knn_predict(train.to(dtype), labels, test.to(dtype), classes), rounded)


def test_a_low_temperature_asks_the_nearest_only_and_does_not_overflow():
    train, labels, test, classes = toy()
    nearest = knn_predict(train, labels, test, classes, k=1)
    assert torch.equal(knn_predict(train, labels, test, classes, k=20, temperature=1e-6), nearest)


def test_fewer_training_samples_than_k_and_zero_features():
    train, _, test, _ = toy(n=3)
    assert neighbours(train, test, 20)[0].shape == (25, 3)
    similarity, _ = neighbours(torch.zeros(4, 6), test, 2)
    assert torch.equal(similarity, torch.zeros(25, 2))


def test_equal_votes_go_to_the_smaller_class():
    labels = torch.tensor([[3, 1, 1, 3]])
    assert vote(torch.ones(1, 4), labels, 4, None).tolist() == [1]
    assert vote(torch.full((1, 4), 0.5), labels, 4).tolist() == [1]
