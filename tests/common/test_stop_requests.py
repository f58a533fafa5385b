"""A limit of time, and EC2's spot notice from a metadata service on loopback."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time

import pytest
from absl import logging

import train
from benchmark_cnn.reporting import console
from checkpoints import store
from common import process, stop_requests
from common.process import StopSignal

LENET = ["--device=cpu", "--model=lenet", "--batch_size=4"]
NOTICE = '{"action": "terminate", "time": "2026-11-29T22:00:00Z"}'


class Metadata(http.server.ThreadingHTTPServer):
    """Version 2 of EC2's service: a token by PUT, without which everything else is refused."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.notice = None
        self.tokens = ["first", "second"]
        self.polls = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self):
        lives = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        asks = self.path == "/latest/api/token" and 1 <= int(lives) <= 21600
        self.answer(200 if asks else 400, self.server.tokens[0])

    def do_GET(self):
        self.server.polls += 1
        if self.headers["X-aws-ec2-metadata-token"] != self.server.tokens[0]:
            self.answer(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and self.server.notice:
            self.answer(200, self.server.notice)
        else:
            self.answer(404, "")

    def answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def metadata(monkeypatch):
    server = Metadata()
    serve = {"target": server.serve_forever, "kwargs": {"poll_interval": 0.01}}
    threading.Thread(**serve, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be asked
    monkeypatch.setattr(stop_requests, "_POLL_SECS", 0.05)
    yield server
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def watching(stop, spot_notice):
    """Yields the threads that watch; they have ended when the block has."""
    before = set(threading.enumerate())
    with stop_requests.watching(stop, spot_notice=spot_notice, warn=logging.warning):
        threads = set(threading.enumerate()) - before
        yield threads
    for thread in threads:
        thread.join()


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_spot_notice_stops_the_run_also_after_the_token_has_expired(metadata, capfd):
    with StopSignal() as stop, watching(stop, "on"):
        wait_until(lambda: metadata.polls >= 2)
        assert stop.requested is None
        metadata.tokens.pop(0)
        polls = metadata.polls
        wait_until(lambda: metadata.polls >= polls + 3)
        assert stop.requested is None
        metadata.notice = NOTICE
        wait_until(lambda: stop.requested)
        assert stop.requested == "EC2's spot notice (terminate at 2026-11-29T22:00:00Z)"
    assert "EC2's spot notice (terminate at 2026" in capfd.readouterr().err


def test_a_service_that_does_not_answer_is_a_warning_once(metadata, monkeypatch, caplog):
    metadata.shutdown()
    metadata.server_close()
    poll, polls = stop_requests._SpotNotice.poll, []
    monkeypatch.setattr(
        stop_requests._SpotNotice, "poll", lambda notice: polls.append(poll(notice))
    )
    with StopSignal() as stop, watching(stop, "on"):
        wait_until(lambda: polls.count(None) >= 3)
        assert stop.requested is None
    assert len(caplog.records) == 1
    assert "does not answer" in caplog.text


@pytest.mark.parametrize("vendor", ["Amazon EC2\n", "QEMU\n", None])
def test_the_notice_is_asked_for_on_ec2_only(metadata, tmp_path, monkeypatch, vendor):
    file = tmp_path / "sys_vendor"
    if vendor is not None:
        file.write_text(vendor)
    monkeypatch.setattr(stop_requests, "_VENDOR_FILE", file)
    metadata.notice = NOTICE
    for choice in ("auto", "off"):
        metadata.polls = 0
        with StopSignal() as stop, watching(stop, choice) as threads:
            if choice == "auto" and vendor == "Amazon EC2\n":
                wait_until(lambda stop=stop: stop.requested)
            else:
                assert not threads
                assert (stop.requested, metadata.polls) == (None, 0)


def test_the_time_is_over_and_the_same_command_resumes(tmp_path, monkeypatch, capfd):
    """It is over at the third step, however long these took."""
    command = [*LENET, f"--train_dir={tmp_path}", "--display_every=1"]
    hour = 3600.0
    monkeypatch.setattr(process, "STARTED", time.monotonic() + hour)

    def end_the_time(line):
        if line.startswith("3\timages/sec"):
            process.STARTED = time.monotonic() - hour

    with console.routed_through(end_the_time):
        assert train.main([*command, "--num_batches=1000000", "--max_run_minutes=60"]) == 75
    step = store.global_step(tmp_path)
    line = f"stopped by --max_run_minutes=60 at step {step} of 1000000; the same command resumes"
    assert step >= 3
    assert line in capfd.readouterr().err
    assert train.main([*command, f"--num_batches={step + 1}", "--max_run_minutes=600"]) == 0
    assert store.global_step(tmp_path) == step + 1
