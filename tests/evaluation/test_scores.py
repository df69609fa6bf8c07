import numpy as np
import pytest
from scipy.stats import binomtest

from refimpl.evaluation.scores import (
    EvaluationError,
    Score,
    accuracy_score,
    balanced_score,
    bootstrap,
    digest,
    pick,
    wilson,
)


@pytest.mark.parametrize("hits, total", [(0, 10), (8, 10), (10, 10), (3712, 4000)])
def test_wilson_agrees_with_scipy(hits, total):
    reference = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_of_nothing_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_contains_the_truth_as_often_as_it_says():
    hits = np.random.default_rng(0).binomial(200, 0.9, 4000)
    inside = [low <= 0.9 <= high for low, high in (wilson(int(h), 200) for h in hits)]
    assert 0.93 < np.mean(inside) < 0.97


def test_accuracy_is_in_percent_and_inside_its_interval():
    for right in (0, 1, 37, 50):
        score = accuracy_score("m", "f", np.arange(50) < right)
        assert score.value == 2 * right and score.unit == "%"
        assert 0 <= score.lower <= score.value <= score.upper <= 100


def test_balanced_accuracy_gives_a_constant_guess_only_chance():
    labels = np.repeat([0, 1], [990, 10])
    correct = labels == 0  # "always class 0"
    score = balanced_score("m", "f", correct, labels)
    assert score.value == 50 and accuracy_score("m", "f", correct).value == 99
    assert score.lower < 50 < score.upper < 75


def test_balanced_interval_contains_the_truth_as_often_as_it_says():
    rng, labels = np.random.default_rng(1), np.repeat([0, 1, 2], [300, 60, 40])
    shares = np.array([0.9, 0.6, 0.75])
    scores = [balanced_score("m", "f", rng.random(400) < shares[labels], labels) for _ in range(200)]
    assert 0.9 < np.mean([s.lower <= 75 <= s.upper for s in scores]) <= 1


def test_bootstrap_of_a_mean_is_its_normal_interval():
    values = np.random.default_rng(2).normal(3, 2, 2000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert bootstrap(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert bootstrap(values) == bootstrap(values)


def test_bootstrap_applies_the_finish_and_takes_a_single_sample():
    assert bootstrap(np.full(9, 4.0), np.sqrt) == (2.0, 2.0)
    assert bootstrap(np.array([1.0])) == (1.0, 1.0)


def test_pick_finds_and_says_what_there_is():
    scores = [Score("a", 1.0, "%", None, None, "trained"), Score("a", 2.0, "%", None, None, "other")]
    assert pick(scores, "a") == 1.0 and pick(scores, "a", "other") == 2.0
    with pytest.raises(EvaluationError, match=r"no score 'b' of 'trained'; there are: a of other, a of trained"):
        pick(scores, "b")


def test_a_score_reads_well_and_becomes_json():
    score = Score("k-NN accuracy", 71.26, "%", 70.0, 72.5, "trained")
    assert str(score) == "trained: k-NN accuracy 71.3 % [70.0, 72.5]"
    assert str(Score("abundance RMSE", 0.1, "", None, None, "x")) == "x: abundance RMSE 0.1000"
    assert Score(**score.as_dict()) == score


def test_digest_depends_on_values_not_on_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
