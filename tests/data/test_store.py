"""Decoding once: what is kept, when it is trusted, and what a kill, a full disk or a second process does to it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from refimpl.data import decode, store
from refimpl.data.dataset import DataError
from refimpl.data.files import Files
from refimpl.data.sources import open_path


def fill(folder: Path) -> dict:
    np.save(folder / "image.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2))
    return {"bands": ["a", "b", "c"]}


def refuse(folder: Path) -> dict:
    raise AssertionError("decoded again although a complete store was there")


def test_a_store_is_written_once_and_read_back(cache):
    folder = cache / "decoded" / "x"
    store.build(folder, fill)
    again = store.build(folder, refuse)
    assert again.facts["bands"] == ["a", "b", "c"]
    assert isinstance(again.arrays["image"], np.memmap)
    assert np.array_equal(again.arrays["image"].ravel(), np.arange(24))


@pytest.mark.parametrize("harm", ["shorten", "no manifest", "broken manifest", "other shape"])
def test_a_damaged_store_is_made_anew(cache, harm):
    folder = cache / "decoded" / "x"
    store.build(folder, fill)
    manifest = folder / "manifest.json"
    if harm == "shorten":
        os.truncate(folder / "image.npy", 140)
    elif harm == "no manifest":
        manifest.unlink()
    elif harm == "broken manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        facts = json.loads(manifest.read_text())
        facts["arrays"]["image"]["shape"] = [24]
        manifest.write_text(json.dumps(facts))
    assert store.load(folder) is None
    assert np.array_equal(store.build(folder, fill).arrays["image"].ravel(), np.arange(24))


def test_an_array_that_is_cut_short_in_use_is_named_instead_of_ending_the_process(cache, message):
    folder = cache / "decoded" / "x"
    values = store.build(folder, fill).arrays["image"]
    part = values[1:]
    assert type(values[np.array([1, 0])]) is np.ndarray and type(values.sum()) is np.uint64 and values[1].sum() == 210
    os.truncate(folder / "image.npy", 100)
    for array in (values, part):
        with pytest.raises(DataError) as error:
            array[np.array([0])]
        assert message(error) == f"{folder}/image.npy: was cut short while it was in use; --resume decodes it again"
    assert store.build(folder, fill).arrays["image"][1].sum() == 210


def test_a_failed_decode_leaves_nothing(cache):
    def fail(folder: Path) -> dict:
        fill(folder)
        raise DataError("no")

    folder = cache / "decoded" / "x"
    with pytest.raises(DataError):
        store.build(folder, fail)
    assert [path.suffix for path in folder.parent.iterdir()] == [".lock"]


def _fill_and_wait(folder: str) -> None:
    def slow(part: Path) -> dict:
        fill(part)
        (part.parent / "started").touch()
        time.sleep(60)
        return {}

    store.build(Path(folder), slow)


def test_half_a_store_of_a_killed_process_is_not_trusted(cache):
    folder = cache / "decoded" / "x"
    process = multiprocessing.get_context("fork").Process(target=_fill_and_wait, args=(str(folder),))
    process.start()
    while not (folder.parent / "started").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (folder.parent / "x.part" / "image.npy").exists()  # it did die half-way
    assert store.load(folder) is None
    assert store.build(folder, fill).facts["bands"] == ["a", "b", "c"]
    assert not (folder.parent / "x.part").exists()


def _build_and_count(folder: str, count) -> None:
    def counted(part: Path) -> dict:
        with count.get_lock():
            count.value += 1
        time.sleep(0.1)
        return fill(part)

    store.build(Path(folder), counted)


def test_of_several_processes_one_decodes(cache):
    context = multiprocessing.get_context("fork")
    count = context.Value("i", 0)
    processes = [context.Process(target=_build_and_count, args=(str(cache / "decoded" / "x"), count)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert count.value == 1


def test_a_full_disk_is_one_line(cache, monkeypatch, message):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DataError) as error:
        store.build(cache / "decoded" / "x", lambda part: store.new_array(part / "image.npy", (2, 3), "uint8") or {})
    assert "the disk is full" in message(error)
    assert "REFIMPL_CACHE" in message(error)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, message):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REFIMPL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError) as error:
        store.build(store.store_folder("x", "0", {}), fill)
    assert "cannot be written" in message(error)
    assert "set REFIMPL_CACHE" in message(error)


def test_the_fingerprint_follows_the_content(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 2, "b": 2})
    archive = make.zip_of(folder, tmp_path / "set.zip")
    first = store.fingerprint(archive), store.fingerprint(folder)
    assert store.fingerprint(archive) == first[0]
    (folder / "a" / "0.png").write_bytes(make.png(99))
    make.zip_of(folder, archive)
    assert store.fingerprint(archive) != first[0]
    assert store.fingerprint(folder) != first[1]


def test_wishes_have_stores_of_their_own():
    names = {
        store.store_folder("x", content, asked).name
        for content in ("0", "1")
        for asked in ({"size": None}, {"size": 8}, {"size": 9})
    }
    assert len(names) == 6


def test_the_numbers_are_those_of_the_files(tmp_path, make):
    folder = make.class_folders(tmp_path / "set", {"a": 5, "b": 4})
    data = open_path(folder)
    assert data.fields["image"].dtype == np.uint8
    expected = np.stack([make.pixels(n).transpose(2, 0, 1) for n in range(9)])
    assert np.array_equal(data.fields["image"], expected)


def test_several_threads_fill_the_right_places(tmp_path, make, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 3)
    monkeypatch.setattr(store, "workers", lambda: 4)
    folder = make.class_folders(tmp_path / "set", {"a": 17})
    with Files(folder) as files:
        names = files.names
        form = decode.form_of(files.read(names[0]), names[0], "", None, None)
        store.decode_all(files, names, form, tmp_path / "image.npy")
    got = np.load(tmp_path / "image.npy")
    by_name = sorted(range(17), key=str)  # "10.png" comes before "2.png"
    assert np.array_equal(got, np.stack([make.pixels(n).transpose(2, 0, 1) for n in by_name]))


def test_nothing_is_printed_off_a_terminal(tmp_path, make, capfd):
    open_path(make.class_folders(tmp_path / "set", {"a": 2, "b": 2}))
    assert capfd.readouterr() == ("", "")


def test_opening_again_decodes_nothing(tmp_path, make, monkeypatch):
    path = make.zip_of(make.class_folders(tmp_path / "set", {"a": 3, "b": 3}), tmp_path / "set.zip")
    first = open_path(path)
    monkeypatch.setattr(store, "decode_all", refuse)
    monkeypatch.setattr(store, "hash_of", refuse)
    again = open_path(path)
    assert again.digest() == first.digest()
