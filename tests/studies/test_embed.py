"""Images become a table of features that says where they come from."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import refimpl
from refimpl.cli import main
from refimpl.data.dataset import DataError, Input
from refimpl.engine.errors import OutputError
from refimpl.studies import embed_files
from refimpl.studies.embed import embed
from refimpl.studies.embed_files import embed_to_file, match_bands, odd_units, one_ahead
from refimpl.studies.saved import load_method

pyarrow = __import__("pyarrow") if os.environ.get("CI") else pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

COUNTS = {"lake": 5, "wood": 8}


def picture(number: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(number).integers(60, 130, (size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """13 pictures in two class folders."""
    root = tmp_path_factory.mktemp("images") / "set"
    number = 0
    for name, count in COUNTS.items():
        (root / name).mkdir(parents=True)
        for n in range(count):
            Image.fromarray(picture(number)).save(root / name / f"{n}.png")
            number += 1
    return root


@pytest.fixture(scope="module")
def stored() -> np.ndarray:
    """The same pictures, (13, 3, 32, 32)."""
    return np.stack([picture(n).transpose(2, 0, 1) for n in range(sum(COUNTS.values()))])


def features_of(path) -> np.ndarray:
    table = parquet.read_table(path)
    return table["embedding"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)


def test_one_row_per_image(rgb_run, folder, stored, tmp_path):
    out = embed_to_file(rgb_run, folder, tmp_path / "deep" / "out.parquet", device="cpu", quiet=True)
    table = parquet.read_table(out)
    assert table["path"].to_pylist() == [f"{name}/{n}.png" for name, count in COUNTS.items() for n in range(count)]
    assert table["label"].to_pylist() == [0] * 5 + [1] * 8
    assert table["class"].to_pylist() == ["lake"] * 5 + ["wood"] * 8
    width = load_method(rgb_run).encoder.width
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), width)
    assert np.array_equal(features_of(out), refimpl.embed(rgb_run, stored).numpy())


def test_metadata_travel_with_the_features(rgb_run, folder, tmp_path):
    out = embed_to_file(rgb_run, folder, tmp_path / "out.parquet", device="cpu", quiet=True)
    about = json.loads(parquet.read_schema(out).metadata[b"refimpl"])
    assert (about["method"], about["backbone"], about["bands"]) == ("simclr", "vit_micro", ["B04", "B03", "B02"])
    assert about["mean"] == [90.0, 97.5, 104.0]
    assert about["input"] == {"name": "set", "bands": ["red", "green", "blue"]}
    assert about["trained_on"]["synthetic"] is False
    assert str(folder.parent) not in json.dumps(about)


def test_batches_and_groups_change_nothing(rgb_run, folder, tmp_path, monkeypatch):
    whole = embed_to_file(rgb_run, folder, tmp_path / "whole.parquet", device="cpu", quiet=True)
    monkeypatch.setattr(embed_files, "GROUP", 4)
    cut = embed_to_file(rgb_run, folder, tmp_path / "cut.parquet", batch=3, device="cpu", quiet=True)
    np.testing.assert_allclose(features_of(cut), features_of(whole), rtol=1e-5, atol=1e-5)
    assert parquet.read_table(cut)["path"].equals(parquet.read_table(whole)["path"])


def test_zip_and_npz_give_the_same(rgb_run, folder, stored, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    np.savez(tmp_path / "set.npz", x=stored, y=np.array([0] * 5 + [1] * 8))
    expected = features_of(embed_to_file(rgb_run, folder, tmp_path / "a.parquet", device="cpu", quiet=True))
    for name in ("set.zip", "set.npz"):
        out = embed_to_file(rgb_run, tmp_path / name, tmp_path / f"{name}.parquet", device="cpu", quiet=True)
        assert np.array_equal(features_of(out), expected), name
        assert parquet.read_table(out)["label"].to_pylist() == [0] * 5 + [1] * 8
    assert parquet.read_table(out)["path"][12].as_py() == "set.npz#12"


def test_pixels_become_rows(pixel_run, tmp_path):
    spectra = np.random.default_rng(0).integers(200, 1500, (20, 6)).astype(np.uint16)
    np.savez(tmp_path / "pixels.npz", spectrum=spectra, bands=np.array([f"band{n}" for n in range(6)]))
    out = embed_to_file(pixel_run, tmp_path / "pixels.npz", tmp_path / "out.parquet", device="cpu", quiet=True)
    assert np.array_equal(features_of(out), embed(pixel_run, spectra).numpy())


def test_other_sizes_only_when_asked_for(rgb_run, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    Image.fromarray(picture(0, 48)).save(tmp_path / "set" / "0.png")
    command = ["embed", str(rgb_run), str(tmp_path / "set"), "--device", "cpu", "--out", str(tmp_path / "out.parquet")]
    assert main(command) == 1
    assert "48 pixels, but the run reads 32; --size 32 crops and resizes" in capsys.readouterr().err
    assert main([*command, "--size", "40"]) == 1
    assert "the run reads 32 pixels" in capsys.readouterr().err
    assert main([*command, "--size", "32", "--quiet"]) == 0
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 1


def test_bands_are_found_by_name():
    rgb = ("B04", "B03", "B02")
    many = ("B01", "B02", "B03", "B04", "B08")
    assert match_bands(("red", "green", "blue"), rgb, None, "f") == (0, 1, 2)
    assert match_bands(many, rgb, None, "f") == (3, 2, 1)
    assert match_bands(("blue", "green", "red", "alpha"), rgb, None, "f") == (2, 1, 0)
    assert match_bands(("1", "2", "3", "4"), rgb, "3,2,1", "f") == (2, 1, 0)
    assert match_bands(("x", "y"), ("1", "2"), None, "f") == (0, 1)


@pytest.mark.parametrize(
    ("names", "wanted", "asked", "said"),
    [
        (("1", "2", "3"), ("B04", "B03", "B02"), None, "such as --bands 1,2,3"),
        (("B02", "B03"), ("B04", "B03", "B02"), None, "its bands are B02, B03, the run reads B04, B03, B02"),
        (("a", "b", "c"), ("1", "2"), None, "say which these are"),
        (("1", "2", "3"), ("B04", "B03", "B02"), "1,2", "--bands names 2, but the run reads 3"),
    ],
)
def test_bands_are_never_guessed(names, wanted, asked, said):
    with pytest.raises(DataError, match=said):
        match_bands(names, wanted, asked, "file")


def test_other_units_are_noticed():
    encoder = refimpl.load("simclr", backbone="resnet10t", size=32).encoder
    encoder.input = Input(("B04", "B03", "B02"), 32, (90.0,) * 3, (40.0,) * 3)
    usual = np.full((2, 3, 4, 4), 120, np.uint16)
    assert odd_units(encoder, usual) == ""
    usual[:, 1] = 1900
    assert "band B03 averages 1900 here and 90 in training" in odd_units(encoder, usual)


def test_the_one_extractor_serves_all(rgb_run, stored):
    method = load_method(rgb_run)
    plain = method.encoder(method.encoder.normalise(torch.from_numpy(stored))).detach()
    for source in (rgb_run, method, method.encoder):
        torch.testing.assert_close(embed(source, stored), plain)
    method.train()
    embed(method, stored)
    assert method.encoder.training  # as it was before
    with pytest.raises(ValueError, match="3 bands"):
        embed(method, stored[:, :2])
    with pytest.raises(ValueError, match="no samples"):
        embed(method, stored[:0])


def test_one_ahead_keeps_order_and_errors():
    def items():
        yield from range(5)
        raise DataError("damaged")

    seen = []
    with pytest.raises(DataError, match="damaged"):
        for item in one_ahead(items()):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_a_damaged_image_leaves_no_table(rgb_run, tmp_path):
    (tmp_path / "set").mkdir()
    for n in range(6):
        Image.fromarray(picture(n)).save(tmp_path / "set" / f"{n}.png")
    content = (tmp_path / "set" / "4.png").read_bytes()
    (tmp_path / "set" / "4.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"4\.png"):
        embed_to_file(rgb_run, tmp_path / "set", tmp_path / "out.parquet", device="cpu", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_mistakes_are_told_before_any_work(rgb_run, folder, tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"ends in \.parquet"):
        embed_to_file(rgb_run, folder, tmp_path / "out.csv")
    with pytest.raises(OutputError, match="--stride is for a scene"):
        embed_to_file(rgb_run, folder, tmp_path / "out.parquet", stride=8)
    (tmp_path / "out.parquet").touch()
    with pytest.raises(OutputError, match="exists already"):
        embed_to_file(rgb_run, folder, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="no such file"):
        embed_to_file(rgb_run, tmp_path / "nowhere.zip", tmp_path / "new.parquet", device="cpu")
    with pytest.raises(DataError, match="--batch 0"):
        embed_to_file(rgb_run, folder, tmp_path / "new.parquet", device="cpu", batch=0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"needs pyarrow; install it with: pip install 'ssl-for-earth\[table\]'"):
        embed_to_file(rgb_run, folder, tmp_path / "new.parquet", device="cpu")
