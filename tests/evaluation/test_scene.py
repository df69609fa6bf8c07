import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from refimpl.data.dataset import Data, Input
from refimpl.evaluation import PROTOCOLS, scene
from refimpl.evaluation.baselines import band_statistics
from refimpl.evaluation.knn import knn_predict
from refimpl.evaluation.scores import RANDOM, STATISTICS, TRAINED, EvaluationError, pick

CLASSES, SIZE, PER_CLASS = 4, 8, 60


def toy(seed=0, counts=(PER_CLASS,) * CLASSES, noise=1500.0):
    """Images whose class is the orientation of stripes, which band statistics cannot see; uint16, two bands."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE * 4 * np.pi
    angle = labels[:, None, None] * np.pi / CLASSES
    waves = np.sin(rows * np.cos(angle) + columns * np.sin(angle) + rng.uniform(0, 2 * np.pi, (len(labels), 1, 1)))
    images = 9000 + 3000 * waves[:, None] + noise * rng.normal(size=(len(labels), 2, SIZE, SIZE))
    order = rng.permutation(len(labels))
    train, val, test = np.split(order, [len(order) // 2, len(order) * 2 // 3])
    return Data(
        "toy",
        {"image": images.clip(0, 65535).astype(np.uint16), "label": labels.astype(np.int64)},
        {"image": Input(("red", "nir"), SIZE, (9000.0, 9000.0), (3000.0, 3000.0))},
        {"train": train, "val": val, "test": test},
        classes=("north", "north-east", "east", "south-east")[: len(counts)],
    )


class Toy(nn.Module):
    """Stands for a method. "Trained" ones take the energy of each direction, so stripes become visible."""

    needs = ("image",)

    def __init__(self, inputs, trained=False):
        super().__init__()
        self.inputs, self.trained = inputs, trained
        self.register_buffer("mean", torch.tensor(inputs["image"].mean)[:, None, None])
        self.register_buffer("std", torch.tensor(inputs["image"].std)[:, None, None])
        self.net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.3), nn.Sigmoid())

    def embed(self, stored):
        x = (stored.float() - self.mean) / self.std
        if self.trained:
            return torch.fft.rfft2(x.mean(1)).abs()[:, :, :4].flatten(1)
        return self.net(x).mean((2, 3))


@pytest.fixture(scope="module")
def data():
    return toy()


def judge(data, trained=True, seed=0, **options):
    torch.manual_seed(1)
    method = Toy(data.inputs, trained)
    return scene.evaluate(method, data, fresh=lambda: Toy(data.inputs), seed=seed, **options)


def test_the_protocol_is_registered():
    assert PROTOCOLS["scene"] is scene and scene.HIGHER_IS_BETTER


def test_good_features_beat_the_random_network_and_band_statistics(data):
    scores = judge(data)
    assert {s.features for s in scores} == {TRAINED, RANDOM, STATISTICS}
    for metric in (scene.KNN, scene.KNN_PLAIN, scene.LINEAR):
        assert pick(scores, metric) > 90
        assert pick(scores, metric, STATISTICS) < 50  # stripes of any direction have the same histogram
    assert pick(scores, scene.LINEAR) > pick(scores, scene.LINEAR, RANDOM) + 20
    assert scene.headline(scores) == pick(scores, scene.LINEAR)
    assert scene.headline(scores, STATISTICS) == pick(scores, scene.LINEAR, STATISTICS)
    assert all(s.unit == "%" and s.lower <= s.value <= s.upper for s in scores)


def test_band_statistics_see_what_they_should():
    data = toy()
    level = data.fields["label"][:, None, None, None] * 8000
    data.fields["image"] = (data.fields["image"] + level).astype(np.uint16)
    scores = judge(data)
    # Four levels of one quantity lie on a line; a cosine tells the two ends apart, a linear probe all four.
    assert pick(scores, scene.KNN, STATISTICS) > 60 and pick(scores, scene.LINEAR, STATISTICS) > 90


def test_the_method_is_not_touched(data):
    torch.manual_seed(1)
    method = Toy(data.inputs).train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    random_state = torch.get_rng_state()
    scene.evaluate(method, data, fresh=lambda: Toy(data.inputs))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(layer.training for layer in method.modules())
    assert all(p.grad is None and p.requires_grad for p in method.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_same_twice_and_another_twin_for_another_seed(data):
    first = judge(data)
    assert judge(data) == first
    other = judge(data, seed=1)
    by = {(s.features, s.metric): s.value for s in first}
    changed = {s.features for s in other if s.value != by[s.features, s.metric]}
    assert changed == {RANDOM}


def test_test_labels_are_used_for_counting_only(data):
    """Shuffled test labels must give chance; were they to leak into the probe or its strength, they would not."""
    labels, test = data.fields["label"].copy(), data.splits["test"]
    labels[test] = np.random.default_rng(5).permutation(labels[test])
    scores = judge(dataclasses.replace(data, fields={**data.fields, "label": labels}))
    for score in scores:
        assert score.value < 45, score  # 80 guesses at 25 %: four standard deviations
        assert score.lower < 25 < score.upper or score.features != TRAINED


def test_predictions_do_not_depend_on_test_labels():
    """Two classes: with all test labels exchanged, exactly the other samples are right, unless a choice was made on
    them. Features without any information give a leak the most to gain."""
    rng = np.random.default_rng(7)
    for _ in range(5):
        sizes = {"train": 60, "val": 20, "test": 40}
        x = {split: torch.tensor(rng.normal(size=(n, 30)), dtype=torch.float32) for split, n in sizes.items()}
        y = {split: torch.tensor(rng.permutation(np.arange(n) % 2)) for split, n in sizes.items()}
        straight, exchanged = scene.judge(x, y, "x"), scene.judge(x, {**y, "test": 1 - y["test"]}, "x")
        assert [s.value + e.value for s, e in zip(straight, exchanged)] == [100, 100, 100]


def test_features_are_compared_as_they_are_and_band_statistics_standardised(data):
    scores = judge(data, trained=False)
    torch.manual_seed(1)
    method = Toy(data.inputs).eval()  # the same weights as in `judge`
    stored = torch.tensor(data.fields["image"].astype(np.int32))
    labels = torch.tensor(data.fields["label"])
    train, test = (data.splits[split] for split in ("train", "test"))

    def accuracy(x):
        return 100 * float((knn_predict(x[train], labels[train], x[test], CLASSES) == labels[test]).float().mean())

    def standardised(x):
        return (x - x[train].mean(0)) / x[train].std(0, correction=0)

    plain, statistics = method.embed(stored).detach(), band_statistics(stored)
    assert pick(scores, scene.KNN) == pytest.approx(accuracy(plain)) != accuracy(standardised(plain))
    wanted = accuracy(standardised(statistics))
    assert pick(scores, scene.KNN, STATISTICS) == pytest.approx(wanted) != accuracy(statistics)


def test_shuffled_training_labels_give_chance(data):
    labels, rest = data.fields["label"].copy(), np.concatenate([data.splits["train"], data.splits["val"]])
    labels[rest] = np.random.default_rng(6).permutation(labels[rest])
    scores = judge(dataclasses.replace(data, fields={**data.fields, "label": labels}))
    assert max(s.value for s in scores if s.metric != scene.LINEAR_BALANCED) < 45


def test_test_images_do_not_influence_each_other(data):
    """Half of the test split judged alone: the same samples right, so both halves average to the whole."""
    whole = judge(data)
    halves = [
        judge(dataclasses.replace(data, splits={**data.splits, "test": part}))
        for part in (data.splits["test"][:40], data.splits["test"][40:])
    ]
    for metric in (scene.KNN, scene.KNN_PLAIN, scene.LINEAR):
        mean = np.mean([pick(half, metric) for half in halves])
        assert mean == pytest.approx(pick(whole, metric), abs=1e-9)


def test_units_of_stored_numbers_do_not_matter_when_the_normalisation_follows(data):
    field = data.inputs["image"]
    scaled = Input(field.bands, SIZE, tuple(m / 4 for m in field.mean), tuple(s / 4 for s in field.std))
    images = data.fields["image"].astype(np.float32) / 4
    other = dataclasses.replace(data, fields={**data.fields, "image": images}, inputs={"image": scaled})
    assert [s.value for s in judge(other)] == pytest.approx([s.value for s in judge(data)])
    # The normalisation of another unit, the error behind many published numbers, makes another protocol.
    wrong = dataclasses.replace(other, inputs=data.inputs)
    assert scene.fingerprint(Toy(wrong.inputs), wrong) != scene.fingerprint(Toy(other.inputs), other)
    assert [s.value for s in judge(wrong, trained=False)][:3] != [s.value for s in judge(other, trained=False)][:3]


def test_without_a_validation_split_a_fifth_of_each_class_is_held_out(data):
    rows = data.splits["train"]
    labels = data.fields["label"]
    fit, held = scene.hold_out(rows, labels)
    assert sorted([*fit, *held]) == sorted(rows)
    counts, held_counts = np.bincount(labels[rows]), np.bincount(labels[held])
    assert np.abs(held_counts - counts / 5).max() < 1
    alone = scene.hold_out(np.array([7]), np.zeros(8, int))
    assert alone[0].tolist() == [7] and len(alone[1]) == 0
    splits = {name: r for name, r in data.splits.items() if name != "val"}
    assert scene.headline(judge(dataclasses.replace(data, splits=splits))) > 90


def test_balanced_accuracy_appears_when_classes_differ_in_size():
    scores = judge(toy(counts=(150, 20, 60, 60)))
    assert len([s for s in scores if s.metric == scene.LINEAR_BALANCED]) == 3
    even = toy()
    even.splits["test"] = np.sort(np.concatenate([np.flatnonzero(even.fields["label"] == c)[:10] for c in range(4)]))
    assert scene.LINEAR_BALANCED not in {s.metric for s in judge(even)}


def test_unknown_labels_are_left_out(data):
    labels = data.fields["label"].copy()
    labels[data.splits["train"][:30]] = -1
    labels[data.splits["test"][:10]] = -1
    splits, known = scene.labelled_splits(
        dataclasses.replace(data, fields={**data.fields, "label": labels}), field="image"
    )
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 90, "val": 40, "test": 70}
    assert all(int(values.min()) >= 0 for values in known.values())


def test_a_series_is_judged_by_its_bands():
    """One class is bright in the first band, the other in the second: alike in all numbers that pool the bands."""
    data = toy()
    labels = data.fields["label"] % 2
    images = data.fields["image"][:, None].repeat(3, 1)  # (N, T, C, H, W)
    images = (images + 8000 * (np.arange(2) == labels[:, None])[:, None, :, None, None]).astype(np.uint16)
    fields = {"series": images, "label": labels}
    series = dataclasses.replace(data, fields=fields, inputs={"series": data.inputs["image"]})

    class Series(Toy):
        needs = ("series",)

        def embed(self, stored):
            return super().embed(stored[:, 0])

    method = Series(data.inputs)
    method.inputs = series.inputs
    scores = scene.evaluate(method, series, fresh=lambda: Series(data.inputs))
    assert pick(scores, scene.LINEAR, STATISTICS) > 90


def test_progress_rises_to_one(data):
    seen = []
    judge(data, progress=lambda what, share: seen.append((share, what)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1
    assert [what for _, what in seen][:1] == ["judging trained"]


def test_what_cannot_be_judged_is_named(data):
    bare = dataclasses.replace(data, fields={"image": data.fields["image"]})
    with pytest.raises(EvaluationError, match="toy: the protocol 'scene' needs the field 'label'; it has image"):
        judge(bare)
    with pytest.raises(EvaluationError, match="needs the split 'test'"):
        judge(dataclasses.replace(data, splits={"train": data.splits["train"]}))
    with pytest.raises(EvaluationError, match="the train split knows fewer than two classes"):
        judge(dataclasses.replace(data, fields={**data.fields, "label": np.zeros(240, dtype=np.int64)}))

    broken = Toy(data.inputs)
    with torch.no_grad():
        broken.net[0].weight[0] = float("nan")
    with pytest.raises(EvaluationError, match="trained, train split: NaN or infinity in 120 of 120 samples"):
        scene.evaluate(broken, data, fresh=lambda: Toy(data.inputs))


def test_the_fingerprint_holds_what_makes_scores_comparable(data, monkeypatch):
    def of(d):
        return scene.fingerprint(Toy(d.inputs), d)

    same = of(data)
    assert of(toy(seed=0)) == same and len(same) == 16
    assert of(dataclasses.replace(data, splits={**data.splits, "train": data.splits["train"][1:]})) != same
    swapped = {**data.splits, "val": data.splits["test"], "test": data.splits["val"]}
    assert of(dataclasses.replace(data, splits=swapped)) != same
    first, second = data.splits["train"].copy(), data.splits["test"].copy()
    first[0], second[0] = second[0], first[0]  # as many, but others
    assert of(dataclasses.replace(data, splits={**data.splits, "train": first, "test": second})) != same
    assert of(dataclasses.replace(data, classes=("a", "b", "c", "d"))) != same
    for change in ({"size": 16}, {"bands": ("red", "blue")}, {"mean": (9000.0, 9001.0)}, {"std": (1.0, 1.0)}):
        assert (
            of(dataclasses.replace(data, inputs={"image": dataclasses.replace(data.inputs["image"], **change)})) != same
        )
    # Scores themselves and the weights are no part of it.
    assert scene.fingerprint(Toy(data.inputs, trained=True), data) == same
    monkeypatch.setattr(scene, "K", 10)
    assert of(data) != same
