"""A scene becomes a map of features: right places, right numbers however it is cut, and bounded memory."""

from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from refimpl.backbones import Encoder
from refimpl.data.dataset import DataError, Input
from refimpl.engine.errors import OutputError
from refimpl.engine.method import Method
from refimpl.studies import embed_scene as module
from refimpl.studies.embed import embed
from refimpl.studies.embed_files import Embedder, embed_to_file
from refimpl.studies.embed_scene import Grid, Moments, embed_scene
from refimpl.studies.saved import load_method

rasterio = __import__("rasterio") if os.environ.get("CI") else pytest.importorskip("rasterio")
from rasterio.transform import Affine, from_origin  # noqa: E402
from rasterio.windows import Window  # noqa: E402

PLACE = from_origin(500_000, 5_200_000, 10, 10)


def write(path, values, **options):
    """A GeoTIFF of (C, H, W) with pixels of 10 m; 3 bands are red, green, blue."""
    count, height, width = values.shape
    colours = {"photometric": "RGB"} if count in (3, 4) else {}
    about = {"count": count, "height": height, "width": width, "dtype": values.dtype, "crs": "EPSG:32632"}
    with rasterio.open(path, "w", driver="GTiff", transform=PLACE, **about, **{**colours, **options}) as file:
        file.write(values)
    return path


