"""The synthetic Earth: what it claims to be true is true of the numbers it gives."""

import numpy as np
import pytest
import torch

from refimpl.data import synthetic
from refimpl.data.dataset import DataError
from refimpl.data.synthetic import hyperspectral, patterns, scenes, sensors, signatures, video, world
from refimpl.data.synthetic.noise import generator, hash_of, unit

ALL_SCENE = (
    "image",
    "second",
    "before",
    "after",
    "change",
    "series",
    "dates",
    "landcover",
    "location",
    "date",
    "label",
)


@pytest.fixture(scope="module")
def scene():
    return synthetic.make("s2", samples=120, size=32, seed=3, fields=ALL_SCENE, dates=4)


@pytest.fixture(scope="module")
def flight():
    return synthetic.make("uav", samples=40, size=32, seed=5)


@pytest.mark.parametrize("sensor", synthetic.sensors_available())
def test_same_seed_same_bits_other_seed_other_land(sensor):
    options = {"sensor": sensor, "samples": 64, "size": 16}
    first, again, other = (synthetic.make(seed=seed, **options) for seed in (1, 1, 2))
    assert first.digest() == again.digest()
    assert first.digest() != other.digest()


def test_asking_for_more_fields_changes_none(scene):
    alone = synthetic.make("s2", samples=120, size=32, seed=3, fields=("image", "label"))
    assert np.array_equal(alone.fields["image"], scene.fields["image"])


def test_number_of_threads_changes_nothing(monkeypatch):
    many = synthetic.make("rgb", samples=80, size=16)
    monkeypatch.setattr(scenes.os, "cpu_count", lambda: 1)
    assert synthetic.make("rgb", samples=80, size=16).digest() == many.digest()


def test_fields_have_the_shapes_and_types_of_the_contract(scene):
    shapes = {name: (values.shape, str(values.dtype)) for name, values in scene.fields.items()}
    assert shapes == {
        "image": ((120, 13, 32, 32), "uint16"), "second": ((120, 2, 32, 32), "int16"),
        "before": ((120, 13, 32, 32), "uint16"), "after": ((120, 13, 32, 32), "uint16"),
        "change": ((120, 32, 32), "uint8"), "series": ((120, 4, 13, 32, 32), "uint16"), "dates": ((120, 4), "int32"),
        "landcover": ((120, 32, 32), "uint8"), "location": ((120, 2), "float32"), "date": ((120,), "int32"),
        "label": ((120,), "int64"),
    }  # fmt: skip
    assert scene.synthetic and len(scene.classes) == 10
    assert scene.inputs["image"].bands == sensors.S2.bands and scene.inputs["second"].bands == ("VV", "VH")
    assert np.all(np.diff(scene.fields["dates"], axis=1) > 0)
    assert scene.fields["landcover"].max() < len(signatures.MATERIALS)


