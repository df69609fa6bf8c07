from scripts.site.results import curve, newest, run_block, value

RUN = {
    "data": {"name": "synthetic", "synthetic": True, "samples": 2000},
    "started": "2026-01-02T03:04:05Z",
    "seconds": 61.4,
    "seed": 0,
    "curve": [[0, 5.0], [10, 4.0], [20, 3.0]],
    "scores": [
        {"metric": "k-NN", "value": 60.0, "unit": "%", "features": "random initialisation"},
        {"metric": "k-NN", "value": 81.26, "unit": "%", "lower": 80.1, "upper": 82.4, "features": "trained"},
        {"metric": "RMSE", "value": 0.12345, "unit": "1", "features": "band statistics"},
    ],
}


def test_values_carry_unit_and_interval():
    assert value(RUN["scores"][1]) == "81.3 % <small>[80.1, 82.4]</small>"
    assert value(RUN["scores"][2]) == "0.1235"
    assert value({"value": None}) == "–"


def test_baselines_stand_beside_the_trained_features():
    shown = run_block(RUN)
    assert shown.index("trained") < shown.index("random initialisation") < shown.index("band statistics")
    assert "81.3 %" in shown and "60.0 %" in shown
    assert "synthetic data" in shown and "real data" not in shown
    assert "run on this machine" not in shown
    assert "run on this machine" in run_block({**RUN, "local": True})


def test_brief_leaves_second_opinions_out():
    score = {"value": 80.0, "unit": "%", "features": "trained"}
    run = {**RUN, "scores": [{**score, "metric": m} for m in ("k-NN accuracy", "5-NN accuracy")]}
    assert "5-NN" in run_block(run)
    assert "5-NN" not in run_block(run, brief=True)
    assert "k-NN" in run_block(run, brief=True)


def test_curve_is_small_and_says_what_it_shows():
    points = [[i, 10 / (i + 1)] for i in range(5000)]
    shown = curve(points)
    assert len(shown) < 1000
    assert "loss 10 at step 0, 0.002 at step 4999" in shown
    assert curve([[0, float("nan")], [1, 1.0]]) == "" == curve([])
    assert "polyline" in curve([[0, 1.0], [1, 1.0]])


def test_real_data_come_before_synthetic_and_new_before_old():
    real = {"started": "2026-01-01", "data": {"synthetic": False}}
    old = {"started": "2026-01-02", "data": {"synthetic": True}}
    new = {"started": "2026-01-03", "data": {"synthetic": True}}
    assert newest([old, new, real]) == [real, new, old]
