"""An exported encoder gives the run's features, says how to use it, and is there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys

import pytest
import timm
import torch
from safetensors import safe_open

from refimpl.cli import main
from refimpl.data.dataset import Input
from refimpl.engine.errors import OutputError
from refimpl.studies import export as module
from refimpl.studies.card import model_card
from refimpl.studies.embed import embed
from refimpl.studies.export import ExportError, example_images, export
from refimpl.studies.facts import encoder_facts, read_record
from refimpl.studies.saved import load_method
from refimpl.studies.whole import whole_folder


def needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name) if not os.environ.get("CI") else __import__(name)


def run_card(folder, monkeypatch) -> dict:
    """Executes the Python of a folder's README as a person would, in the folder; returns its variables."""
    monkeypatch.chdir(folder)
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    scope: dict = {}
    exec(compile(block, "README.md", "exec"), scope)
    return scope


def nothing_left(folder) -> bool:
    return not [path.name for path in folder.parent.iterdir() if folder.name in path.name]


@pytest.mark.parametrize(
    ("method", "backbone", "field"),
    [
        ("simclr", "resnet10t", Input(("VV",), 32, (-1200.0,), (300.0,))),
        # The architecture differs from its timm name in depth, width, patch, image size, bands and pooling.
        ("mae", "vit_micro", Input(tuple(f"b{n}" for n in range(13)), 32, (1000.0,) * 13, (500.0,) * 13)),
    ],
)
def test_timm_builds_the_same_network(make_run, tmp_path, method, backbone, field):
    run = make_run(method, backbone, field)
    folder = export(run, "timm", tmp_path / "out", quiet=True)
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    trained = load_method(run)
    (stored, *_) = example_images(trained.encoder)
    about = net.pretrained_cfg
    mean, std = (torch.tensor(about[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        torch.testing.assert_close(net((stored - mean) / std), embed(trained, stored), atol=1e-6, rtol=1e-5)
    assert about["input_size"] == (len(field.bands), 32, 32)


def test_timm_folder_tells_bands_runs_as_printed_and_borrows_nothing(rgb_run, tmp_path, monkeypatch):
    folder = export(rgb_run, "timm", tmp_path / "out", quiet=True)
    config = json.loads((folder / "config.json").read_text())
    assert config["refimpl"]["bands"] == ["B04", "B03", "B02"]
    assert config["pretrained_cfg"]["mean"] == [90.0, 97.5, 104.0]
    # Licence, tag and address in timm's description belong to its own weights.
    assert not {"license", "tag", "url", "hf_hub_id"} & set(config["pretrained_cfg"])
    assert str(tmp_path) not in json.dumps(config)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    scope = run_card(folder, monkeypatch)
    torch.testing.assert_close(scope["features"], embed(rgb_run, scope["stored"]))


def test_torch_program_normalises_inside(rgb_run, tmp_path, monkeypatch):
    folder = export(rgb_run, "torch", tmp_path / "out", quiet=True)
    scope = run_card(folder, monkeypatch)
    stored = torch.randint(0, 256, (7, 3, 32, 32))
    torch.testing.assert_close(scope["encoder"](stored.float()), embed(rgb_run, stored))
    assert json.loads((folder / "config.json").read_text())["mean"] == [90.0, 97.5, 104.0]


def test_onnx_graph_normalises_inside(pixel_run, tmp_path, monkeypatch):
    needs("onnx", "onnxscript", "onnxruntime")
    folder = export(pixel_run, "onnx", tmp_path / "out", quiet=True)
    scope = run_card(folder, monkeypatch)
    stored = torch.randint(0, 3000, (9, 6))
    (features,) = scope["encoder"].run(None, {"stored": stored.float().numpy()})
    torch.testing.assert_close(torch.from_numpy(features), embed(pixel_run, stored), atol=1e-5, rtol=1e-5)
    about = json.loads(scope["encoder"].get_modelmeta().custom_metadata_map["refimpl"])
    assert about["bands"] == [f"band{n}" for n in range(6)]


def card_of(run) -> str:
    record = read_record(run)
    return model_card(encoder_facts(load_method(run), record), record, "timm", "Checked.", own_features=False)


def test_card_shows_scores_beside_baselines(make_run):
    card = card_of(make_run("simclr", "resnet10t", Input(("B04", "B03", "B02"), 32), synthetic=True))
    assert "| metric | trained | random initialisation | band statistics |" in card
    assert "| k-NN accuracy | 71.2 % (69.7 to 72.7) | 60.4 % (58.9 to 61.9) | 55.0 % (53.5 to 56.5) |" in card
    assert "Trained on synthetic images" in card
    assert "- synthetic-data" in card
    assert "license" not in card


def test_card_says_when_nothing_was_judged(make_run):
    card = card_of(make_run("simclr", "resnet10t", Input(("B04", "B03", "B02"), 32), judged=False))
    assert "It was not judged" in card
    assert "synthetic" not in card


def test_features_that_differ_are_refused(rgb_run, tmp_path, monkeypatch):
    def wrong(folder, model, facts):
        (folder / "model.bin").write_bytes(b"half")
        return lambda stored: model(stored) * 1.001

    monkeypatch.setitem(module.FORMATS, "timm", wrong)
    with pytest.raises(ExportError, match="more than rounding"):
        export(rgb_run, "timm", tmp_path / "out", quiet=True)
    assert nothing_left(tmp_path / "out")


def test_a_killed_export_is_cleared_away(rgb_run, tmp_path):
    torn = tmp_path / ".out.4194999.part"  # beyond the largest process number of Linux
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    export(rgb_run, "timm", tmp_path / "out", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_stopped_export_leaves_nothing(tmp_path):
    with pytest.raises(SystemExit), whole_folder(tmp_path / "out") as folder:
        (folder / "model.safetensors").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGTERM)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_and_leaves_nothing(rgb_run, tmp_path, monkeypatch):
    def full(folder, model, facts):
        (folder / "model.bin").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(module.FORMATS, "timm", full)
    with pytest.raises(OutputError, match="out: the disk is full; choose another --out"):
        export(rgb_run, "timm", tmp_path / "out", quiet=True)
    assert nothing_left(tmp_path / "out")


def test_missing_libraries_are_named(pixel_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"needs onnx; install it with: pip install 'ssl-for-earth\[export\]'"):
        export(pixel_run, "onnx", tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_what_exists_is_not_overwritten(rgb_run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(OutputError, match="exists already; choose another --out"):
        export(rgb_run, "timm", tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "to", "said"),
    [
        (None, "timm", "spectral_funnel is not a network of timm; export it with --to onnx or --to torch"),
        ("weights.safetensors", "torch", "no trained weights there"),
        ("record.json", "torch", "no record there; finish the run"),
    ],
)
def test_each_mistake_is_one_line(make_run, tmp_path, capsys, spoil, to, said):
    run = make_run("egu_net", "spectral_funnel", Input(("a", "b"), 1))
    if spoil:
        (run / spoil).unlink()
    assert main(["export", str(run), "--to", to, "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert nothing_left(tmp_path / "out")


def test_command_line_exports_into_the_run(make_run, capsys):
    run = make_run("simclr", "resnet10t", Input(("B04", "B03", "B02"), 32))
    assert main(["export", str(run), "--to", "timm"]) == 0
    assert "its features are the run's" in capsys.readouterr().err.replace("\n", " ")
    assert (run / "timm" / "model.safetensors").exists()
