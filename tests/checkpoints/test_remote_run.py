"""Runs on S3, at a server of moto on loopback that may go away at any request."""

from __future__ import annotations

import importlib.util
import logging
import time

import numpy as np
import pytest

from checkpoints import object_store, remote_run, store
from common.errors import DataError, UsageError
from tests import loopback_aws

URL = "s3://runs/all/lite0"
PLACE = "/runs/all/lite0/"


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, loopback_aws.moto_server() as running:
        for name, value in loopback_aws.environment(running.url).items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket="runs")
        yield running


@pytest.fixture(autouse=True)
def empty(server, monkeypatch):
    server.refuses = lambda method, path: False
    folder = object_store.Folder("s3://runs")
    folder.remove(folder.entries())
    server.requests.clear()
    for name, secs in (("_POLL_SECS", 0.05), ("_RETRY_SECS", 0.2), ("_LOG_SECS", 0.5)):
        monkeypatch.setattr(remote_run, name, secs)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)


class Run:
    """A training in `copy`, and what was said."""

    def __init__(self, copy, keep=2):
        self.copy, self.said, self.stops, self.keep = copy, [], [], keep

    def __enter__(self):
        self.opened = remote_run.opened(
            URL, self.copy, keep=self.keep, say=self.said.append, stop=self.stops.append
        )
        self.opened.__enter__()
        return self

    def __exit__(self, *error):
        return self.opened.__exit__(*error)

    def save(self, step):
        (self.copy / "metrics.csv").write_text(f"step {step}\n")
        store.save(self.copy, step, {"w": np.full([100], step, np.float32)}, keep=self.keep)


def newest(tmp_path):
    """The step that another machine would resume from, its weights verified."""
    prefix = store.latest(remote_run.download(URL, tmp_path / "elsewhere"))
    assert prefix is not None
    step = store.global_step(prefix)
    np.testing.assert_array_equal(store.read(prefix, ["w"])["w"], np.full([100], step))
    return step


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def there():
    return set(object_store.Folder(URL).entries())


def test_checkpoints_are_uploaded_as_they_come_and_the_index_last(server, tmp_path):
    with Run(tmp_path / "copy") as run:
        for step in (1, 2, 3):
            run.save(step)
            wait_for(lambda step=step: f"model.ckpt-{step}.index" in there())
    files = {f"model.ckpt-{n}.{suffix}" for n in (2, 3) for suffix in
             ("index", "json", "data-00000-of-00001")}  # fmt: skip
    assert there() == files | {"checkpoint", "metrics.csv", ".owner"}
    assert newest(tmp_path) == 3
    assert (tmp_path / "elsewhere" / "metrics.csv").read_text() == "step 3\n"
    order = [path.removeprefix(PLACE) for method, path in server.requests if method == "PUT"]
    names = [f"model.ckpt-3.{suffix}" for suffix in ("data-00000-of-00001", "json", "index")]
    first = [order.index(name) for name in names]
    assert first == sorted(first)
    assert order[::-1].index("checkpoint") < order[::-1].index(names[-1])
    assert run.said == [f"{URL} is up to date: step 3"]


@pytest.mark.parametrize("part", ["data-00000-of-00001", "index", "checkpoint"])
def test_an_endpoint_that_goes_away_in_an_upload_leaves_the_last_complete_one(
    server, tmp_path, part
):
    with Run(tmp_path / "copy") as run:
        run.save(1)
        wait_for(lambda: "checkpoint" in there())
        gone = []

        def refuses(method, path):
            if method == "PUT" and path.endswith(part):
                gone.append(path)
            return method == "PUT" and bool(gone)

        server.refuses = refuses
        run.save(2)
        wait_for(lambda: run.said)
        run.save(3)  # training continues
        assert newest(tmp_path) == (2 if part == "checkpoint" else 1)
        server.refuses = lambda method, path: False
        wait_for(lambda: "model.ckpt-3.index" in there())
    assert newest(tmp_path) == 3
    assert run.said[0].startswith(f"Warning: cannot write {URL}: ")
    assert run.said[0].endswith("; training continues, and it is tried again")
    assert all("\n" not in line for line in run.said)
    assert run.said[1:] == [f"{URL} is up to date again", f"{URL} is up to date: step 3"]


