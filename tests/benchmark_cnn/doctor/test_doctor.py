"""`python -m benchmark_cnn.doctor`, as a user types it, on a machine that lacks something."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys

from benchmark_cnn.doctor import gpus, machine
from tests.conftest import ROOT


def doctor(*flags):
    command = [sys.executable, "-m", "benchmark_cnn.doctor", *flags]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_what_is_there_and_what_is_missing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, but it does not listen
        there, refused = server.getsockname()[1], silent.getsockname()[1]
        hosts = f"127.0.0.1:{there},127.0.0.1:{refused},nowhere.invalid:7"
        answer = doctor("--json", f"--train_dir={tmp_path}/run", f"--worker_hosts={hosts}")
    report = json.loads(answer.stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert answer.returncode == 1, answer.stderr
    assert not report["can_train"]
    assert [name for name, f in found.items() if f["status"] == "missing"] == [
        "Worker nowhere.invalid:7"
    ]
    assert found[f"Worker 127.0.0.1:{there}"]["value"].startswith("answers")
    assert "no worker listens there yet" in found[f"Worker 127.0.0.1:{refused}"]["value"]
    assert "MB/s" in found[f"Disk {tmp_path}/run"]["value"]
    assert found["All-reduce"]["value"].startswith("right over 2 towers on the CPU")
    assert found["TensorFlow"]["value"] == "sees no GPU: training runs on the CPU"
    assert not any(tmp_path.iterdir())


def test_a_library_is_tried_by_its_name():
    assert gpus._load("libc.so.6", None) == ""
    assert gpus._load("libabsent.so.12", "absent") is None


def test_few_open_files_and_a_disk_that_cannot_be_written():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        files, *_ = [f for f in machine.resources("/proc") if f.name == "Open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (files.status, files.advice) == (
        "problem", "run `ulimit -n 4096` before the training"
    )  # fmt: skip
    disk = machine.resources("/proc")[-1]
    assert (disk.name, disk.status) == ("Disk /proc", "missing")
    assert disk.value.startswith("cannot be written: ")
