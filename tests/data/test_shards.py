"""Shards: the same images as from a folder, each shard read once an epoch, and every bad shard is one line."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import toy

from refimpl.cli import main
from refimpl.data import shards
from refimpl.data.dataset import Data, DataError
from refimpl.data.known import open_data
from refimpl.data.shards.reader import ShardReader
from refimpl.data.sources import open_path
from refimpl.engine import loop
from refimpl.engine.draws import epoch_generator
from refimpl.engine.feed import epoch_order
from refimpl.engine.method import Method
from refimpl.studies.build import build_method

CLASSES = ("lake", "wood")


def write(path: Path, files: dict[str, bytes]) -> Path:
    """A tar file with these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def written(folder: Path, count: int = 48, per_shard: int = 8, size: int = 8) -> Path:
    """`folder`/0.tar and so on: pictures of two classes that can be told apart, shuffled."""
    toys = toy(size=size, samples=count)
    for first in range(0, count, per_shard):
        files = {}
        for n in range(first, min(first + per_shard, count)):
            files[f"{n:04d}.png"] = png(toys.fields["image"][n].transpose(1, 2, 0))
            files[f"{n:04d}.cls"] = CLASSES[toys.fields["label"][n] % 2].encode()
        write(folder / f"{first // per_shard}.tar", files)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return written(tmp_path / "set")


def reader_of(data: Data) -> ShardReader:
    return data.fields["image"].reader


# -- what is in them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wishes", [{}, {"size": 4, "bands": "blue,red"}, {"samples": 20, "seed": 3}])
def test_the_same_as_a_folder_of_the_same_images(tmp_path, folder, wishes):
    rows = ["path,class"]
    for shard in sorted(folder.iterdir()):
        with tarfile.open(shard) as archive:
            archive.extractall(tmp_path / "files", filter="data")
            rows += [f"{n},{archive.extractfile(n[:4] + '.cls').read().decode()}" for n in archive.getnames()[::2]]
    (tmp_path / "files" / "index.csv").write_text("\n".join(rows))
    ours, theirs = open_data(f"shards:{folder}", **wishes), open_path(tmp_path / "files", **wishes)
    for field, values in theirs.fields.items():
        assert np.array_equal(np.asarray(ours.fields[field][:]), values), field
    assert ours.inputs == theirs.inputs and ours.classes == theirs.classes == CLASSES and ours.name == "set"
    for name, index in theirs.splits.items():
        assert np.array_equal(ours.splits[name], index), name
    image = ours.fields["image"]
    assert (image.shape, image.dtype, len(image)) == (theirs.fields["image"].shape, np.uint8, len(theirs))
    order = np.array([5, 0, 19, 0])
    assert np.array_equal(image[order], theirs.fields["image"][order])
    assert np.array_equal(image[7], theirs.fields["image"][7])


def test_names_of_shards_bring_the_split_and_notes_the_places(tmp_path):
    for part in ("train-0", "train-1", "val", "test_0"):
        files = {}
        for n in range(3):
            files[f"{n}.npy"] = npy(np.full((13, 4, 4), n, np.uint16))
            files[f"{n}.json"] = json.dumps({"label": n, "class": "abc"[n], "location": [n, 7.5]}).encode()
        write(tmp_path / "set" / f"{part}.tar", files)
    data = open_data(f"shards:{tmp_path}/set/t*.tar", bands="13,1")
    parts = {name: index.tolist() for name, index in data.splits.items() if len(index)}
    assert parts == {"test": [0, 1, 2], "train": [3, 4, 5, 6, 7, 8]} and data.name == "set"
    data = open_data(f"shards:{tmp_path}/set")
    assert {name: len(index) for name, index in data.splits.items()} == {"train": 6, "val": 3, "test": 3}
    assert data.classes == ("a", "b", "c") and data.fields["label"][:4].tolist() == [0, 1, 2, 0]
    assert data.fields["location"][1].tolist() == [1, 7.5]
    assert data.take("image", torch.tensor([2, 1]))[:, 0, 0, 0].tolist() == [2, 1]
    assert data.inputs["image"].bands == tuple(str(n + 1) for n in range(13))