def test_what_could_not_be_uploaded_is_uploaded_by_the_same_command(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_run, "_FINAL_ATTEMPTS", 1)

    def train():
        with Run(tmp_path / "copy") as run:
            run.save(1)
            wait_for(lambda: "checkpoint" in there())
            server.refuses = lambda method, path: True
            run.save(2)

    with pytest.raises(object_store.ObjectStoreError, match=r"Nothing is lost: .*copy holds the"):
        train()
    server.refuses = lambda method, path: False
    assert newest(tmp_path) == 1
    with Run(tmp_path / "copy") as again:
        assert store.latest(again.copy) == str(again.copy / "model.ckpt-2")
    assert newest(tmp_path) == 2


def test_another_machine_takes_over_and_the_first_one_stops(server, tmp_path):
    first = Run(tmp_path / "first")

    def train():
        with first:
            first.save(1)
            wait_for(lambda: "checkpoint" in there())
            with Run(tmp_path / "second") as second:
                assert store.global_step(second.copy) == 1
                second.save(2)
            first.save(5)
            wait_for(lambda: first.stops)

    with pytest.raises(remote_run.LostError, match="another process trains in"):
        train()
    assert newest(tmp_path) == 2
    assert first.stops == [f"another process trains in {URL} since"]
    # The first machine begins again: its step 5 belongs to a branch that was given up.
    with Run(tmp_path / "first") as first:
        assert store.global_step(first.copy) == 2
    assert "the earlier copy is now" in first.said[0]
    (aside,) = tmp_path.glob("first.*")
    assert store.global_step(aside) == 5


def test_a_deleted_folder_begins_again_and_a_damaged_checkpoint_is_passed_over(tmp_path):
    with Run(tmp_path / "copy") as run:
        run.save(1)
        run.save(2)
    folder = object_store.Folder(URL)
    folder.write("model.ckpt-2.data-00000-of-00001", b"\0" * 400)
    with Run(tmp_path / "other") as other:
        assert store.global_step(other.copy) == 1
        assert not (other.copy / "model.ckpt-2.index").exists()
        other.save(2)  # replaces the damaged one
    assert newest(tmp_path) == 2
    folder.remove(folder.entries())
    with Run(tmp_path / "other") as other:
        assert store.latest(other.copy) is None


def test_the_best_checkpoint_moves_along(tmp_path):
    from checkpoints import best

    with Run(tmp_path / "copy") as run:
        for step, top_1 in ((1, 0.5), (2, 0.7)):
            run.save(step)
            prefix = run.copy / f"model.ckpt-{step}"
            best.save_best(run.copy, prefix, {"top_1": top_1, "top_5": 1.0, "loss": 1.0})
            wait_for(lambda step=step: f"best/model.ckpt-{step}.index" in there())
    assert {name for name in there() if name.startswith("best/model")} == {
        f"best/model.ckpt-2.{suffix}" for suffix in ("index", "json", "data-00000-of-00001")
    }
    with Run(tmp_path / "other") as other:
        assert best.best_metrics(other.copy)["top_1"] == 0.7  # type: ignore[index]


def test_one_checkpoint_of_several_is_downloaded(tmp_path):
    with Run(tmp_path / "copy", keep=5) as run:
        run.save(1)
        run.save(2)
    prefix = remote_run.download(f"{URL}/model.ckpt-1", tmp_path / "read" / "model.ckpt-1")
    assert store.global_step(prefix) == 1
    assert not list((tmp_path / "read").glob("model.ckpt-2*"))
    for url in (f"{URL}/model.ckpt-9", "s3://runs/absent"):
        with pytest.raises(DataError, match="holds no complete checkpoint"):
            remote_run.download(url, tmp_path / "none")


def test_mistakes_are_one_line(server, tmp_path):
    absent = object_store.Folder("s3://absent/run")
    with pytest.raises(object_store.ObjectStoreError, match="cannot write s3://absent") as error:
        absent.write("a", b"")
    assert "\n" not in str(error.value)
    assert loopback_aws.SECRET not in str(error.value)
    if importlib.util.find_spec("gcsfs") is None:
        with pytest.raises(UsageError, match=r"gs://b/run needs the library gcsfs: pip install "):
            object_store.Folder("gs://b/run")
