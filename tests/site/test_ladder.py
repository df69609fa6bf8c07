from refimpl import registry
from scripts.site import ladder

NAME = next(iter(registry.methods()))


def record(passed=True, made="2026-01-02T10:00:00Z", **hashes):
    rungs = {
        "runs": {"passed": passed, "seconds": 3.2, "command": "x", "peak_memory_mb": 10.0},
        "matches": {"passed": passed, "checks": [{"name": "a", "error": 1e-7, "tolerance": 1e-5}]},
        "learns": {
            "passed": passed, "metric": "k-NN", "unit": "%", "data": "synthetic", "trained": [80, 82],
            "random": [60, 62], "margin": 20, "required": 5,
        },
    }  # fmt: skip
    for name, rung in rungs.items():
        rung["code_hash"] = hashes.get(name) or registry.rung_hash(NAME, name)
    return {"method": NAME, "device": "CPU", "made": made, "rungs": rungs, "file": "x.verify.cpu.json"}


def states(rungs):
    return [r.state for r in rungs]


def test_reached_on_the_current_code():
    rungs = ladder.verified(NAME, [record()])
    assert states(rungs) == ["reached"] * 3
    assert rungs[0].date == "2026-01-02" and rungs[0].record == "x.verify.cpu.json"
    assert "81" in rungs[2].detail and "61" in rungs[2].detail


def test_only_the_rung_whose_code_changed_expires():
    rungs = ladder.verified(NAME, [record(matches="0" * 16)])
    assert states(rungs) == ["reached", "expired", "reached"]
    assert "changed" in rungs[1].detail


def test_failed_and_missing():
    assert states(ladder.verified(NAME, [record(passed=False)])) == ["open"] * 3
    assert states(ladder.verified(NAME, [{**record(), "method": "other"}])) == ["open"] * 3
    partial = record()
    del partial["rungs"]["learns"]
    assert states(ladder.verified(NAME, [partial])) == ["reached", "reached", "open"]


def test_an_older_record_on_the_current_code_counts_before_a_newer_one_on_other_code():
    newer = record(made="2026-02-02T10:00:00Z", runs="0" * 16)
    rungs = ladder.verified(NAME, [newer, record()])
    assert rungs[0].state == "reached" and rungs[0].date == "2026-01-02"


def test_measured_counts_only_real_data_and_current_code():
    run = {"method": NAME, "started": "2026-03-01T00:00:00Z", "code_hash": registry.rung_hash(NAME, "measured")}
    real, synthetic = {"name": "eurosat", "synthetic": False}, {"name": "synthetic", "synthetic": True}
    assert ladder.measured(NAME, [{**run, "data": real}]).state == "reached"
    assert ladder.measured(NAME, [{**run, "data": synthetic}]).state == "open"
    assert ladder.measured(NAME, [{**run, "data": real, "code_hash": "0" * 16}]).state == "expired"
    assert ladder.measured(NAME, []).state == "open"


def test_sourced():
    assert ladder.sourced([], "2026-01-01").state == "reached"
    open_ = ladder.sourced(["year", "facts.samples"], "2026-01-01")
    assert open_.state == "open" and "facts.samples" in open_.detail
