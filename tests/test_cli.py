"""The command line as a person uses it: what it prints, where it leaves things, and one clear line for each mistake."""

import json
import shutil

import numpy as np
import pytest
import torch

import refimpl
from refimpl import registry
from refimpl.cli import main
from refimpl.data import synthetic
from refimpl.data.bands import same_bands
from refimpl.studies import build


def fails(capsys, *arguments) -> str:
    """The single line with which a failing command ends (a run says what it is about to do before)."""
    assert main(list(arguments)) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 or arguments[0] == "run", lines
    assert not any("Traceback" in line for line in lines)
    assert lines[-1].startswith(f"refimpl {arguments[0]}: ")
    return lines[-1]


def misused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["run", "simclr", "--smoke", "--quiet", "--out", str(folder)]) == 0
    return folder


def test_list_names_every_method(capsys):
    assert main(["list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(registry.methods())


def test_show_tells_idea_and_settings(capsys):
    assert main(["show", "simclr"]) == 0
    shown = capsys.readouterr().out
    assert "2002.05709" in shown
    assert "temperature = 0.5" in shown
    assert "lr = 0.001" in shown


def test_known_data_are_listed(capsys):
    assert main(["data"]) == 0
    assert "eurosat" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "unknown command 'rum'; did you mean run?"),
        (["run", "simclr", "--epoks", "3"], "unknown option '--epoks'; did you mean --epochs?"),
    ],
)
def test_mistyped_words_are_answered(capsys, arguments, said):
    assert said in misused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "simclrr"], "unknown method 'simclrr'; did you mean simclr"),
        (["run", "simclr", "--data", "synthetik"], "did you mean synthetic"),
        (["run", "simclr", "--smoke", "--set", "temprature=1"], "no setting 'temprature'; did you mean temperature?"),
        (["run", "simclr", "--smoke", "--set", "dim=many"], "dim=many is not a int; the default is dim=128"),
        (["run", "simclr", "--smoke", "--set", "dim"], "write it as key=value"),
        (["run", "simclr", "--smoke", "--backbone", "resnet81"], "unknown backbone 'resnet81'; did you mean"),
        (["run", "mae", "--smoke", "--backbone", "resnet18"], "it needs a plain ViT"),
        (["run", "simclr", "--smoke", "--device", "tpu9"], "device"),
        (["run", "simclr", "--smoke", "--batch", "0"], "must be at least 1"),
        (["run", "simclr", "--smoke", "--batch", "5000"], "training samples are fewer than one batch"),
        (["run", "simclr", "--smoke", "--set", "accumulate=2"], "accumulating"),
        (["evaluate", "nowhere"], "nowhere"),
        (["publish", "nowhere"], "no record there"),
    ],
)
def test_each_mistake_is_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in fails(capsys, *arguments)


def test_data_without_what_a_method_needs(capsys, tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, x=np.zeros((60, 3, 32, 32), np.uint8), y=np.arange(60) % 3)
    line = fails(capsys, "run", "tile2vec", "--data", str(path), "--out", str(tmp_path / "run"))
    assert "needs location" in line
    assert "synthetic" in line
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(capsys, run):
    assert "continue it with --resume" in fails(capsys, "run", "simclr", "--smoke", "--out", str(run))
    line = fails(capsys, "run", "simclr", "--smoke", "--resume", "--out", str(run), "--seed", "7")
    assert "another seed" in line or "another" in line


def test_resuming_a_finished_run_keeps_its_record(run):
    before = json.loads((run / "record.json").read_text())
    assert main(["run", "simclr", "--smoke", "--quiet", "--resume", "--out", str(run)]) == 0
    after = json.loads((run / "record.json").read_text())
    for key in ("curve", "scores", "config", "commit", "code_hash"):
        assert after[key] == before[key], key
    # The time that the first process trained is counted, not only the moment that resuming took.
    trained = json.loads(max((run / "checkpoints").glob("*.json")).read_text())["seconds"]
    assert trained > 0
    assert after["seconds"] >= trained - 0.05  # the record rounds to tenths
    assert 0 < after["images_per_second"] <= build.SMOKE_STEPS * after["config"]["recipe"]["batch"] / trained + 0.05


def test_evaluate_judges_again_and_elsewhere(run):
    before = json.loads((run / "record.json").read_text())["scores"]
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert json.loads((run / "record.json").read_text())["scores"] == before


def test_colours_have_two_names():
    assert same_bands(("red", "green", "blue"), ("B04", "B03", "B02"))
    assert same_bands(("B4", "B3"), ("B04", "B03"))
    assert not same_bands(("red", "green", "blue"), ("B02", "B03", "B04"))
    assert not same_bands(("red", "green"), ("red", "green", "blue"))


def test_evaluate_refuses_other_bands(capsys, run):
    assert "other bands" in fails(capsys, "evaluate", str(run), "--data", "synthetic-s2", "--device", "cpu")


def test_record_keeps_no_path(run):
    text = (run / "record.json").read_text()
    assert str(run.parent) not in text


def copy_of_catalog(folder):
    """The catalog without its records, in a folder of its own."""
    return shutil.copytree(
        registry.ROOT.parent / "catalog", folder / "catalog", ignore=shutil.ignore_patterns("results")
    )


def test_published_record_passes_validation(run, tmp_path):
    from refimpl.studies.run import publish
    from scripts.validate import main as validate

    catalog = copy_of_catalog(tmp_path)
    placed = publish(run, catalog / "results")
    assert placed.name.startswith("simclr-synthetic")
    assert validate(["--catalog", str(catalog), str(placed)]) == 0


def test_embed_gives_features_of_a_run(run):
    images = synthetic.make("rgb", samples=60, size=32).fields["image"][:5]
    features = refimpl.embed(run, images)
    assert features.shape == (5, refimpl.load("simclr", backbone="resnet10t", size=32).encoder.width)
    assert torch.equal(features, refimpl.embed(run, torch.from_numpy(images)))
    with pytest.raises(ValueError, match="3 bands"):
        refimpl.embed(run, np.zeros((2, 4, 32, 32)))


def test_training_without_labels_is_not_an_error(capsys, tmp_path):
    path = tmp_path / "unlabelled.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 255, (60, 3, 32, 32), dtype=np.uint8))
    folder = tmp_path / "run"
    assert main(["run", "simclr", "--smoke", "--data", str(path), "--out", str(folder), "--quiet"]) == 0
    assert "not judged" in capsys.readouterr().err
    assert (folder / "weights.safetensors").exists()
    assert "needs scores" in fails(capsys, "publish", str(folder))


def test_verify_writes_a_record_that_validates(tmp_path):
    from scripts.validate import main as validate

    catalog = copy_of_catalog(tmp_path)
    assert main(["verify", "simclr", "--rungs", "matches", "--out", str(catalog / "results")]) == 0
    placed = catalog / "results" / "simclr.verify.cpu.json"
    record = json.loads(placed.read_text())
    assert record["rungs"]["matches"]["passed"] is True
    assert record["rungs"]["matches"]["code_hash"] == registry.rung_hash("simclr", "matches")
    assert validate(["--catalog", str(catalog), str(placed)]) == 0


def test_verify_says_no(tmp_path, monkeypatch):
    from refimpl.methods.joint_embedding import simclr

    monkeypatch.setattr(simclr, "nt_xent", lambda z1, z2, t=0.5: (z1 * z2).sum())
    assert main(["verify", "simclr", "--rungs", "matches", "--out", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "simclr.verify.cpu.json").read_text())["rungs"]["matches"]["passed"] is False