@pytest.mark.parametrize(
    "values", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float64), np.zeros((3, 4, 4), np.int16)]
)
def test_arrays_of_either_order_are_read(tmp_path, values):
    write(tmp_path / "one.tar", {f"{n}.npy": npy(values + n) for n in range(4)})
    image = open_data(f"shards:{tmp_path}/one.tar").fields["image"]
    assert image.shape == (4, 1 if values.ndim == 2 else 3, 4, 4)
    assert image[2].min() == image[2].max() == 2 and image.dtype in (np.uint8, np.float32, np.int16)


def test_the_index_is_made_once_and_anew_when_a_shard_changes(folder, monkeypatch):
    first = open_data(f"shards:{folder}").digest()
    monkeypatch.setattr("refimpl.data.shards.index._fill", lambda *_: pytest.fail("read again"))
    assert open_data(f"shards:{folder}").digest() == first
    monkeypatch.undo()
    shutil.copy(folder / "0.tar", folder / "1.tar")
    assert open_data(f"shards:{folder}").digest() != first


def test_data_command_describes_them(folder, capsys):
    assert main(["data", f"shards:{folder}"]) == 0
    said = capsys.readouterr().out
    assert "6 shards" in said and "lake 24, wood 24" in said


# -- order and memory --------------------------------------------------------------------------------------------------


def epoch(data: Data, epoch: int = 0) -> torch.Tensor:
    train = torch.as_tensor(data.splits["train"])
    return epoch_order(Method.__new__(Method), data, train, epoch, epoch_generator(0, epoch, 0))


@pytest.mark.parametrize("batch", [3, 8])
def test_an_epoch_reads_every_shard_once_in_bounded_memory(folder, monkeypatch, batch):
    size = (folder / "0.tar").stat().st_size
    monkeypatch.setattr(shards, "WINDOW", 2 * size)
    monkeypatch.setattr(shards, "MEMORY", 4 * size)
    data = open_data(f"shards:{folder}")
    reader, orders = reader_of(data), [epoch(data, n) for n in range(2)]
    assert data.window == 2 and not torch.equal(*orders)
    together = []
    for order in orders:
        assert sorted(order.tolist()) == data.splits["train"].tolist()
        # As after a long while: nothing of the last epoch is left.
        reader._kept.clear()
        reader.held = reader.reads = 0
        for samples in order.split(batch):
            data.take("image", samples)
            together.append(len(set(data.chunks[samples.numpy()].tolist())))
            assert 0 < reader.held == sum(map(len, reader._kept.values())) <= reader.memory
        assert reader.reads == 6 * size
    assert max(together) > 1, "samples of several shards meet in a batch"


def test_samples_spread_over_more_shards_than_memory_holds_are_read_one_by_one(folder, monkeypatch):
    monkeypatch.setattr(shards, "MEMORY", (folder / "0.tar").stat().st_size)
    data = open_data(f"shards:{folder}")
    reader = reader_of(data)
    held, read = reader.held, reader.reads
    found = data.take("image", torch.arange(0, 48, 8))
    assert np.array_equal(found, open_data(f"shards:{folder}").fields["image"][np.arange(0, 48, 8)])
    assert reader.held == held and 0 < reader.reads - read < 6 * 400


# -- training ----------------------------------------------------------------------------------------------------------


class Cut(Exception):
    """Ends a run."""


def train(folder: Path, out: Path, after: int | None = None) -> dict[str, torch.Tensor]:
    """SimCLR on the shards of `folder` in four epochs of three steps; dies after a step. The weights at the end."""
    data = open_data(f"shards:{folder}")
    method = build_method("simclr", data.inputs, backbone="test_resnet", seed=0, dim=16)
    follow = method.after_step

    def dying(progress):
        follow(progress)
        if progress.step == after:
            raise Cut

    method.after_step = dying
    loop.train(
        method, data, method.recipe.but(batch=8, epochs=4), precision="fp32", folder=out, save_every=2, quiet=True
    )
    return method.state_dict()