def test_inputs_normalise_the_training_images(scene):
    stored = scene.take("image", torch.from_numpy(scene.splits["train"])).double()
    field = scene.inputs["image"]
    shape = (1, -1, 1, 1)
    x = (stored - torch.tensor(field.mean).view(shape)) / torch.tensor(field.std).view(shape)
    assert x.mean((0, 2, 3)).abs().max() < 1e-4 and (x.std((0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("size", [32, 64])
def test_splits_share_no_ground_and_hold_every_class(size):
    windows = scenes.choose(500, size, seed=0)
    total = np.sort(np.concatenate(list(windows.splits.values())))
    assert np.array_equal(total, np.arange(500))
    for name, share in scenes.SHARES.items():
        assert abs(len(windows.splits[name]) / 500 - share) < 0.06
        assert set(windows.label[windows.splits[name]]) == set(range(10))
    side = size * scenes.GSD
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        a, b = windows.corner[windows.splits[first]], windows.corner[windows.splits[second]]
        apart = np.abs(a[:, None] - b[None]).max(-1)  # windows are squares: disjoint if one axis is a side apart
        assert apart.min() >= side


def test_windows_have_neighbours_of_their_class_within_a_kilometre():
    windows = scenes.choose(1000, 64, seed=0)
    train = windows.splits["train"]
    centre, label = windows.centre[train], windows.label[train]
    near = np.linalg.norm(centre[:, None] - centre[None], axis=-1) < 1000
    np.fill_diagonal(near, False)
    same = label[:, None] == label[None]
    area = label < patterns.ZONES
    assert np.mean(near.sum(1) >= 2) > 0.8
    # Chance is 0.1; land use is patchy, so neighbours agree far more often.
    assert same[near & area[:, None] & area[None]].mean() > 0.5


def test_shares_of_cover_sum_to_one_and_no_share_is_negative():
    land = world.World(seed=4, extent=10_000)
    x, y = np.meshgrid(np.arange(0, 6000, 10.0), np.arange(0, 6000, 10.0))
    for changes in (0.0, 0.5):
        shares = land.look(x, y, 10.0, changes).shares
        assert np.abs(shares.sum(0) - 1).max() < 1e-5 and shares.min() > -1e-6
    assert len(np.unique(land.look(x, y, 10.0).cover)) == len(signatures.MATERIALS)


def test_the_same_place_seen_in_two_windows_is_the_same_place():
    land = world.World(seed=4, extent=10_000)
    x, y = np.meshgrid(np.arange(1000, 2000, 10.0), np.arange(3000, 4000, 10.0))
    whole, part = land.look(x, y, 10.0), land.look(x[20:50, 30:70], y[20:50, 30:70], 10.0)
    assert np.array_equal(whole.shares[:, 20:50, 30:70], part.shares)


def test_relief_is_rougher_the_finer_one_looks_as_a_fractal_should():
    land = world.World(seed=0, extent=10_000)
    x, y = np.meshgrid(np.arange(0, 10_000, 40.0), np.arange(0, 10_000, 40.0))
    z = land.look(x, y, 40.0).elevation
    lags = np.array([2, 4, 8, 16])
    variogram = [np.mean((z[:, lag:] - z[:, :-lag]) ** 2) for lag in lags]
    exponent = np.polyfit(np.log(lags), np.log(variogram), 1)[0]
    assert 1.5 < exponent < 2.0  # 2 H with H = 0.9


def test_mask_marks_where_cover_changed_and_only_there(scene):
    before, after = scene.fields["landcover"], scene.truth["landcover_after"]
    changed = scene.fields["change"].astype(bool)
    assert np.array_equal(changed, before != after)
    assert 0.01 < changed.mean() < 0.3
    built = {signatures.METAL, signatures.CONCRETE, signatures.ASPHALT, signatures.GRASS}
    felled = {signatures.SOIL, signatures.BROADLEAF, signatures.GRASS}
    assert set(np.unique(after[changed])) <= built | felled
    # Beyond season and light, the pixels that changed differ more between the two images than the others do.
    a, b = scene.fields["before"].astype(float), scene.fields["after"].astype(float)
    a, b = (v - v.mean((2, 3), keepdims=True) for v in (a, b))
    difference = np.abs(a - b).mean(1)
    assert difference[changed].mean() > 1.2 * difference[~changed].mean()


def test_no_change_is_marked_when_nothing_changes():
    data = synthetic.make("rgb", samples=40, size=16, fields=("change",), changes=0.0)
    assert not data.fields["change"].any()


def test_crops_change_over_the_year_more_than_conifers(scene):
    series = scene.fields["series"].astype(float)
    red, nir = series[:, :, 3], series[:, :, 7]
    ndvi = (nir - red) / (nir + red + 1)
    cover = scene.fields["landcover"]
    swing = ndvi.max(1) - ndvi.min(1)
    crop = (cover == signatures.WINTER_CROP) | (cover == signatures.SUMMER_CROP)
    assert swing[crop].mean() > 2 * swing[cover == signatures.CONIFER].mean()
    year = signatures.greenness(np.arange(1, 366))
    swing = year.max(0) - year.min(0)
    assert swing[signatures.WINTER_CROP] > 0.8 > 0.4 > swing[signatures.CONIFER] > 0
    assert year[:, signatures.WINTER_CROP].argmax() < year[:, signatures.SUMMER_CROP].argmax()


def test_vegetation_has_a_red_edge_and_soil_has_none():
    green = signatures.seen(sensors.S2.weights(), np.array(190))
    red, nir = green[:, 3], green[:, 7]
    ndvi = (nir - red) / (nir + red)
    vegetation = [signatures.BROADLEAF, signatures.CONIFER, signatures.GRASS, signatures.SUMMER_CROP]
    assert ndvi[vegetation].min() > 0.7 and abs(ndvi[signatures.SOIL]) < 0.35 and ndvi[signatures.WATER] < 0
    assert green.min() > 0 and green.max() < 1


def test_speckle_has_variance_one_over_looks():
    n, looks = 4, 3.0
    flat = np.zeros((n, 64, 64), np.float32)
    shares = np.zeros((len(signatures.MATERIALS), n, 64, 64), np.float32)
    shares[signatures.GRASS] = 1
    ground = world.Ground(shares, flat + 1, flat, flat, flat, flat.astype(np.uint8))
    stored = sensors.radar(ground, np.full(n, 18_000), generator(0), looks)
    intensity = 10 ** (stored / 1000.0)
    ratio = intensity.var((2, 3)) / intensity.mean((2, 3)) ** 2
    assert np.abs(ratio * looks - 1).max() < 0.1


def test_slopes_that_face_the_sun_are_brighter():
    east, north, up = sensors.sun(np.array([18_000]))
    assert east > 0 and north < 0 and np.isclose(east**2 + north**2 + up**2, 1)  # morning, northern hemisphere
    flat = np.zeros((2, 8, 8), np.float32)
    shares = np.zeros((len(signatures.MATERIALS), 2, 8, 8), np.float32)
    shares[signatures.SOIL] = 1
    slope = np.stack([np.full((8, 8), -0.3), np.full((8, 8), 0.3)]).astype(np.float32)  # falls to the east, to the west
    lit = sensors._illumination(
        world.Ground(shares, flat + 1, slope, flat, flat, flat), np.full(2, 18_000), np.zeros(2)
    )
    assert lit[0].mean() > 1 > lit[1].mean()


def test_haze_brightens_blue_more_than_red():
    path, through = sensors._atmosphere(np.array([0.49, 0.66, 2.2]), np.array([0.1, 0.5]), np.array([0.7, 0.7]))
    assert np.all(np.diff(path, axis=1) < 0) and np.all(np.diff(through, axis=1) > 0)
    assert np.all(path[1] > path[0]) and np.all(through[1] < through[0])


def test_linear_mixing_of_the_true_endmembers_gives_the_spectra():
    data = synthetic.make("hyperspectral", samples=900, seed=1, snr=30, variability=0.05)
    field = data.inputs["spectrum"]
    seen = (data.fields["spectrum"] - np.array(field.mean)) / np.array(field.std)  # normalised = reflectance
    abundance, pure = data.truth["abundances"], data.truth["endmembers"]
    model = data.truth["brightness"][:, None] * (abundance @ pure)
    noise = np.sqrt(np.mean((seen - model) ** 2))
    assert 20 * np.log10(np.sqrt(np.mean(model**2)) / noise) == pytest.approx(30, abs=0.5)
    assert np.allclose(abundance.sum(1), 1, atol=1e-5) and abundance.min() >= 0
    assert pure.shape == (5, 150) and np.linalg.cond(pure) < 1000
    purest = abundance.max(0)
    assert purest.min() > 0.9 and 0.001 < np.mean(abundance.max(1) > 0.95) < 0.35  # pure pixels exist and are few
    cube = abundance.reshape(*data.truth["shape"], -1)
    assert np.corrcoef(cube[:, 1:].ravel(), cube[:, :-1].ravel())[0, 1] > 0.8  # smooth


def test_patches_are_the_surroundings_of_their_pixel_and_leak_into_no_other_split():
    data = synthetic.make("hyperspectral", samples=2500, fields=("spectrum", "patch", "label"), bands=20, patch=5)
    spectrum, patch = data.fields["spectrum"], data.fields["patch"]
    assert patch.shape == (2500, 20, 5, 5)
    assert np.array_equal(patch[:, :, 2, 2], spectrum)
    assert np.array_equal(patch[1234, :, 2, 3], spectrum[1235])
    at = {name: np.stack(np.divmod(index, 50), 1) for name, index in data.splits.items()}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert np.abs(at[first][:, None] - at[second][None]).max(-1).min() >= 5


def test_depth_and_poses_carry_one_frame_into_the_next(flight):
    depth, pose, seen = flight.fields["depth"], flight.truth["pose"], flight.fields["video"].astype(float)
    n, _, size, _ = depth.shape
    direction = video.rays(pose, size).astype(float)
    point = pose[:, 0, :3, None, None] + depth[:, 0, None] * direction[:, 0]  # where pixels of frame 0 lie
    # Into frame 1: the camera's axes are its middle rays, so solve point - camera = depth * ray for (u, v, depth).
    columns = direction[:, 1].reshape(n, 3, -1)
    focal = float(flight.truth["focal"])
    right = (columns[:, :, 1] - columns[:, :, 0]) * focal
    down = (columns[:, :, size] - columns[:, :, 0]) * focal
    half = (size / 2 - 0.5) / focal
    ahead = columns[:, :, 0] + (right + down) * half
    axes = np.stack([right, down, ahead], -1)
    local = np.linalg.solve(axes, (point - pose[:, 1, :3, None, None]).reshape(n, 3, -1))
    column, row = (local[:, i] / local[:, 2] * focal + size / 2 - 0.5 for i in (0, 1))
    column, row = np.rint(column).astype(int), np.rint(row).astype(int)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    assert inside.mean() > 0.5
    clip = np.broadcast_to(np.arange(n)[:, None], column.shape)
    found = depth[:, 1][clip[inside], row[inside], column[inside]]
    relative = np.abs(found - local[:, 2][inside]) / found
    assert np.median(relative) < 0.005 and np.mean(relative < 0.03) > 0.9
    target = seen[:, 1].transpose(0, 2, 3, 1)[clip[inside], row[inside], column[inside]]
    source = seen[:, 0].transpose(0, 2, 3, 1).reshape(n, -1, 3)
    still = seen[:, 1].transpose(0, 2, 3, 1).reshape(n, -1, 3)
    warped = np.abs(target - source[inside]).mean()
    assert warped < 0.7 * np.abs(still - source)[inside].mean()


def test_depth_is_that_of_ground_seen_from_above(flight):
    depth = flight.fields["depth"]
    assert depth.shape == (40, 3, 32, 32) and depth.dtype == np.float32
    assert depth.min() > 15 and depth.max() < 200
    assert np.median(depth.std((2, 3))) > 1  # relief, houses and perspective


def test_hashes_are_even_and_uncorrelated():
    i, j = np.meshgrid(np.arange(-200, 200), np.arange(-200, 200))
    h = hash_of(i, j, 7)
    for part in range(4):
        values = unit(h, part)
        assert (
            abs(values.mean() - 0.498) < 0.01
            and abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.02
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"sensor": "sentinel-2"}, "did you mean s2?"),
        ({"sensor": "hyperspectal"}, "did you mean hyperspectral?"),
        ({"sensor": "rgb", "fields": ("imgae",)}, "did you mean image"),
        ({"sensor": "rgb", "fields": ("video",)}, "uav can"),
        ({"sensor": "rgb", "samples": 3}, "between 40 and"),
        ({"sensor": "s2", "size": 4}, "between 8 and"),
        ({"sensor": "hyperspectral", "endmembers": 30}, "2 to 8 endmembers"),
        ({"sensor": "hyperspectral", "samples": 400, "fields": ("patch",), "patch": 4}, "odd side"),
    ],
)
def test_a_wrong_call_gets_one_line_that_helps(call, words):
    with pytest.raises(DataError) as error:
        synthetic.make(**call)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_sensor_is_found_for_what_a_method_needs():
    assert synthetic.sensor_for(("image",)) == "rgb"
    assert synthetic.sensor_for(("image",), prefer="s2") == "s2"
    assert synthetic.sensor_for(("spectrum",)) == "hyperspectral"
    assert synthetic.sensor_for(("video", "depth")) == "uav"
    with pytest.raises(DataError, match="no simulated sensor"):
        synthetic.sensor_for(("video", "spectrum"))


def test_a_cube_is_as_square_as_the_number_of_pixels_allows():
    assert hyperspectral.cube_shape(10_000) == (100, 100)
    assert hyperspectral.cube_shape(2000) == (40, 50)
    assert hyperspectral.cube_shape(1999) == (45, 45)  # a prime: rounded
