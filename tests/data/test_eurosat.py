"""EuroSAT: the official archives' facts, the same loader on a local copy, the 13-band version, the real part."""

from __future__ import annotations

import io
import re
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from refimpl.data import eurosat
from refimpl.data.dataset import DataError
from refimpl.data.eurosat import ARCHIVES, CLASSES, open_eurosat
from refimpl.data.sources import open_path


def test_every_archive_has_a_checksum_and_a_size():
    for remote in ARCHIVES.values():
        assert re.fullmatch(r"md5:[0-9a-f]{32}", remote.checksum)
        assert remote.url.endswith(f"/7711810/files/{remote.name}")
        assert remote.size > 90_000_000


def test_a_local_copy_is_read_without_a_download(tmp_path, make, monkeypatch):
    monkeypatch.setattr(eurosat, "download", None)
    folder = make.class_folders(tmp_path / "EuroSAT_RGB", dict.fromkeys(CLASSES, 2), size=64)
    data = open_eurosat(local=make.zip_of(folder, tmp_path / "copy.zip", top="EuroSAT_RGB"))
    assert data.name == "eurosat"
    assert data.classes == CLASSES
    assert data.inputs["image"].bands == ("B04", "B03", "B02")
    assert data.inputs["image"].sensor == "Sentinel-2"
    assert "7711810" in data.source


def test_the_download_is_what_is_opened(tmp_path, make, monkeypatch, cache):
    folder = make.class_folders(tmp_path / "EuroSAT_RGB", dict.fromkeys(CLASSES, 1), size=64)
    asked = []

    def fake(remote, where):
        asked.append((remote.name, where))
        return make.zip_of(folder, tmp_path / remote.name, top="EuroSAT_RGB")

    monkeypatch.setattr(eurosat, "download", fake)
    assert len(open_eurosat()) == 10
    assert asked == [("EuroSAT_RGB.zip", cache / "downloads")]


def test_thirteen_bands_have_their_names_and_places(tmp_path, make):
    values = np.arange(13, dtype=np.uint16)[:, None, None] * np.ones((13, 64, 64), np.uint16)
    for n, name in enumerate(CLASSES[:2]):
        make.geotiff(tmp_path / "EuroSAT_MS" / name / f"{name}_1.tif", values, (500_000.0 + 640 * n, 5_200_000.0))
    archive = make.zip_of(tmp_path / "EuroSAT_MS", tmp_path / "ms.zip", top="EuroSAT_MS")
    data = open_eurosat("ms", local=archive)
    assert data.inputs["image"].bands[-2:] == ("B12", "B8A")
    assert data.fields["location"].tolist() == [[500_320, 5_199_680], [500_960, 5_199_680]]
    rgb = open_eurosat("ms", local=archive, bands="B04,B03,B02")
    assert rgb.fields["image"][0, :, 0, 0].tolist() == [3, 2, 1]
    assert open_eurosat("ms", local=archive, bands="b8a").fields["image"][0, 0, 0, 0] == 12


def test_another_set_is_not_taken_for_eurosat(tmp_path, make, message):
    folder = make.class_folders(tmp_path / "pets", {"cat": 2, "dog": 2})
    with pytest.raises(DataError) as error:
        open_eurosat(local=folder)
    assert message(error) == "pets: holds class 'cat', which EuroSAT does not; pass the EuroSAT archive or its folder"


@pytest.mark.real
def test_the_real_part_is_decoded_once(real):
    start = time.perf_counter()
    data = open_path(real / "eurosat_rgb_16000.zip")
    first, start = time.perf_counter() - start, time.perf_counter()
    again = open_path(real / "eurosat_rgb_16000.zip")
    second = time.perf_counter() - start
    assert data.fields["image"].shape == (16_000, 3, 64, 64)
    assert data.classes == CLASSES
    assert {name: len(index) for name, index in data.splits.items()} == {"train": 10_000, "val": 2000, "test": 4000}
    assert np.bincount(data.fields["label"]).tolist() == [1600] * 10
    assert np.array_equal(data.fields["image"][:50], again.fields["image"][:50])
    assert second < 0.5 * first  # decoded once: the second opening only maps the file


@pytest.mark.real
def test_the_real_numbers_are_those_of_the_jpegs(real):
    data = open_path(real / "eurosat_rgb_16000.zip", samples=40)
    with zipfile.ZipFile(real / "eurosat_rgb_16000.zip") as archive:
        names = [name for name in archive.namelist() if "/AnnualCrop/" in name]
        decoded = (np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names)
        images = {pixels.transpose(2, 0, 1).tobytes() for pixels in decoded}
    annual = data.fields["image"][data.fields["label"] == 0]
    assert len(annual) == 4
    assert all(image.tobytes() in images for image in annual)
