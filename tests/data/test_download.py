"""Downloads against a server on this machine that breaks off, ignores ranges, lies, or is not there."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from refimpl.data import download as module
from refimpl.data.dataset import DataError
from refimpl.data.download import Remote, download

BODY = bytes(range(256)) * 8192  # 2 MiB


class Handler(BaseHTTPRequestHandler):
    """Sends BODY; the server's `plan` says how each request in turn is spoiled."""

    def do_GET(self):
        plan = self.server.plan
        act = plan.pop(0) if plan else "serve"
        start = 0
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if act.isdecimal():
            self.send_error(int(act))
            return
        if wanted and act != "ignore range":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(BODY):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(BODY)}")
                self.end_headers()
                return
            self.send_response(206)
            first = start + 7 if act == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        rest = BODY[start:]
        self.wfile.write(rest[: len(rest) // 2] if act == "break off" else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A server with a plan; `asked` collects the Range header of every request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.plan, server.asked = [], []
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def remote(server):
    url = f"http://127.0.0.1:{server.server_port}/set.zip"
    return Remote(url, "set.zip", "md5:" + hashlib.md5(BODY).hexdigest(), len(BODY))


def fetch(remote, folder, **more):
    return download(remote, folder, pause=0.0, **more)


def test_a_file_arrives_whole_and_is_not_fetched_twice(tmp_path, server, remote):
    path = fetch(remote, tmp_path / "d")
    assert path.read_bytes() == BODY
    assert fetch(remote, tmp_path / "d") == path
    assert server.asked == [None]
    assert sorted(file.suffix for file in (tmp_path / "d").iterdir()) == [".lock", ".zip"]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(tmp_path, server, remote):
    server.plan = ["break off", "break off"]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    half, three_quarters = len(BODY) // 2, len(BODY) * 3 // 4
    assert server.asked == [None, f"bytes={half}-", f"bytes={three_quarters}-"]


def test_a_part_left_by_a_killed_process_is_continued(tmp_path, server, remote):
    (tmp_path / "set.zip.part").write_bytes(BODY[:1000])
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.asked == ["bytes=1000-"]


def test_a_server_that_ignores_ranges_starts_over(tmp_path, server, remote):
    (tmp_path / "set.zip.part").write_bytes(b"x" * 1000)
    server.plan = ["ignore range"]
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_a_server_that_sends_another_range_starts_over(tmp_path, server, remote):
    (tmp_path / "set.zip.part").write_bytes(BODY[:1000])
    server.plan = ["other range"]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert server.asked == ["bytes=1000-", None]


def test_a_part_that_is_whole_needs_no_bytes(tmp_path, server, remote):
    (tmp_path / "set.zip.part").write_bytes(BODY)
    unsized = Remote(remote.url, remote.name, remote.checksum)
    assert fetch(unsized, tmp_path).read_bytes() == BODY
    assert server.asked == [f"bytes={len(BODY)}-"]


def test_a_part_that_is_too_long_is_dropped(tmp_path, server, remote):
    (tmp_path / "set.zip.part").write_bytes(BODY + b"more")
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_passing_faults_are_tried_again(tmp_path, server, remote):
    server.plan = ["503", "429", "500"]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert len(server.asked) == 4


def test_pauses_grow_and_end(tmp_path, server, remote, monkeypatch, message):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.plan = ["503"] * 20
    with pytest.raises(DataError) as error:
        download(remote, tmp_path)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert "no connection to 127.0.0.1 (HTTP 503); check the network and run the command again" in message(error)


def test_a_wrong_checksum_is_removed_and_said(tmp_path, server, remote, message):
    wrong = Remote(remote.url, remote.name, "sha256:" + "0" * 64, len(BODY))
    with pytest.raises(DataError) as error:
        fetch(wrong, tmp_path)
    found = hashlib.sha256(BODY).hexdigest()
    assert f"set.zip: what 127.0.0.1 sent has sha256 {found}, not {'0' * 64}, and was removed" in message(error)
    assert [file.name for file in tmp_path.iterdir() if "set.zip" in file.name] == ["set.zip.lock"]


def test_a_missing_file_is_not_asked_for_again(tmp_path, server, remote, message):
    server.plan = ["404", "404"]
    with pytest.raises(DataError) as error:
        fetch(remote, tmp_path)
    assert message(error) == (
        f"set.zip: {remote.url} answers HTTP 404; the file may have moved: fetch it by other means and pass its path"
    )
    assert len(server.asked) == 1


def test_no_network_is_one_line(tmp_path, message):
    with socket.socket() as probe:  # a port on which nobody listens
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DataError) as error:
        fetch(Remote(f"http://127.0.0.1:{port}/set.zip", "set.zip", "md5:0"), tmp_path)
    assert "set.zip: no connection to 127.0.0.1 (" in message(error)
    assert "or fetch http://127.0.0.1" in message(error)


def test_a_full_disk_keeps_the_part(tmp_path, server, remote, monkeypatch, message):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as error:
        fetch(remote, tmp_path)
    assert "the disk is full at" in message(error)
    assert (tmp_path / "set.zip.part").exists()


def test_a_present_file_of_another_size_is_not_trusted(tmp_path, remote, message):
    (tmp_path / "set.zip").write_bytes(b"short")
    with pytest.raises(DataError) as error:
        fetch(remote, tmp_path)
    assert message(error) == (
        f"{tmp_path / 'set.zip'}: has 5 bytes, not {len(BODY):,}; remove it and run the command again"
    )


def test_two_at_once_fetch_it_once(tmp_path, server, remote):
    threads = [threading.Thread(target=fetch, args=(remote, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "set.zip").read_bytes() == BODY
    assert server.asked == [None]


def test_nothing_is_printed_off_a_terminal(tmp_path, remote, capfd):
    fetch(remote, tmp_path)
    assert capfd.readouterr() == ("", "")
