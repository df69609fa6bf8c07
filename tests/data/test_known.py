"""Names that `--data` knows, what they give, and the messages when a name or a field is wrong."""

from __future__ import annotations

import pytest

from refimpl.data import known
from refimpl.data.dataset import FIELDS, DataError
from refimpl.data.known import KNOWN, describe, matching, open_data, require

SYNTHETIC = [entry for entry in KNOWN if entry.startswith("synthetic")]


def test_every_entry_says_what_it_is_and_gives_real_fields():
    for spec, entry in KNOWN.items():
        assert entry.name == spec
        assert entry.line
        assert entry.how
        assert set(entry.gives) <= set(FIELDS)


@pytest.mark.parametrize("spec", SYNTHETIC)
def test_synthetic_sets_give_exactly_what_is_promised(spec):
    samples = 2500 if "spectrum" in KNOWN[spec].gives else 40  # a cube needs room for blocks
    data = open_data(spec, samples=samples, size=16, needs=KNOWN[spec].gives)
    assert data.synthetic
    assert data.name == spec
    assert data.gives == set(KNOWN[spec].gives)


def test_a_synthetic_set_simulates_costly_fields_only_when_needed():
    assert open_data("synthetic", samples=48, size=16).gives == {"image", "location", "date", "label"}
    assert "series" in open_data("synthetic", samples=48, size=16, needs=["image", "series"]).gives


def test_bands_of_a_synthetic_set_can_be_chosen():
    everything = open_data("synthetic", samples=48, size=16)
    first, last = everything.inputs["image"].bands[0], everything.inputs["image"].bands[-1]
    chosen = open_data("synthetic", samples=48, size=16, bands=f"{last},{first}")
    assert chosen.inputs["image"].bands == (last, first)
    assert (chosen.fields["image"][:, 1] == everything.fields["image"][:, 0]).all()


def test_every_field_has_a_known_set():
    assert {field for field in FIELDS if not matching([field])} == set()


def test_matching_lists_the_synthetic_set_first():
    assert matching(["image"])[0] == "synthetic"
    assert "eurosat" in matching(["image", "label"])
    assert "eurosat" not in matching(["image", "location"])
    assert matching(["image", "abundances"]) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("eurosta", "unknown data set 'eurosta'; did you mean eurosat"),
        ("Synthetic", "unknown data set 'Synthetic'; did you mean synthetic"),
        ("qqqq", "unknown data set 'qqqq'; known are synthetic, "),
        ("gone/set.zip", "gone/set.zip: no such file or folder; check the path"),
        ("set.npz", "set.npz: no such file or folder"),
    ],
)
def test_an_unknown_name_gets_the_nearest(message, spec, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        open_data(spec)
    assert expected in message(error)


def test_a_path_opens_like_a_name(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make.class_folders(tmp_path / "set", {"a": 5, "b": 5})
    assert open_data("set", seed=3, samples=4).name == "set"


def test_eurosat_is_opened_by_its_loader(monkeypatch):
    asked = {}
    entry = KNOWN["eurosat-ms"]
    monkeypatch.setitem(KNOWN, "eurosat-ms", known.replace(entry, open=lambda **wishes: asked.update(wishes)))
    open_data("eurosat-ms", bands="B08", size=32, seed=2, samples=5, needs=["image"])
    assert asked == {"bands": "B08", "size": 32, "seed": 2, "samples": 5, "needs": ("image",)}


def test_what_is_missing_is_said_with_the_sets_that_have_it(tmp_path, make, message):
    data = open_data(str(make.class_folders(tmp_path / "xyz", {"only": 4})))
    require(data, ["image"], "simclr")
    with pytest.raises(DataError) as error:
        require(data, ["image", "location"], "tile2vec")
    text = message(error)
    assert text.startswith("tile2vec needs location, which 'xyz' does not have (GeoTIFFs, or an array 'location' in an")
    assert text.endswith(f"; data sets that have it: {', '.join(matching(['image', 'location']))}")
    with pytest.raises(DataError) as error:
        require(data, ["image", "label"], "a linear probe")
    assert "label, which 'xyz' does not have (two or more class folders or an index.csv give it)" in message(error)


def test_describe_names_fields_bands_classes_and_source(tmp_path, make):
    rows = dict(describe(open_data(str(make.class_folders(tmp_path / "set", {"a": 10, "b": 10})))))
    assert rows["samples"] == "20"
    assert rows["splits"] == "train 12, val 4, test 4"
    assert rows["image"].startswith("3 x 8 x 8 uint8, 3.8 KiB")
    assert rows["classes"] == "a 10, b 10"
    assert rows["bands of image"] == "3: red, green, blue"
    assert rows["source"] == "folder set"
