"""Run and verification records are held to their schemas and to their own numbers."""

from __future__ import annotations

import copy
import json

import pytest

RUN = {
    "record": "run",
    "schema": 1,
    "id": "a1",
    "method": "known_method",
    "data": {"name": "synthetic", "digest": "0123456789abcdef", "synthetic": True, "samples": 100},
    "protocol": "scene",
    "config": {"anything": {"goes": [1, None, "x"]}},
    "seed": 0,
    "commit": "0123abc",
    "code_hash": "0123456789abcdef",
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 1.5,
    "device": "2 CPU cores",
    "versions": {"torch": "2.6"},
    "curve": [[0, 2.5], [1, 2.25]],
    "scores": [{"metric": "k-NN", "value": 70.0, "unit": "%", "lower": 69.0, "upper": 71.0, "features": "trained"}],
}
VERIFICATION = {
    "record": "verification",
    "schema": 1,
    "method": "known_method",
    "device": "2 CPU cores",
    "made": "2026-01-02T03:04:05Z",
    "versions": {},
    "rungs": {
        "runs": {"passed": True, "code_hash": "0123456789abcdef", "seconds": 3, "command": "python -m refimpl ..."},
        "matches": {
            "passed": True,
            "code_hash": "0123456789abcdef",
            "checks": [{"name": "loss", "error": 1e-9, "tolerance": 1e-6}],
        },
        "learns": {
            "passed": True,
            "code_hash": "0123456789abcdef",
            "metric": "k-NN",
            "unit": "%",
            "data": "synthetic",
            "trained": [80.0, 81.0],
            "random": [70.0, 71.0],
            "others": {"band statistics": [60.0]},
            "margin": 10.0,
            "required": 3.0,
        },
    },
}
RUN_FILE, VERIFICATION_FILE = "known_method-synthetic-a1.json", "known_method.verify.cpu.json"


def changed(record: dict, path: str, value: object) -> dict:
    """A copy with one value replaced (or the key removed, when value is ...)."""
    record = copy.deepcopy(record)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    here = record
    for step in way:
        here = here[step]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return record


def test_right_records_have_no_errors(small_catalog, problems):
    (small_catalog / "results" / RUN_FILE).write_text(json.dumps(RUN), encoding="utf-8")
    (small_catalog / "results" / VERIFICATION_FILE).write_text(json.dumps(VERIFICATION, indent=1), encoding="utf-8")
    assert problems(small_catalog) == []


FAULTS = [
    (RUN, "seed", ..., "the file lacks 'seed'"),
    (RUN, "sead", 1, "unknown key 'sead'"),
    (RUN, "schema", 2, "schema is '2'"),
    (RUN, "record", "rum", "record is 'rum'"),
    (RUN, "method", "known_metod", "there is no implementation 'known_metod'"),
    (RUN, "id", "b2", "the file is 'known_method-synthetic-a1.json'"),
    (RUN, "data.digest", "xyz", "data.digest is 'xyz'"),
    (RUN, "data.synthetic", "yes", "data.synthetic is 'yes'"),
    (RUN, "curve.1", [1], "curve[1] has 1 items"),
    (RUN, "curve.1.1", None, "curve[1][1] is empty"),
    (RUN, "scores.0.lower", 70.5, "lower, value, upper are not in ascending order"),
    (RUN, "started", "yesterday", "started is 'yesterday'"),
    (VERIFICATION, "method", "Known", "there is no implementation 'Known'"),
    (VERIFICATION, "rungs.walks", {}, "unknown key 'walks'"),
    (VERIFICATION, "rungs.matches.checks.0.error", 1e-3, "matches is said to have passed but its numbers say no"),
    (VERIFICATION, "rungs.learns.margin", 2.0, "learns is said to have passed but its numbers say no"),
    (VERIFICATION, "rungs.learns.trained", [], "rungs.learns.trained is empty"),
]


@pytest.mark.parametrize("record, path, value, wrong", FAULTS, ids=[f"{f[0]['record']} {f[1]}" for f in FAULTS])
def test_a_fault_is_named_at_its_line(small_catalog, problems, record, path, value, wrong):
    file = small_catalog / "results" / (RUN_FILE if record is RUN else VERIFICATION_FILE)
    text = json.dumps(changed(record, path, value), indent=1)
    file.write_text(text, encoding="utf-8")
    found = [p for p in problems(small_catalog) if not (path == "method" and "the file is" in p.wrong)]
    assert [(p.path, p.wrong) for p in found] == [(file, wrong)]
    last = path.split(".")[-1]
    if value is not ... and not last.isdigit() and "ascending" not in wrong and "numbers say" not in wrong:
        assert f'"{last}"' in text.splitlines()[found[0].line - 1]


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"a": 1, "a": 2}', "key 'a' appears twice"),
        ('{"a": NaN}', "NaN is not a number JSON knows"),
        ('{"a": 1e999}', "1e999 is not a number JSON knows"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ("[" * 100000, "is nested too deeply"),
        ("{}", "record is 'None'"),
    ],
)
def test_what_is_not_a_record_is_one_error(small_catalog, problems, text, wrong):
    (small_catalog / "results/x.json").write_text(text, encoding="utf-8")
    found = problems(small_catalog)
    assert len(found) == 1
    assert wrong in found[0].wrong
