"""run.json, read back as JSON."""

import datetime
import json
import math
import os
import platform
import subprocess
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.reporting import run_record
from benchmark_cnn.reporting.run_record import RunRecord
from common.errors import NonFiniteError

COMMAND = ["/opt/somewhere/train.py", "--model=lenet", "--num_batches=20"]
DEVICES = SimpleNamespace(kind="cpu", towers=("/device:CPU:0", "/device:CPU:1"))


def starts(path):
    return json.loads(path.read_text())["starts"]


def git(directory, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    git(root, "init", "-q")
    (root / "train.py").write_text("one\n")
    git(root, "add", "train.py")
    git(root, "commit", "-q", "-m", "first")
    return root


class TestRecord:
    def test_a_run_that_is_done(self, tmp_path):
        path = tmp_path / "run.json"
        with RunRecord(path, COMMAND, DEVICES) as record:
            (start,) = starts(path)
            assert (start["ended"], start["outcome"]) == (None, None)
            record.finish({"global_step": 20, "images_per_sec": 146.38, "top_1": 0.75})
        (start,) = starts(path)
        assert start["outcome"] == "done"
        assert start["result"] == {"global_step": 20, "images_per_sec": 146.38, "top_1": 0.75}
        assert start["start_step"] == 0
        assert start["devices"] == {"kind": "cpu", "towers": ["/device:CPU:0", "/device:CPU:1"]}

    def test_times_are_now_and_in_utc(self, tmp_path):
        before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        with RunRecord(tmp_path / "run.json", COMMAND, DEVICES) as record:
            record.finish({})
        after = datetime.datetime.now(datetime.timezone.utc)
        (start,) = starts(tmp_path / "run.json")
        times = [datetime.datetime.fromisoformat(start[name]) for name in ("started", "ended")]
        assert before <= times[0] <= times[1] <= after
        assert times[0].utcoffset() == datetime.timedelta(0)

    def test_versions_are_those_that_run(self, tmp_path):
        RunRecord(tmp_path / "run.json", COMMAND, DEVICES)
        (start,) = starts(tmp_path / "run.json")
        assert start["versions"] == {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "tensorflow-imagenet": "0.1.0",
        }

    def test_it_names_the_host_and_no_directory(self, tmp_path):
        RunRecord(tmp_path / "run.json", COMMAND, DEVICES)
        text = (tmp_path / "run.json").read_text()
        assert "/opt/somewhere" not in text
        assert str(tmp_path) not in text
        (start,) = starts(tmp_path / "run.json")
        assert start["command_line"] == ["train.py", *COMMAND[1:]]
        assert set(start) == {
            *("started", "ended", "outcome", "start_step", "command_line"),
            *("host", "versions", "git", "devices", "cpu"),
        }

    def test_resumes_are_appended(self, tmp_path):
        path = tmp_path / "run.json"
        RunRecord(path, COMMAND, DEVICES)  # This one is killed.
        with RunRecord(path, [*COMMAND, "--batch_size=8"], DEVICES, start_step=10) as record:
            record.finish({"global_step": 20})
        RunRecord(path, COMMAND, DEVICES, start_step=20)
        assert [start["start_step"] for start in starts(path)] == [0, 10, 20]
        assert [start["outcome"] for start in starts(path)] == [None, "done", None]
        assert starts(path)[1]["command_line"][-1] == "--batch_size=8"

    def test_an_error_ends_with_its_line(self, tmp_path):
        with (
            pytest.raises(NonFiniteError),
            RunRecord(tmp_path / "run.json", COMMAND, DEVICES),
        ):
            raise NonFiniteError("total_loss not finite at step 7\nmore of it")
        (start,) = starts(tmp_path / "run.json")
        assert start["outcome"] == "total_loss not finite at step 7"
        assert start["ended"] is not None

    def test_an_error_without_words(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), RunRecord(tmp_path / "run.json", [], DEVICES):
            raise KeyboardInterrupt
        assert starts(tmp_path / "run.json")[0]["outcome"] == "KeyboardInterrupt()"

    def test_a_full_disk_does_not_hide_the_error(self, tmp_path, monkeypatch):
        def full_disk(_descriptor):
            raise OSError(28, "No space left on device")

        record = RunRecord(tmp_path / "run.json", COMMAND, DEVICES)
        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(NonFiniteError, match="the reason"), record:
            raise NonFiniteError("the reason")
        assert starts(tmp_path / "run.json")[0]["outcome"] is None

    def test_numbers_of_every_kind(self, tmp_path):
        values = {
            "nan": math.nan,
            "infinite": np.float32(math.inf),
            "absent": None,
            "float": np.float32(0.5),
            "integer": np.int64(7),
        }
        with RunRecord(tmp_path / "run.json", COMMAND, DEVICES) as record:
            record.finish(values)
        result = starts(tmp_path / "run.json")[0]["result"]
        assert result == {
            "nan": None,
            "infinite": None,
            "absent": None,
            "float": 0.5,
            "integer": 7,
        }
        assert isinstance(result["integer"], int)

    @pytest.mark.parametrize("damage", ["", "{", "[]", '{"starts": 1}', "null"])
    def test_a_damaged_file_gives_way_with_a_warning(self, tmp_path, caplog, damage):
        (tmp_path / "run.json").write_text(damage)
        RunRecord(tmp_path / "run.json", COMMAND, DEVICES)
        assert len(starts(tmp_path / "run.json")) == 1
        assert "run.json cannot be read" in caplog.text

    def test_nothing_else_is_left(self, tmp_path):
        RunRecord(tmp_path / "run.json", COMMAND, DEVICES)
        assert os.listdir(tmp_path) == ["run.json"]


class TestGit:
    def test_commit_and_changes(self, repository):
        commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
        assert run_record.git_state(repository) == {"commit": commit.strip(), "dirty": False}
        (repository / "notes.txt").write_text("not under version control\n")
        assert run_record.git_state(repository)["dirty"] is False
        (repository / "train.py").write_text("two\n")
        assert run_record.git_state(repository) == {"commit": commit.strip(), "dirty": True}

    def test_no_repository(self, tmp_path):
        assert run_record.git_state(tmp_path) is None

    def test_a_repository_without_a_commit(self, tmp_path):
        git(tmp_path, "init", "-q")
        assert run_record.git_state(tmp_path) is None

    def test_a_directory_in_the_repository_of_another_project(self, repository):
        (repository / "site-packages").mkdir()
        assert run_record.git_state(repository / "site-packages") is None

    def test_no_git(self, repository, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert run_record.git_state(repository) is None


def test_the_cpu():
    cpu = run_record.describe_cpu()
    assert cpu["model"]
    assert 1 <= cpu["usable_cores"] <= cpu["cores"]


def test_a_gpu_run_names_its_libraries():
    described = run_record.describe_devices("gpu", ["/device:GPU:0"])
    assert described["towers"] == ["/device:GPU:0"]
    assert len(described["gpus"]) == len(tf.config.list_physical_devices("GPU"))
    assert described["cuda"] == tf.sysconfig.get_build_info().get("cuda_version")
