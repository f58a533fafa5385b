"""The run directory: one process at a time, tidy, and a wait that answers each checkpoint once."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark_cnn.run_directory import open_for_training
from benchmark_cnn.waiting import wait_for_new_checkpoint
from checkpoints import store
from common.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from benchmark_cnn.run_directory import open_for_training
with open_for_training(sys.argv[1]):
    print("tensorflow" in sys.modules, flush=True)
    sys.stdin.readline()
"""
TRY = """
import sys
from common.errors import RunError
from benchmark_cnn.run_directory import open_for_training
try:
    with open_for_training(sys.argv[1]):
        pass
except RunError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def python(program, *args):
    return [sys.executable, "-c", program, *map(str, args)]


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in tmp_path / "run"."""
    process = subprocess.Popen(
        python(HOLD, tmp_path / "run"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.tensorflow_imported = process.stdout.readline().strip()
    yield process
    process.kill()
    process.communicate()


def save(directory, step, value=1.0):
    return store.save(directory, step, {"w": np.full(3, value, np.float32)}, keep=0)


def flip_byte(path):
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)


class TestLock:
    def test_a_second_process_gets_one_line_and_exit_code_3(self, holder, tmp_path):
        second = subprocess.run(
            python(TRY, tmp_path / "run"), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert second.returncode == 3
        (line,) = second.stderr.splitlines()
        assert str(tmp_path / "run") in line
        assert f"process {holder.pid} on " in line
        assert "--train_dir" in line

    def test_it_is_refused_before_tensorflow_is_imported(self, holder):
        assert holder.tensorflow_imported == "False"

    def test_a_killed_process_leaves_the_directory_free(self, holder, tmp_path):
        with pytest.raises(DataError), open_for_training(tmp_path / "run"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with open_for_training(tmp_path / "run"):
            pass

    def test_it_is_released_at_the_end_and_after_an_error(self, tmp_path):
        with pytest.raises(RuntimeError), open_for_training(tmp_path):
            raise RuntimeError
        with open_for_training(tmp_path):
            pass

    def test_it_is_released_while_a_forked_child_lives(self, tmp_path):
        with open_for_training(tmp_path):
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
        try:
            with open_for_training(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_other_directories_are_free(self, holder, tmp_path):
        with open_for_training(tmp_path / "other"):
            pass


class TestOpen:
    def test_it_makes_the_directory_and_knows_what_belongs_in_it(self, tmp_path):
        with open_for_training(tmp_path / "runs" / "lite0") as run:
            paths = (run.parameters, run.run_info, run.metrics, run.best)
            assert [path.relative_to(run.path).as_posix() for path in paths] == [
                *("parameters.json", "run.json", "metrics.csv", "best")
            ]
            assert [path.name for path in run.path.iterdir()] == [".lock"]
            assert run.checkpoint_to_resume() is None

    def test_it_resumes_from_the_newest(self, tmp_path):
        for step in (9, 10):
            save(tmp_path, step)
        with open_for_training(tmp_path) as run:
            assert run.checkpoint_to_resume() == str(tmp_path / "model.ckpt-10")

    @pytest.mark.parametrize("name", ["parameters.json", "metrics.csv", "model.ckpt-2.index"])
    def test_fresh_refuses_a_directory_with_a_run(self, tmp_path, name):
        (tmp_path / name).touch()
        with (
            pytest.raises(UsageError, match="already holds a run"),
            open_for_training(tmp_path, fresh=True),
        ):
            pass

    def test_fresh_accepts_a_directory_that_was_only_opened(self, tmp_path):
        for _ in range(2):
            with open_for_training(tmp_path, fresh=True):
                pass

    def test_what_a_killed_save_left_is_tidied(self, tmp_path):
        for directory in (tmp_path, tmp_path / "best"):
            save(directory, 2)
            (directory / ".saving-model.ckpt-4").mkdir()
            (directory / ".saving-model.ckpt-4" / "model.ckpt-4.data-00000-of-00001").touch()
        with open_for_training(tmp_path) as run:
            assert run.checkpoint_to_resume() == str(tmp_path / "model.ckpt-2")
        hidden = {path.name for path in tmp_path.rglob(".*")}
        assert hidden == {".lock"}

    def test_a_file_is_no_directory(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "run"):
            with (
                pytest.raises(UsageError, match="cannot write to --train_dir"),
                open_for_training(path),
            ):
                pass

    def test_what_is_in_its_place_is_said(self, tmp_path):
        """A file and a broken link, and the same above the directory: each was "File exists"."""
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to("/nowhere/run")
        link = "is a link to /nowhere/run, which does not exist"
        for path, reason in [
            ("file", "it is a file, not a directory; "),
            ("link", f"it {link}; "),
            ("link/run", f"{tmp_path}/link {link}; "),
        ]:
            with (
                pytest.raises(UsageError, match=reason),
                open_for_training(tmp_path / path),
            ):
                pass

    def test_an_unwritable_directory(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o555)
            user = os.geteuid()
            if user == 0:
                os.seteuid(65534)  # Permissions do not bind the superuser.
            try:
                with (
                    pytest.raises(UsageError, match="Permission denied"),
                    open_for_training(directory),
                ):
                    pass
                with pytest.raises(DataError, match=r"cannot save .*Permission denied"):
                    save(directory, 2)
            finally:
                os.seteuid(user)
            assert os.listdir(directory) == []


def wait(directory, after_step, *, looks):
    """Looks so many times, or less often if there is a checkpoint."""
    asked = iter([False] * looks + [True])
    return wait_for_new_checkpoint(
        directory, after_step, poll_secs=0.02, should_stop=lambda: next(asked)
    )


class TestWait:
    def test_it_returns_a_checkpoint_that_appears_later(self, tmp_path):
        directory = tmp_path / "run"
        looks = []

        def should_stop():
            looks.append(len(looks))
            if len(looks) == 3:
                save(directory, 2)
            return len(looks) == 9

        found = wait_for_new_checkpoint(directory, None, poll_secs=0.02, should_stop=should_stop)
        assert (found, len(looks)) == (str(directory / "model.ckpt-2"), 3)

    def test_the_same_one_is_never_returned_twice(self, tmp_path):
        save(tmp_path, 2)
        first = wait(tmp_path, None, looks=1)
        assert first == str(tmp_path / "model.ckpt-2")
        save(tmp_path, 2, value=5.0)
        assert wait(tmp_path, store.global_step(first), looks=5) is None

    def test_the_newest_is_returned(self, tmp_path):
        for step in (8, 9, 10):
            save(tmp_path, step)
        assert wait(tmp_path, 8, looks=1) == str(tmp_path / "model.ckpt-10")

    def test_a_damaged_one_is_skipped_with_one_warning(self, tmp_path, caplog):
        for step in (2, 4):
            save(tmp_path, step)
        flip_byte(tmp_path / "model.ckpt-4.data-00000-of-00001")
        assert wait(tmp_path, None, looks=1) == str(tmp_path / "model.ckpt-2")
        caplog.clear()
        assert wait(tmp_path, 2, looks=5) is None
        assert caplog.text.count("model.ckpt-4 is damaged and skipped") == 1

    def test_it_can_be_stopped(self, tmp_path):
        looks = iter([False, False, True])
        found = wait_for_new_checkpoint(
            tmp_path, None, poll_secs=0.01, should_stop=lambda: next(looks)
        )
        assert found is None
        assert next(looks, "used up") == "used up"

    def test_it_is_stopped_within_a_second_between_two_looks(self, tmp_path):
        asked = iter([False, True])
        started = time.monotonic()
        found = wait_for_new_checkpoint(
            tmp_path, None, poll_secs=600, should_stop=lambda: next(asked)
        )
        assert found is None
        assert time.monotonic() - started < 60
