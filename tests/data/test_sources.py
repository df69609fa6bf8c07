"""Paths become data: layouts, splits, bands, sizes; and every bad input is one line that names file and remedy."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from refimpl.data import files as files_module
from refimpl.data.dataset import DataError
from refimpl.data.layout import draw_subset, make_splits
from refimpl.data.sources import open_path

# -- layouts and splits ------------------------------------------------------------------------------------------------


def test_class_folders_are_numbered_in_order(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"water": 4, "forest": 6})
    data = open_path(folder)
    assert data.classes == ("forest", "water")
    assert data.fields["label"].tolist() == [0] * 6 + [1] * 4
    assert data.inputs["image"].bands == ("red", "green", "blue")
    assert data.name == "set"


def test_folder_and_zip_give_the_same(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 6, "b": 6})
    archive = make.zip_of(folder, tmp_path / "other.zip", top="deep/inside")
    assert open_path(folder).digest() == open_path(archive).digest()


def test_splits_are_seeded_per_class_and_cover_everything(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 20, "b": 40})
    data = open_path(folder, seed=1)
    assert {name: len(index) for name, index in data.splits.items()} == {"train": 36, "val": 9, "test": 15}
    assert np.bincount(data.fields["label"][data.splits["test"]]).tolist() == [5, 10]
    assert np.array_equal(np.sort(np.concatenate(list(data.splits.values()))), np.arange(60))
    same, other = open_path(folder, seed=1), open_path(folder, seed=2)
    assert np.array_equal(same.splits["train"], data.splits["train"])
    assert not np.array_equal(other.splits["train"], data.splits["train"])


def test_index_csv_says_labels_classes_and_splits(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"f1": 3, "f2": 3})
    rows = ["path,label,class,split", "f1/0.png,1,wood,train", "f1/1.png,1,wood,test", "f2/0.png,0,lake,val"]
    (folder / "index.csv").write_text("\n".join([*rows, "f2/1.png,0,lake,train"]))
    data = open_path(make.zip_of(folder, tmp_path / "set.zip", top="set"))
    assert data.classes == ("lake", "wood")
    assert data.fields["label"].tolist() == [1, 1, 0, 0]
    assert {name: index.tolist() for name, index in data.splits.items()} == {"train": [0, 3], "val": [2], "test": [1]}


def test_folders_called_train_and_test_are_the_split(tmp_path, make):
    for part, count in (("train", 10), ("test", 4)):
        make.class_folders(tmp_path / "set" / part, {"a": count, "b": count})
    data = open_path(tmp_path / "set")
    assert data.classes == ("a", "b")
    assert {name: len(index) for name, index in data.splits.items()} == {"train": 16, "val": 4, "test": 8}


@pytest.mark.parametrize("layout", ["one class", "flat"])
def test_without_classes_there_is_no_label_but_there_are_images(tmp_path, make, layout):
    folder = make.class_folders(tmp_path / "set", {"only": 5})
    data = open_path(folder if layout == "one class" else folder / "only")
    assert data.gives == {"image"}
    assert data.classes == ()
    assert len(data.splits["train"]) == 3


def test_pairs_with_a_mask(tmp_path, make):
    for folder in ("A", "B", "label"):
        for n in range(3):
            path = tmp_path / "set" / "city" / folder / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make.png(n + 10 * len(folder)))
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "set" / "city" / "label" / "0.png")
    for n in (1, 2):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "set" / "city" / "label" / f"{n}.png")
    data = open_path(tmp_path / "set")
    assert data.gives == {"before", "after", "change"}
    assert data.inputs["before"] == data.inputs["after"]
    assert np.array_equal(data.fields["change"][0], np.eye(8))
    assert data.fields["change"][1:].sum() == 0


def test_samples_at_one_place_stay_in_one_split():
    location = np.repeat(np.arange(20), 5)[:, None] * np.ones(2)
    splits = make_splits(100, np.zeros(100, int), location=location)
    places = [set(np.unique(location[index, 0])) for index in splits.values()]
    assert not places[0] & places[1]
    assert not places[0] & places[2]
    assert not places[1] & places[2]


def test_a_subset_keeps_the_shares_of_its_groups():
    groups = np.repeat([0, 1, 2], [100, 60, 40])
    chosen = draw_subset(200, 20, groups, seed=0)
    assert np.bincount(groups[chosen]).tolist() == [10, 6, 4]
    assert np.array_equal(chosen, draw_subset(200, 20, groups, seed=0))


def test_samples_decodes_only_so_many(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 20, "b": 20})
    data = open_path(folder, samples=8)
    assert len(data) == 8
    assert np.bincount(data.fields["label"]).tolist() == [4, 4]
    assert sum(len(index) for index in data.splits.values()) == 8


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_other_sizes_are_brought_to_size(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2}, size=16)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200  # the centre square
    Image.fromarray(wide).save(folder / "a" / "wide.png")
    data = open_path(folder, size=8)
    assert data.fields["image"].shape == (5, 3, 8, 8)
    assert (data.fields["image"][2] == 200).all()


def test_bands_are_picked_by_name_or_number(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    everything = open_path(folder).fields["image"]
    assert np.array_equal(open_path(folder, bands="blue, RED").fields["image"], everything[:, [2, 0]])
    assert np.array_equal(open_path(folder, bands="3,1").fields["image"], everything[:, [2, 0]])
    assert open_path(folder, bands=["green"]).inputs["image"].bands == ("green",)


def test_grey_and_palette_files_follow_the_first(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 1, "b": 1})
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(folder / "b" / "1.png")
    data = open_path(folder)
    assert (data.fields["image"][2] == 7).all()


def test_sixteen_bit_png_keeps_its_numbers(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    (tmp_path / "set").mkdir()
    Image.fromarray(values).save(tmp_path / "set" / "a.png")
    data = open_path(tmp_path / "set")
    assert data.fields["image"].dtype == np.uint16
    assert np.array_equal(data.fields["image"][0, 0], values)
    assert data.take("image", torch.tensor([0])).max() == 63_000


def test_mean_and_deviation_are_those_of_the_training_part(tmp_path, make):
    data = open_path(make.class_folders(tmp_path / "set", {"a": 10, "b": 10}))
    train = data.fields["image"][data.splits["train"]].astype(np.float64)
    assert data.inputs["image"].mean == pytest.approx(train.mean((0, 2, 3)))
    assert data.inputs["image"].std == pytest.approx(train.std((0, 2, 3)))


# -- GeoTIFF -----------------------------------------------------------------------------------------------------------


def tiffs(root, make, count=4, **more):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3000, (count, 3, 8, 8), dtype=np.uint16)
    for n in range(count):
        corner = (500_000.0 + 80 * n, 5_200_000.0)
        make.geotiff(root / "ab"[n % 2] / f"{n}.tif", values[n], corner, names=("B04", "B08", "B11"), **more)
    return values[[0, 2, 1, 3]]


def test_geotiffs_keep_numbers_band_names_and_places(tmp_path, make):
    values = tiffs(tmp_path / "set", make)
    data = open_path(make.zip_of(tmp_path / "set", tmp_path / "set.zip"))
    assert data.fields["image"].dtype == np.uint16
    assert np.array_equal(data.fields["image"], values)
    assert data.inputs["image"].bands == ("B04", "B08", "B11")
    expected = [[500_040 + 80 * n, 5_199_960] for n in (0, 2, 1, 3)]
    assert data.fields["location"].tolist() == expected
    assert np.array_equal(open_path(tmp_path / "set", bands="b11,B4").fields["image"], values[:, [2, 0]])


def test_geotiffs_in_several_zones_share_one_plane(tmp_path, make):
    # The same meridian strip seen in two UTM zones, one degree (111.2 km) apart in latitude at about 9 degrees east.
    from rasterio.warp import transform

    values = np.zeros((3, 8, 8), np.uint16)
    for number, (epsg, lat) in enumerate(((32632, 47.0), (32633, 48.0))):
        x, y = transform("EPSG:4326", f"EPSG:{epsg}", [11.9], [lat])
        make.geotiff(tmp_path / "set" / f"{number}.tif", values, (x[0] - 40, y[0] + 40), epsg=epsg)
    (a, b) = open_path(tmp_path / "set").fields["location"].astype(float)
    assert b[1] - a[1] == pytest.approx(111_195, rel=1e-3)
    assert abs(b[0] - a[0]) < 200


def test_geotiffs_in_degrees_become_metres(tmp_path, make):
    values = np.zeros((1, 8, 8), np.int16)
    make.geotiff(tmp_path / "set" / "0.tif", values, (10.0, 60.0), epsg=4326)
    make.geotiff(tmp_path / "set" / "1.tif", values, (10.1, 60.0), epsg=4326)
    data = open_path(tmp_path / "set")
    assert data.fields["image"].dtype == np.int16
    step = data.fields["location"][1] - data.fields["location"][0]
    assert step[0] == pytest.approx(111_195 * 0.1 * 0.5, rel=1e-2)
    assert step[1] == pytest.approx(0, abs=1)


def test_a_missing_rasterio_is_said(tmp_path, make, monkeypatch, message):
    from refimpl.data import decode

    tiffs(tmp_path / "set", make)
    monkeypatch.setattr(decode, "_rasterio", lambda: None)
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "set")
    assert message(error) == "set: a/0.tif: GeoTIFFs need rasterio; install it with: pip install 'ssl-for-earth[geo]'"


# -- NumPy archives ----------------------------------------------------------------------------------------------------


def test_images_in_either_order(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (6, 3, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    np.savez(tmp_path / "first.npz", x=images, y=labels)
    np.savez(tmp_path / "last.npz", images=images.transpose(0, 2, 3, 1), labels=labels, classes=["p", "q"])
    first, last = open_path(tmp_path / "first.npz"), open_path(tmp_path / "last.npz")
    assert np.array_equal(first.fields["image"], last.fields["image"])
    assert (first.classes, last.classes) == (("0", "1"), ("p", "q"))


def test_arrays_named_as_fields(tmp_path):
    np.savez(
        tmp_path / "s.npz",
        image=np.zeros((5, 2, 8, 8), np.uint16),
        second=np.ones((5, 4, 8, 8), np.int16),
        location=np.zeros((5, 2)),
        date=np.array(["2020-01-02"] * 5),
        bands=["VV", "VH"],
        split=["train", "train", "train", "val", "test"],
    )
    data = open_path(tmp_path / "s.npz", bands="VH")
    assert data.gives == {"image", "second", "location", "date"}
    assert data.inputs["image"].bands == ("VH",)
    assert data.fields["second"].shape == (5, 4, 8, 8)
    assert data.fields["date"].tolist() == [18_263] * 5
    assert data.splits["test"].tolist() == [4]


def test_one_place_over_time_is_cut_into_tiles(tmp_path):
    scene = np.random.default_rng(0).integers(0, 255, (3, 50, 70, 4), dtype=np.uint8)
    np.savez(
        tmp_path / "s.npz",
        images=scene,
        dates=["20200101", "20200102", "20200104"],
        top_left_utm=np.array([[1000.0, 9000.0]] * 3),
        pixel_size_m=np.float32(5),
    )
    data = open_path(tmp_path / "s.npz", size=16)
    assert data.fields["series"].shape == (12, 3, 4, 16, 16)
    assert np.array_equal(data.fields["series"][5, 2], scene[2, 16:32, 16:32].transpose(2, 0, 1))
    assert np.array_equal(data.fields["image"][5], data.fields["series"][5, 2])
    assert data.fields["date"][5] == data.fields["dates"][5, 2] == 18_265
    assert data.fields["location"][5].tolist() == [1000 + 24 * 5, 9000 - 24 * 5]
    assert data.inputs["image"].bands == ("red", "green", "blue", "nir")


def test_images_in_memory_are_brought_to_size(tmp_path):
    image = np.zeros((4, 1, 8, 8), np.uint8)
    image[..., 4:] = 100
    codes = np.tile(np.repeat([3, 9], 4), (4, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "s.npz", image=image, landcover=codes)
    data = open_path(tmp_path / "s.npz", size=4)
    assert data.inputs["image"].size == 4
    assert data.fields["image"].shape == (4, 1, 4, 4)
    assert data.fields["image"][0, 0, 0, 0] < 10 < 90 < data.fields["image"][0, 0, 0, 3]
    assert data.fields["landcover"][0, 0].tolist() == [3, 3, 9, 9]


def test_an_unmixing_cube_gives_pixels_windows_and_truth(tmp_path):
    rng = np.random.default_rng(0)
    spectra, shares = rng.random((6, 3)), rng.dirichlet(np.ones(3), (60, 61))
    cube = (shares @ spectra.T * 1000).astype(np.uint16)
    np.savez(tmp_path / "s.npz", cube=cube, endmembers=spectra, abundances=shares, endmember_names=["a", "b", "c"])
    data = open_path(tmp_path / "s.npz")
    assert data.fields["spectrum"].shape == (3660, 6)
    assert np.array_equal(data.fields["spectrum"].reshape(60, 61, 6), cube)
    assert np.array_equal(data.fields["patch"][:, :, 3, 3], data.fields["spectrum"])
    train = cube.reshape(-1, 6)[data.splits["train"]]
    assert data.inputs["patch"].mean == data.inputs["spectrum"].mean == pytest.approx(train.mean(0), rel=0.02)
    assert data.truth["endmembers"].shape == (3, 6)
    assert np.allclose(data.truth["abundances"].reshape(60, 61, 3), shares)
    assert open_path(tmp_path / "s.npz", needs=("spectrum",)).gives == {"spectrum"}
    apart = open_path(tmp_path / "s.npz", needs=("patch",)).splits
    column = {name: index % 61 for name, index in apart.items()}
    row = {name: index // 61 for name, index in apart.items()}
    across = np.abs(row["train"][:, None] - row["test"]), np.abs(column["train"][:, None] - column["test"])
    assert np.maximum(*across).min() == 7  # the windows of train and test touch and do not overlap
    part = open_path(tmp_path / "s.npz", samples=30, bands="2,4")
    assert part.truth["abundances"].shape == (30, 3)
    assert part.truth["endmembers"].shape == (3, 2)


def test_objects_are_never_unpickled(tmp_path, message):
    np.savez(tmp_path / "s.npz", x=np.zeros((2, 3, 4, 4)), y=np.array([{}, []], dtype=object))
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "s.npz")
    assert message(error) == (
        "s.npz: array 'y' holds Python objects, which are never unpickled; save it as numbers or text"
    )


NPZ_FAULTS = {
    "no images": ({"foo": np.zeros(3)}, "s.npz: holds foo; expected 'x' or 'images' with 'y'"),
    "lengths": ({"x": np.zeros((4, 3, 8, 8)), "y": np.zeros(3, int)}, "differ in number of samples (image 4, label 3)"),
    "labels": ({"x": np.zeros((2, 3, 8, 8)), "y": np.array([0.5, 1])}, "labels must be whole numbers from 0"),
    "not square": ({"x": np.zeros((2, 3, 8, 9))}, "are not square; crop them"),
    "unmixing": (
        {"cube": np.zeros((4, 4, 5)), "endmembers": np.zeros((6, 2)), "abundances": np.zeros((4, 4, 2))},
        "endmembers have 6 bands and the cube 5",
    ),
    "bands": ({"x": np.zeros((2, 3, 8, 8)), "bands": np.array(["a"])}, "'bands' names 1 bands but the images have 3"),
    "dates": ({"x": np.zeros((2, 3, 8, 8)), "date": np.array(["May", "June"])}, "write them as 2018-07-16"),
}


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_faults_of_npz_files(tmp_path, message, fault):
    arrays, expected = NPZ_FAULTS[fault]
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "s.npz")
    assert expected in message(error)


# -- bad input ---------------------------------------------------------------------------------------------------------


def broken_jpeg(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2}, size=64)
    file = io.BytesIO()
    Image.fromarray(make.pixels(0, 64)).save(file, "JPEG")
    (folder / "b" / "1.jpg").write_bytes(file.getvalue()[:-900])
    return make.zip_of(folder, tmp_path / "set.zip"), "set.zip: b/1.jpg: cannot be decoded"


def not_an_image(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "b" / "1.png").write_text("hello")
    return make.zip_of(folder, tmp_path / "set.zip"), "set.zip: b/1.png: not a JPEG or PNG image"


def not_a_tiff(tmp_path, make):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.tif").write_text("hello")
    return tmp_path / "set", "set: 0.tif: not a GeoTIFF that can be read"


def cut_tiff(tmp_path, make):
    path = make.geotiff(tmp_path / "set" / "0.tif", np.ones((3, 64, 64), np.uint16))
    os.truncate(path, path.stat().st_size // 2)
    return tmp_path / "set", "set: 0.tif: "


def truncated_zip(tmp_path, make):
    path = make.zip_of(make.class_folders(tmp_path / "set", {"a": 2, "b": 2}), tmp_path / "set.zip")
    os.truncate(path, path.stat().st_size - 100)
    return path, "set.zip: not a complete zip archive"


def flipped_bit(tmp_path, make):
    path = make.zip_of(make.class_folders(tmp_path / "set", {"a": 2, "b": 2}), tmp_path / "set.zip")
    raw = bytearray(path.read_bytes())
    raw[80] ^= 1
    path.write_bytes(raw)
    return path, "set.zip: a/0.png: damaged in the archive (Bad CRC-32"


def empty_folder(tmp_path, make):
    (tmp_path / "set").mkdir()
    return tmp_path / "set", "set: holds no images (.jpg, .jpeg, .png, .tif, .tiff); it is empty"


def no_images(tmp_path, make):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("x")
    return tmp_path / "set", "its first file is notes.txt"


def dangling_link(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "b" / "9.png").symlink_to(tmp_path / "gone.png")
    return folder, "set: b/9.png: cannot be read (No such file or directory)"


def colour_among_grey(tmp_path, make):
    (tmp_path / "set").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "set" / "0.png")
    (tmp_path / "set" / "1.png").write_bytes(make.png(1))
    return tmp_path / "set", "set: 1.png: is in colour but the first image is 8-bit grey; save all in one format"


def lost_image(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "9.png").write_bytes(make.png(9))
    return folder, "set: 9.png: lies outside every class folder"


def two_sizes(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "b" / "1.png").write_bytes(make.png(9, size=12))
    return folder, "set: b/1.png: 12 x 12 pixels, but the first image has 8 x 8; --size N brings all to one size"


def not_square(tmp_path, make):
    (tmp_path / "set").mkdir()
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "set" / "0.png")
    return tmp_path / "set", "set: 0.png: 10 x 8 pixels, but images must be square; --size N"


def wrong_suffix(tmp_path, make):
    (tmp_path / "set.rar").write_text("x")
    return tmp_path / "set.rar", "set.rar: .rar is not read; pass a folder of images, a .zip of those, or an .npz"


def no_such_path(tmp_path, make):
    (tmp_path / "eurosat.zip").write_text("x")
    return tmp_path / "eurosta.zip", "eurosta.zip: no such file or folder; did you mean eurosat.zip?"


def index_with_ghost(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "index.csv").write_text("path,label\na/0.png,0\na/7.png,0\n")
    return folder, "set: index.csv line 3: no image 'a/7.png' beside it"


def index_with_gap(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "index.csv").write_text("path,label\na/0.png,0\nb/0.png,2\n")
    return folder, "set: index.csv: no image has label 1"


def index_with_bad_split(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (folder / "index.csv").write_text("path,label,split\na/0.png,0,trian\n")
    return folder, "set: index.csv line 2: split 'trian' is none of train, val, test"


def climbing_zip(tmp_path, make):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("../../evil.png", make.png(0))
    return tmp_path / "set.zip", "set.zip: the entry '../../evil.png' points outside the archive"


def encrypted_zip(tmp_path, make):
    path = make.zip_of(make.class_folders(tmp_path / "set", {"a": 1}), tmp_path / "set.zip")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    return path, "set.zip: a/0.png is encrypted; unpack the archive and pass the folder"


def lonely_pair(tmp_path, make):
    for name in ("A/0", "B/0", "label/0", "A/1", "B/1"):
        path = tmp_path / "set" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.png(0))
    return tmp_path / "set", "set: A/1.png: has no partner in folder 'label' beside 'A'"


FAULTS = [
    broken_jpeg, not_an_image, not_a_tiff, cut_tiff, truncated_zip, flipped_bit, empty_folder, no_images,
    dangling_link, colour_among_grey, lost_image, two_sizes, not_square, wrong_suffix, no_such_path,
    index_with_ghost, index_with_gap, index_with_bad_split, climbing_zip, encrypted_zip, lonely_pair,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_bad_input_is_one_line_with_file_and_remedy(tmp_path, cache, make, message, fault):
    path, expected = fault(tmp_path, make)
    with pytest.raises(DataError) as error:
        open_path(path)
    assert expected in message(error)
    decoded = cache / "decoded"
    assert [file for file in decoded.iterdir() if file.suffix != ".lock"] == [] if decoded.exists() else True


def test_a_wrong_band_gets_the_nearest(tmp_path, make, message):
    tiffs(tmp_path / "set", make)
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "set", bands="B04,B18")
    assert message(error) == "set: a/0.tif: no band 'B18'; bands are B04, B08, B11; did you mean B11 or B08?"


@pytest.mark.parametrize(
    ("bands", "expected"), [("4", "no band '4'"), ("0", "no band '0'"), ("red,red", "band red is asked for twice")]
)
def test_impossible_band_numbers(tmp_path, make, message, bands, expected):
    with pytest.raises(DataError) as error:
        open_path(make.class_folders(tmp_path / "set", {"a": 1, "b": 1}), bands=bands)
    assert expected in message(error)


@pytest.mark.parametrize("wish", [{"size": 0}, {"size": 9999}, {"samples": 0}])
def test_wishes_without_sense(tmp_path, make, message, wish):
    with pytest.raises(DataError) as error:
        open_path(make.class_folders(tmp_path / "set", {"a": 1, "b": 1}), **wish)
    assert message(error).startswith(f"--{next(iter(wish))} ")


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch, message):
    monkeypatch.setattr(files_module, "HARMLESS_TOTAL", 1 << 20)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", b"\0" * (4 << 20))
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "set.zip")
    assert "would unpack to 4.0 MiB, like a zip bomb" in message(error)


def test_a_file_longer_than_declared_is_cut_off_and_refused(tmp_path, make, message):
    """A bomb may lie about its size: the reader stops at what the directory declares and the checksum fails."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", b"\0" * (1 << 20))
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(raw)
    with pytest.raises(DataError) as error:
        open_path(path)
    assert "set.zip: a/0.png: damaged in the archive" in message(error)