@pytest.fixture
def small(folder, monkeypatch) -> Path:
    """The folder, two of whose shards are shuffled into one another, and no more than four kept."""
    size = (folder / "0.tar").stat().st_size
    monkeypatch.setattr(shards, "WINDOW", 2 * size)
    monkeypatch.setattr(shards, "MEMORY", 4 * size)
    return folder


def test_a_run_that_dies_or_loses_a_shard_resumes_to_the_same_bits(small, tmp_path, monkeypatch, message):
    whole = train(small, tmp_path / "whole")
    for after in (3, 5):  # in the first step of an epoch, and in its middle
        with pytest.raises(Cut):
            train(small, tmp_path / "run", after)

    read, seen = ShardReader._read, []

    def reading(self, shard, places):
        seen.append(self.paths[shard])
        if len(seen) == 12:
            seen[-1].rename(tmp_path / "away.tar")
        return read(self, shard, places)

    monkeypatch.setattr(ShardReader, "_read", reading)
    with pytest.raises(DataError) as error:
        train(small, tmp_path / "run")
    assert message(error) == f"{seen[-1].name}: vanished while it was in use; put it back, then --resume"
    shutil.move(tmp_path / "away.tar", seen[-1])
    resumed = train(small, tmp_path / "run")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_shard_that_is_cut_short_in_use_is_named(folder, message):
    data = open_data(f"shards:{folder}")
    reader_of(data)._kept.clear()
    path = folder / "4.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError) as error:
        data.take("image", torch.arange(len(data)))
    assert message(error) == "4.tar: cut short at byte 3000 while it was in use; put it back, then --resume"


def test_two_processes_do_what_one_does(workers, folder, tmp_path, monkeypatch):
    from two_processes import jobs

    spec = {"folder": str(folder), "cache": str(tmp_path / "cache")}
    monkeypatch.setattr(shards, "WINDOW", shards.WINDOW)  # the job sets it
    alone = jobs.train_on_shards(**spec)
    for found in workers.run("train_on_shards", **spec):
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=name)


# -- damage ------------------------------------------------------------------------------------------------------------


def refused(spec: Path | str, message) -> str:
    with pytest.raises(DataError) as error:
        data = open_data(f"shards:{spec}")
        data.take("image", torch.arange(len(data)))
    return message(error)


def test_no_shards(tmp_path, folder, message):
    assert "no .tar file there; did you mean set?" in refused(tmp_path / "sett", message)
    assert "in quotes" in refused(folder / "none-*.tar", message)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "a.tar.gz").touch()
    assert "gunzip" in refused(tmp_path / "packed", message)


@pytest.mark.parametrize("where", ["header", "name", "data", "end"])
def test_a_torn_shard_is_named(folder, message, where):
    path = folder / "3.tar"
    with tarfile.open(path) as archive:
        member = archive.getmembers()[6]
        end = archive.getmembers()[-1].offset_data + 512
    kept = {"header": member.offset + 100, "name": member.offset, "data": member.offset_data + 9, "end": end}[where]
    path.write_bytes(path.read_bytes()[:kept])
    said = refused(folder, message)
    assert "3.tar" in said and "get it again" in said
    if where == "data":
        assert f"{member.name}: cut short: it ends at byte {member.offset_data + member.size}, the file at" in said


def test_garbage_in_the_middle_is_no_end(folder, message):
    path = folder / "3.tar"
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        place = archive.getmembers()[6].offset
    content[place : place + 512] = b"x" * 512
    path.write_bytes(content)
    assert f"at byte {place} of" in refused(folder, message)


