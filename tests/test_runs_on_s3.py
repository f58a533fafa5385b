"""train.py and eval.py with data and runs on S3, at a server of moto on loopback."""

from __future__ import annotations

import logging

import pytest

import eval as evaluation
import export
import train
from checkpoints import object_store, remote_run, store
from common import paths, process
from tests import loopback_aws, test_cluster_faults

RUN, DATA = "s3://runs/all/lenet", "s3://data/digits"
COMMAND = [
    "--device=cpu", "--model=lenet", "--batch_size=8", f"--data_dir={DATA}", f"--train_dir={RUN}",
    "--save_model_steps=2", "--display_every=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that holds the digits."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    directory = tmp_path_factory.mktemp("digits") / "digits"
    local = ["--device=cpu", "--model=trivial", "--batch_size=4", "--num_batches=1"]
    assert train.main([*local, f"--data_dir={directory}", "--data_name=digits"]) == 0
    with pytest.MonkeyPatch.context() as patch, loopback_aws.moto_server() as running:
        for name, value in loopback_aws.environment(running.url).items():
            patch.setenv(name, value)
        patch.setattr("s3fs.S3FileSystem.retries", 1)
        patch.setattr(remote_run, "_FINAL_ATTEMPTS", 1)
        import boto3

        for bucket in ("runs", "data"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        folder = object_store.Folder(DATA)
        for path in directory.iterdir():
            folder.upload(path, path.name)
        yield running


def machine(tmp_path, monkeypatch, name):
    """Makes this process one that has no copy of anything yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_run_on_s3_survives_its_machine_and_its_endpoint(server, tmp_path, monkeypatch, capfd):
    machine(tmp_path, monkeypatch, "first")
    assert train.main([*COMMAND, "--num_batches=4"]) == 0
    assert "model.ckpt-4.index" in object_store.Folder(RUN).entries()
    assert not list(tmp_path.glob("s3:*"))
    copied = {path.name for path in paths.copy_of(DATA, "data").iterdir()}
    assert any(name.startswith("train-") for name in copied)
    assert not any(name.startswith("validation-") for name in copied)

    machine(tmp_path, monkeypatch, "second")
    capfd.readouterr()
    assert train.main([*COMMAND, "--num_batches=6"]) == 0
    assert "at step 4" in capfd.readouterr().out
    server.refuses = lambda method, path: method == "PUT" and "model.ckpt" in path
    assert train.main([*COMMAND, "--num_batches=8"]) == 3
    err = capfd.readouterr().err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1
    assert f"cannot write {RUN}" in err
    assert "the same command on this machine uploads it" in err
    server.refuses = lambda method, path: False
    assert store.global_step(remote_run.download(RUN, tmp_path / "there")) == 6
    assert train.main([*COMMAND, "--num_batches=8"]) == 0
    assert store.global_step(remote_run.download(RUN, tmp_path / "there")) == 8

    machine(tmp_path, monkeypatch, "third")
    capfd.readouterr()
    assert evaluation.main([f"--train_dir={RUN}", "--device=cpu"]) == 0
    assert "Accuracy" in capfd.readouterr().out
    exported = tmp_path / "lenet.tflite"
    assert export.main([f"--train_dir={RUN}", f"--output_tflite={exported}"]) == 0
    assert exported.stat().st_size > 1000
    assert "eval/eval.json" in object_store.Folder(RUN).entries()


@pytest.mark.slow
def test_of_two_workers_the_chief_alone_uploads(server, tmp_path, monkeypatch):
    url = "s3://runs/two/lenet"

    def train_on(machines, steps):
        """Trains on two machines that have no copy of anything yet; returns the chief's lines."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in process.free_ports(2))
        workers = [
            test_cluster_faults.start(
                index, hosts, url, DATA, steps=steps,
                prefix=("env", f"XDG_CACHE_HOME={tmp_path / name}"),
            )
            for index, name in enumerate(machines)
        ]  # fmt: skip
        try:
            codes = test_cluster_faults.wait_for_ends(workers, 240)
        finally:
            for worker in workers:
                worker.process.kill()
        assert codes == [0, 0], [worker.lines for worker in workers]
        return workers[0].lines

    train_on(["a", "b"], 100)
    uploads = [path for method, path in server.requests if method == "PUT" and "/two/" in path]
    for name in (".owner", "model.ckpt-50.index", "model.ckpt-100.index"):
        assert uploads.count(f"/runs/two/lenet/{name}") == 1, uploads
    for name, has_copy in (("a", True), ("b", False)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        assert paths.copy_of(DATA, "data").is_dir()
        assert paths.copy_of(url, "runs").exists() == has_copy
    lines = train_on(["c", "d"], 150)
    assert any("at step 100" in line for line in lines), lines
    assert store.global_step(remote_run.download(url, tmp_path / "there")) == 150


@pytest.mark.parametrize(
    ("program", "flags", "code", "line"),
    [
        (train, ["--model=lenet", "--data_dir=s3://data/none"], 3, "s3://data/none holds no files"),
        (train, ["--model=lenet", "--train_dir=s3:/runs/x"], 2, "is no URL: write s3://BUCKET/"),
        (train, ["--model=lenet", "--train_dir=s3://"], 2, "names no bucket"),
        (train, ["--model=lenet", "--train_dir=hdfs://a/b"], 2, "is a URL: only local"),
        (evaluation, ["--train_dir=s3://runs/none"], 3, "s3://runs/none holds no complete checkp"),
        (evaluation, ["--train_dir=s3://runs/none", "--all_checkpoints"], 2,
         "--all_checkpoints needs a local --train_dir"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(server, tmp_path, monkeypatch, capfd, program, flags, code, line):
    machine(tmp_path, monkeypatch, "none")
    assert program.main(flags) == code
    err = capfd.readouterr().err
    assert line in err
    assert len([each for each in err.splitlines() if each.startswith("error:")]) == 1
    assert not list(tmp_path.glob("s3:*"))