def test_an_image_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch, message):
    from refimpl.data import decode

    monkeypatch.setattr(decode, "MOST_PIXELS", 100)
    (tmp_path / "set").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "set" / "0.png")
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "set", size=8)
    assert "is a whole scene; cut it into tiles first" in message(error)


# -- real data ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_naip_tiles_match_the_scene(real):
    data = open_path(real / "naip_nd_6dates.npz")
    assert data.gives == {"image", "location", "date", "series", "dates"}
    assert data.fields["series"].shape == (154, 6, 4, 64, 64)
    assert data.fields["date"].min() == (np.datetime64("2009-08-18") - np.datetime64("1970-01-01")).astype(int)
    step = data.fields["location"][1] - data.fields["location"][0]
    assert step.tolist() == [320.0, 0.0]


@pytest.mark.real
@pytest.mark.parametrize(("file", "shape"), [("samson", (9025, 156, 3)), ("jasper_ridge", (10_000, 198, 4))])
def test_real_unmixing_truth_sums_to_one(real, file, shape):
    data = open_path(real / f"{file}_unmixing.npz")
    assert (*data.fields["spectrum"].shape, len(data.truth["endmembers"])) == shape
    assert np.allclose(data.truth["abundances"].sum(1), 1, atol=1e-3)


@pytest.mark.real
def test_real_pixel_series_keep_places_together(real):
    data = open_path(real / "modis_timeseries_matogrosso.npz")
    assert data.fields["series"].shape == (1892, 23, 4, 1, 1)
    assert len(data.classes) == 9
    places = [{tuple(row) for row in data.fields["location"][index]} for index in data.splits.values()]
    assert not places[0] & places[2]


@pytest.mark.real
def test_real_change_pairs(real):
    data = open_path(real / "change_pairs_levir_dsifn.zip")
    assert data.fields["before"].shape == data.fields["after"].shape == (21, 3, 256, 256)
    assert np.unique(data.fields["change"]).tolist() == [0, 1]


@pytest.mark.real
def test_real_scenes_have_their_split_dealt_by_class(real):
    data = open_path(real / "rsscn7_128.zip", size=32, samples=140)
    assert data.classes[:3] == ("grass", "field", "industry")
    assert np.bincount(data.fields["label"]).tolist() == [20] * 7


def test_images_with_holes_are_refused_by_sample(tmp_path, message):
    images = np.zeros((4, 3, 8, 8), np.float32)
    images[2, 1, 3, 4] = np.nan
    np.savez(tmp_path / "a.npz", image=images)
    with pytest.raises(DataError) as error:
        open_path(tmp_path / "a.npz")
    assert "sample 2 holds NaN or infinity in image, as do 1 of 4" in message(error)