@pytest.mark.parametrize("content, said", [(b"", "empty"), (b"no tar " * 99, "get it again"), (None, "gunzip")])
def test_what_is_no_tar_file(folder, message, content, said):
    path = folder / "3.tar"
    path.write_bytes(gzip.compress(path.read_bytes()) if content is None else content)
    text = refused(folder, message)
    assert text.startswith("3.tar: no whole tar file") and said in text


FOREIGN = [
    ({"a.txt": b"1"}, "0.tar: holds no images"),
    ({"a.npy": npy(np.array([object()]))}, "0.tar: a.npy: cannot be decoded (Object arrays cannot be loaded"),
    ({"a.npy": npy(np.zeros((3, 4, 5)))}, "0.tar: a.npy: 4 x 5 pixels"),
    ({"a.npy": npy(np.zeros(5))}, "0.tar: a.npy: has the shape (5,)"),
    ({"a.npy": npy(np.zeros((3, 4, 4), np.int64))}, "0.tar: a.npy: holds int64"),
    ({"a.npz": b"PK\3\4"}, "0.tar: a.npz: cannot be decoded"),
    ({"a.png": b""}, "0.tar: a.png: has 0 B, which is no image"),
    ({"a.png": png(np.zeros((4, 4, 3), np.uint8))[:45]}, "0.tar: a.png: cannot be decoded"),
    ({"a.png": png(np.zeros((4, 4, 3), np.uint8)), "b.npy": npy(np.zeros((3, 4, 4)))}, "0.tar: b.npy: arrays and"),
    ({"a.npy": npy(np.zeros((3, 4, 4))), "b.npy": npy(np.zeros((3, 5, 5)))}, "0.tar: b.npy: is (3, 5, 5) float32"),
    ({"a.png": b"1", "b.png": b"2", "a.cls": b"0", "b.cls": b"1"}, "0.tar: /a: has a label but no image beside it"),
    ({"a.png": b"1", "a.cls": b"0", "b.png": b"2"}, "0.tar: b.png: has no label, but others have one"),
    ({"a.png": b"1", "a.cls": b"-1"}, "0.tar: a.cls: label -1 is not a whole number from 0"),
    ({"a.png": b"1", "a.cls": b"\xff"}, "0.tar: a.cls: 'utf-8' codec"),
    ({"a.png": b"1", "a.json": b"{"}, "0.tar: a.json: Expecting"),
    ({"a.png": b"1", "a.json": b"3"}, "0.tar: a.json: 'int' object"),
    ({"a.png": b"1", "a.json": b'{"label": true}'}, "0.tar: a.json: label True"),
    ({"a.png": b"1", "a.json": b'{"class": 3}'}, "0.tar: a.json: class 3 is not a name"),
    ({"a.png": b"1", "a.json": b'{"location": [1]}'}, "0.tar: a.json: not enough values"),
    ({"a.png": b"1", "a.json": b'{"location": [1, NaN]}'}, "0.tar: a.json: location is not finite"),
    ({"0.png": b"1", "0.json": b'{"label": 0, "class": "x"}', "1.png": b"1", "1.json": b'{"label": 0, "class": "y"}'},
     "0.tar: 1.png: label 0 is class 'y' here but 'x' before"),
]  # fmt: skip


@pytest.mark.parametrize("files, said", FOREIGN, ids=[said for _, said in FOREIGN])
def test_members_that_cannot_be_used_are_named(tmp_path, message, files, said):
    write(tmp_path / "0.tar", files)
    assert refused(tmp_path, message).startswith(said)


def test_litter_and_links_are_passed_over(tmp_path):
    files = {"._0.png": b"litter", "0.png": png(np.zeros((4, 4, 3), np.uint8)), "0.txt": b"a caption"}
    path = write(tmp_path / "0.tar", files)
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE):
            member = tarfile.TarInfo(f"odd{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    data = open_data(f"shards:{tmp_path}")
    assert len(data) == 1 and data.gives == {"image"}


def test_a_folder_of_shards_given_as_a_folder_says_how(folder, message):
    with pytest.raises(DataError) as error:
        open_data(str(folder))
    assert f"--data shards:{folder}" in message(error)
