from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources import downloads
from download_and_convert_imagenet.sources.downloads import RemoteFile, download
from tests.download_and_convert_imagenet.bad_disks import full_disk

CONTENT = np.random.default_rng(7).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the server's attributes say how it misbehaves."""

    def do_GET(self):
        server = self.server
        server.num_requests += 1
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        num_bytes = server.bytes_of_responses.pop(0) if server.bytes_of_responses else len(CONTENT)
        self.wfile.write(CONTENT[:num_bytes])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.num_requests, server.statuses, server.bytes_of_responses = 0, [], []
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
    assert server.num_requests == 1


def test_a_broken_connection_is_tried_again(file, server, tmp_path):
    server.bytes_of_responses = [1_200_000, 0]
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.num_requests == 3


def test_leftovers_of_a_killed_download_are_replaced(file, server, tmp_path):
    (tmp_path / ".data.bin.partial").write_bytes(b"something else")
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.bin"]


def test_server_errors_are_tried_again(file, server, tmp_path):
    server.statuses = [503, 500, 200]
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.num_requests == 3


def test_it_gives_up_after_five_attempts(file, server, tmp_path):
    server.bytes_of_responses = [1000] * 9
    with pytest.raises(DataError, match=r"after 1,000 of 3,000,000 bytes.*run ag") as caught:
        fetch(file, tmp_path)
    assert "\n" not in str(caught.value)
    assert server.num_requests == 5
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_requested_once(file, server, tmp_path):
    server.statuses = [404] * 9
    with pytest.raises(DataError, match=r"HTTP Error 404: Not Found.*put data\.bin .MD5"):
        fetch(file, tmp_path)
    assert server.num_requests == 1


def test_ctrl_c_leaves_nothing(file, server, tmp_path):
    def interrupt(num_bytes, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(file, tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_no_server(file, server, tmp_path):
    absent = replace(file, url="http://127.0.0.1:9/data.bin")
    with pytest.raises(DataError, match=r"could not be downloaded .*Connection refused"):
        fetch(absent, tmp_path)


def test_content_with_another_checksum_is_deleted(file, server, tmp_path):
    with pytest.raises(DataError, match="3,000,000 bytes with MD5"):
        fetch(replace(file, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_a_full_disk_names_the_file(file, server, tmp_path):
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        fetch(file, tmp_path)
    assert caught.value.filename == str(tmp_path / "data.bin")
    assert server.num_requests == 1


def test_files_that_need_an_account(tmp_path):
    for file in (downloads.IMAGENET_TRAIN, downloads.IMAGENET_VALIDATION):
        with pytest.raises(DataError) as caught:
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
