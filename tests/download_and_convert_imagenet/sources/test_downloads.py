from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest

from download_and_convert_imagenet.sources import downloads
from download_and_convert_imagenet.sources.downloads import DownloadError, RemoteFile, download
from tests.download_and_convert_imagenet.bad_disks import full_disk

CONTENT = np.random.default_rng(7).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT by ranges; the server's attributes say how it misbehaves."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.statuses:
            status = server.statuses.pop(0)
            if status != 200:
                self.send_error(status)
                return
        start = int(asked[len("bytes=") : -1]) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            last = len(CONTENT) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = min(len(CONTENT), start + server.bytes_per_connection)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges, server.statuses = [], []
    server.knows_ranges, server.bytes_per_connection = True, len(CONTENT)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def file(server):
    url = f"http://127.0.0.1:{server.server_address[1]}/data.bin"
    return RemoteFile("data.bin", "Data", url, hashlib.md5(CONTENT).hexdigest())


def fetch(file, directory, **options):
    return download(file, directory, first_pause_secs=0.001, **options)


def test_a_file_arrives_once(file, server, tmp_path):
    seen = []
    path = fetch(file, tmp_path / "raw", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["data.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert fetch(file, tmp_path / "raw") == path
    assert server.ranges == [None]


def test_a_broken_connection_goes_on_where_it_stopped(file, server, tmp_path):
    server.bytes_per_connection = 1_200_000
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1200000-", "bytes=2400000-"]


def test_a_later_run_goes_on(file, server, tmp_path):
    (tmp_path / ".data.bin.partial").write_bytes(CONTENT[:2_900_000])
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=2900000-"]


def test_a_run_that_stopped_before_the_checksum(file, server, tmp_path):
    (tmp_path / ".data.bin.partial").write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=3000000-"]


def test_a_server_without_ranges_starts_anew(file, server, tmp_path):
    server.knows_ranges = False
    (tmp_path / ".data.bin.partial").write_bytes(b"something else")
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_server_in_trouble_is_asked_again(file, server, tmp_path):
    server.statuses = [503, 500, 200]
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert len(server.ranges) == 3


def test_it_gives_up_and_keeps_what_is_there(file, server, tmp_path):
    server.bytes_per_connection = 0
    (tmp_path / ".data.bin.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match=r"after 1,000 of 3,000,000 bytes.*run ag") as caught:
        fetch(file, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.ranges) == 5
    assert (tmp_path / ".data.bin.partial").read_bytes() == CONTENT[:1000]


def test_a_file_that_is_not_there_is_asked_for_once(file, server, tmp_path):
    server.statuses = [404] * 9
    with pytest.raises(DownloadError, match=r"HTTP 404 .*put data\.bin .MD5"):
        fetch(file, tmp_path)
    assert len(server.ranges) == 1


def test_no_server(file, server, tmp_path):
    absent = replace(file, url="http://127.0.0.1:9/data.bin")
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch(absent, tmp_path)


def test_another_content_is_thrown_away(file, server, tmp_path):
    (tmp_path / ".data.bin.partial").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match="3,000,000 bytes with MD5"):
        fetch(file, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_full_disk_is_told_with_the_file(file, server, tmp_path):
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        fetch(file, tmp_path)
    assert caught.value.filename == str(tmp_path / ".data.bin.partial")


def test_what_needs_an_account_is_told(tmp_path):
    for file in (downloads.IMAGENET_TRAIN, downloads.IMAGENET_VALIDATION):
        with pytest.raises(DownloadError) as caught:
            fetch(file, tmp_path)
        message = str(caught.value)
        for part in (str(tmp_path / file.name), f"{file.num_bytes:,} bytes", file.md5, "log in at"):
            assert part in message
        assert "\n" not in message


def test_the_published_checksums():
    files = [value for value in vars(downloads).values() if isinstance(value, RemoteFile)]
    assert {file.name: file.md5 for file in files} == {
        "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
        "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
        "ILSVRC2012_bbox_train_v2.tar.gz": "9271167e2176350e65cfe4e546f14b17",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    }