def values_of(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


class Corners(Encoder):
    """Exact features that tell where a window lay: its first, its last and its largest normalised number."""

    def __init__(self, field: Input):
        super().__init__("corners", field)
        self.width = 3
        self.weight = nn.Parameter(torch.ones(1))
        self.most = 0

    def forward(self, x):
        self.most = max(self.most, len(x))
        return torch.stack([x[:, 0, 0, 0], x[:, -1, -1, -1], x.amax((1, 2, 3))], 1)


def corners(size: int = 32, mean: float = 0.0, batch: int = 64, bands: int = 3) -> Embedder:
    names = ("red", "green", "blue", "nir")[:bands]
    method = Method.__new__(Method)
    nn.Module.__init__(method)
    method.encoder = Corners(Input(names, size, (mean,) * bands, (1000.0,) * bands))
    return Embedder(method, {"features": 3}, batch)


def ramp(height: int, width: int, bands: int = 3) -> np.ndarray:
    """(bands, height, width) uint16, every pixel of a band another number while they last."""
    return (np.arange(bands * height * width, dtype=np.int64) % 65521).astype(np.uint16).reshape(bands, height, width)


@pytest.fixture
def scene(tmp_path):
    """A smooth scene of 3 x 150 x 220 uint8."""
    y, x = np.mgrid[:150, :220]
    values = np.stack([100 + 40 * np.sin(x / 17 + n) + 30 * np.cos(y / 11) for n in range(3)]).astype(np.uint8)
    return write(tmp_path / "scene.tif", values)


@pytest.mark.parametrize("form", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}])
def test_a_window_alone_gives_what_it_gives_in_the_scene(rgb_run, scene, tmp_path, monkeypatch, form):
    stored = values_of(scene)
    source = write(tmp_path / "other.tif", stored, **form)
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 3 * 70 * 70)  # so that the scene falls into many pieces
    out = embed_to_file(rgb_run, source, tmp_path / "out.tif", stride=24, batch=5, device="cpu", quiet=True)
    features = values_of(out)
    assert features.shape[1:] == (6, 9)  # (150 - 32) / 24 and (220 - 32) / 24, rounded up, and one
    alone = [embed(rgb_run, stored[None, :, 24 * r : 24 * r + 32, 24 * c : 24 * c + 32]) for r, c in ((0, 0), (3, 6))]
    np.testing.assert_allclose(features[:, 0, 0], alone[0][0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[:, 3, 6], alone[1][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("piece_bytes", [1, 5 * 3 * 50 * 50, 5 * 3 * 90 * 40, 1 << 30])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_cutting_and_batches_change_no_bit(tmp_path, monkeypatch, piece_bytes, batch):
    values = ramp(130, 171)
    source = write(tmp_path / "scene.tif", values)
    monkeypatch.setattr(module, "PIECE_BYTES", piece_bytes)
    out = embed_scene(corners(batch=batch), source, tmp_path / "out.tif", stride=20, quiet=True)
    got = values_of(out)
    rows, columns = got.shape[1:]
    assert (rows, columns) == (6, 8)
    inside = values[0, : 20 * rows : 20, : 20 * columns : 20]
    assert np.array_equal(got[0], inside.astype(np.float32) / np.float32(1000))


def test_map_lies_where_the_scene_lies(tmp_path):
    source = write(tmp_path / "scene.tif", ramp(128, 96))
    for stride, origin in ((32, 0.0), (8, 120.0)):  # the margin of (32 - 8) / 2 pixels of 10 m
        out = embed_scene(corners(), source, tmp_path / f"{stride}.tif", stride=stride, quiet=True)
        with rasterio.open(out) as made:
            assert made.crs.to_epsg() == 32632
            assert made.transform == Affine(10 * stride, 0, 500_000 + origin, 0, -10 * stride, 5_200_000 - origin)
            x, y = made.xy(1, 2)  # centre of a cell
            # The centre of its window, 16 pixels from its corner.
            assert (x, y) == pytest.approx((500_000 + 10 * (2 * stride + 16), 5_200_000 - 10 * (stride + 16)))


def test_overlap_is_another_word_for_stride(tmp_path):
    source = write(tmp_path / "scene.tif", ramp(128, 96))
    one = embed_scene(corners(), source, tmp_path / "a.tif", overlap=12, quiet=True)
    other = embed_scene(corners(), source, tmp_path / "b.tif", stride=20, quiet=True)
    assert np.array_equal(values_of(one), values_of(other), equal_nan=True)


@pytest.mark.parametrize(("height", "width", "stride", "striped"), [(500, 700, 16, False), (333, 64, 7, True)])
def test_pieces_cover_every_cell_once(monkeypatch, height, width, stride, striped):
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 3 * 100 * 100)
    grid = Grid(height, width, 32, stride)
    seen = np.zeros((grid.rows, grid.columns), int)
    for piece in grid.pieces(3, striped):
        seen[piece.row : piece.row + piece.rows, piece.column : piece.column + piece.columns] += 1
        assert grid.pixels(piece.rows) * grid.pixels(piece.columns) <= 100 * 100
    assert (seen == 1).all()
    assert (grid.rows - 1) * stride + 32 >= height  # every pixel is seen
    assert (grid.rows - 2) * stride + 32 < height  # and no window too many


@pytest.mark.parametrize("mark", ["nodata of the file", "--nodata", "mask", "NaN"])
def test_cells_of_mostly_no_data_are_no_data(tmp_path, mark):
    values = ramp(64, 96) % 1000 + 1
    empty = np.zeros((64, 96), bool)
    empty[:, :20] = True  # 20 of the 32 columns of the first window: most of it
    empty[:10, 32:64] = True  # 10 of the 32 rows of the second
    kind = np.float32 if mark == "NaN" else np.uint16
    stored = np.where(empty, np.nan if mark == "NaN" else 0, values).astype(kind)
    source = write(tmp_path / "scene.tif", stored, **({"nodata": 0} if mark == "nodata of the file" else {}))
    if mark == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as file:
            file.write_mask(~empty)
    option = {"nodata": 0.0} if mark == "--nodata" else {}
    out = embed_scene(corners(mean=500.0), source, tmp_path / "out.tif", quiet=True, **option)
    got = values_of(out)
    assert np.isnan(got[:, 0, 0]).all()
    assert np.isfinite(got[:, 0, 1:]).all()
    assert got[0, 0, 1] == 0  # an empty pixel has the mean, which is zero to the network
    assert got[1, 0, 1] == np.float32((float(values[2, 31, 63]) - 500) / 1000)
    with rasterio.open(out) as made:
        assert np.isnan(made.nodata)
        assert made.read_masks(1)[0].tolist() == [0, 255, 255]


def test_what_sticks_out_of_the_scene_is_no_data(tmp_path):
    values = ramp(40, 90, 4)
    source = write(tmp_path / "scene.tif", values)  # the second row of windows has 8 of its 32 lines
    got = values_of(embed_scene(corners(bands=4), source, tmp_path / "out.tif", bands="1,2,3,4", quiet=True))
    assert got.shape == (3, 2, 3)
    assert np.isnan(got[:, 1]).all()
    assert np.isfinite(got[:, 0]).all()  # the last of the first row has 26 of its 32 columns
    assert got[1, 0, 2] == 0


def test_pixels_of_a_hyperspectral_scene(pixel_run, tmp_path):
    values = np.random.default_rng(0).integers(200, 1500, (6, 20, 30)).astype(np.uint16)
    source = write(tmp_path / "scene.tif", values)
    out = embed_to_file(pixel_run, source, tmp_path / "out.tif", bands="1,2,3,4,5,6", device="cpu", quiet=True)
    expected = embed(pixel_run, values.reshape(6, -1).T).T.reshape(-1, 20, 30)
    np.testing.assert_allclose(values_of(out), expected, rtol=1e-5, atol=1e-6)
    with rasterio.open(out) as made:
        assert made.transform == PLACE


def test_components_are_those_of_all_cells(rgb_run, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 3 * 70 * 70)
    full = values_of(embed_to_file(rgb_run, scene, tmp_path / "full.tif", stride=16, device="cpu", quiet=True))
    out = embed_to_file(rgb_run, scene, tmp_path / "k.tif", stride=16, components=2, device="cpu", quiet=True)
    flat = full.reshape(len(full), -1).T.astype(np.float64)
    centred = flat - flat.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    got = values_of(out).reshape(2, -1).T
    signs = np.sign((expected * got).sum(0))
    np.testing.assert_allclose(got, expected * signs, atol=1e-4 * np.abs(expected).max())
    with rasterio.open(out) as made:
        about = json.loads(made.tags()["refimpl"])
        assert made.descriptions == ("component 1", "component 2")
    shares = (values**2 / (values**2).sum())[:2]
    assert about["components"]["share_of_variance"] == pytest.approx(shares, abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.tif", "k.tif", "scene.tif"]


def test_moments_do_not_depend_on_the_parts():
    features = (np.random.default_rng(0).normal(size=(60, 5)) + 1e4).astype(np.float32)
    whole, parts = Moments(5), Moments(5)
    whole.add(features)
    for part in np.split(features, [1, 20, 20]):
        parts.add(part)
    for one, other in zip(whole.components(3), parts.components(3)):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_allclose(whole.components(3)[0], features.astype(np.float64).mean(0))


def test_metadata_travel_with_the_map(rgb_run, scene, tmp_path):
    out = embed_to_file(rgb_run, scene, tmp_path / "out.tif", device="cpu", quiet=True)
    with rasterio.open(out) as made:
        about = json.loads(made.tags()["refimpl"])
        assert made.descriptions[:2] == ("feature 1", "feature 2")
        assert made.count == load_method(rgb_run).encoder.width
    assert (about["method"], about["stride"], about["window"]) == ("simclr", 32, 32)
    assert about["input"] == {"name": "scene.tif", "bands": ["red", "green", "blue"]}
    assert str(tmp_path) not in json.dumps(about)
    assert not list(tmp_path.glob("*.xml"))


def test_memory_does_not_grow_with_the_scene(tmp_path, monkeypatch):
    """4096 x 4096 x 3 pixels are 50 MB as bytes and 201 MB as the network reads them."""
    source, side = tmp_path / "scene.tif", 4096
    about = {"count": 3, "height": side, "width": side, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(source, "w", driver="GTiff", tiled=True, blockxsize=256, blockysize=256, **about) as file:
        row = np.broadcast_to((np.arange(side) % 251).astype(np.uint8), (3, 256, side))
        for top in range(0, side, 256):
            file.write(row, window=Window(0, top, side, 256))
    monkeypatch.setattr(module, "PIECE_BYTES", 4 << 20)
    embedder = corners(size=64, batch=50)
    tracemalloc.start()
    try:
        out = embed_scene(embedder, source, tmp_path / "out.tif", stride=64, quiet=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    got = values_of(out)
    assert got.shape == (3, 64, 64)
    assert (got[0] == (np.arange(0, side, 64) % 251).astype(np.float32) / np.float32(1000)).all()
    # Two pieces (one is read ahead, each for a moment as bytes and as float32) and one batch of windows.
    assert peak < 2 * 2 * (4 << 20) + 2 * 50 * 3 * 64 * 64 * 4 + (2 << 20)
    assert embedder.encoder.most <= 50


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    source = write(tmp_path / "scene.tif", ramp(512, 512), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 2 // 3])
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * 3 * 100 * 100)
    for components in (None, 2):
        with pytest.raises(DataError, match=r"scene\.tif: (damaged at row|not a GeoTIFF)"):
            embed_scene(corners(), source, tmp_path / "out.tif", components=components, quiet=True)
        assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_scene_that_does_not_fit_the_disk_is_refused_at_once(tmp_path, monkeypatch):
    source = write(tmp_path / "scene.tif", ramp(128, 128))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(OutputError, match=r"needs 192 B but the disk has 100 B free; take a larger --stride"):
        embed_scene(corners(), source, tmp_path / "out.tif", quiet=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stride": 8, "overlap": 8}, "say the same thing"),
        ({"stride": 33}, "must lie between 1 and 32"),
        ({"overlap": 32}, "must lie between 0 and 31"),
        ({"components": 4}, "must lie between 1 and 3"),
        ({"bands": "1,2"}, "--bands names 2, but the run reads 3"),
        ({"nodata": 7.0}, "no window holds enough data"),
    ],
)
def test_mistakes_of_options(tmp_path, options, said):
    source = write(tmp_path / "scene.tif", np.full((3, 64, 64), 7, np.uint8))
    with pytest.raises(DataError, match=said):
        embed_scene(corners(), source, tmp_path / "out.tif", quiet=True, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_mistakes_of_files(rgb_run, scene, tmp_path):
    with pytest.raises(OutputError, match=r"a scene becomes a GeoTIFF; give --out a name that ends in \.tif"):
        embed_to_file(rgb_run, scene, tmp_path / "out.parquet")
    with pytest.raises(OutputError, match="--size is for images"):
        embed_to_file(rgb_run, scene, tmp_path / "out.tif", size=32)
    with pytest.raises(DataError, match="no such file"):
        embed_to_file(rgb_run, tmp_path / "nowhere.tif", tmp_path / "out.tif", device="cpu")
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.tif: not a GeoTIFF"):
        embed_to_file(rgb_run, tmp_path / "text.tif", tmp_path / "out.tif", device="cpu")
    with pytest.raises(DataError, match="smaller than one window of 32"):
        embed_to_file(rgb_run, write(tmp_path / "s.tif", ramp(20, 90)), tmp_path / "out.tif", device="cpu")
    with pytest.raises(DataError, match="say which these are, such as --bands 1,2,3"):
        embed_to_file(rgb_run, write(tmp_path / "u.tif", ramp(64, 64, 5)), tmp_path / "out.tif", device="cpu")
