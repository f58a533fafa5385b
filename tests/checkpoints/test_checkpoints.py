"""Checkpoints on a real file system: intact after kills, full disks and damaged files."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.params import read_parameters, write_parameters
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.run_directory import open_for_training
from checkpoints import commit, store
from checkpoints.best import best_metrics, save_best
from common.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
DATA = ".data-00000-of-00001"


def tensors(value, size=1000):
    return {
        "net/conv/kernel": np.full((size, 10), value, np.float32),
        "net/conv/bias": tf.fill([10], tf.constant(value, tf.bfloat16)),
        "net/conv/kernel/Momentum": np.full((size, 10), -value, np.float16),
        "examples_seen": np.int64(value),
        "note": tf.constant(b"bytes\0"),
    }


def save(directory, step, value=None, **kwargs):
    kwargs.setdefault("keep", 0)
    return store.save(directory, step, tensors(step if value is None else value), **kwargs)


def value_in(path):
    """The value that `tensors` was given, if every tensor of the checkpoint says the same."""
    values = store.read(path)
    value = values["net/conv/kernel"].flat[0]
    np.testing.assert_array_equal(values["net/conv/kernel"], np.full((1000, 10), value))
    np.testing.assert_array_equal(values["net/conv/kernel/Momentum"], np.full((1000, 10), -value))
    np.testing.assert_array_equal(values["net/conv/bias"].astype(np.float32), np.full(10, value))
    assert values["examples_seen"] == value
    return value


def steps_in(directory):
    return [store.step_in_name(prefix) for prefix in store.all_checkpoints(directory)]


def flip_byte(path, position=None):
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    Path(path).write_bytes(data)


def hidden_in(directory):
    return sorted(path.name for path in Path(directory).rglob(".*"))


class TestSaveAndRead:
    def test_every_type_comes_back_as_it_was(self, tmp_path):
        values = store.read(save(tmp_path, 3))
        assert sorted(values) == sorted([*tensors(3), "global_step"])
        for name, expected in tensors(3).items():
            if name != "note":
                assert values[name].dtype == np.asarray(expected).dtype
                np.testing.assert_array_equal(values[name], np.asarray(expected))
        assert values["note"].item() == b"bytes\0"
        assert values["global_step"].dtype == np.int64
        assert values["global_step"] == 3

    def test_some_tensors_only(self, tmp_path):
        prefix = save(tmp_path, 3)
        assert store.read(prefix, ["examples_seen"]) == {"examples_seen": 3}
        assert store.read(prefix, []) == {}
        with pytest.raises(DataError, match="has no tensor nothing"):
            store.read(prefix, ["examples_seen", "nothing"])

    def test_variables_are_read_by_their_own_names(self, tmp_path):
        values = store.read_variables(save(tmp_path, 3), {"mine": "net/conv/kernel"})
        assert list(values) == ["mine"]
        np.testing.assert_array_equal(values["mine"], np.full((1000, 10), 3))

    def test_shapes(self, tmp_path):
        shapes = store.shapes(save(tmp_path, 3))
        assert shapes["net/conv/kernel"] == (1000, 10)
        assert shapes["global_step"] == ()
        assert len(shapes) == 6

    def test_a_prefix_a_directory_and_a_file_all_name_the_checkpoint(self, tmp_path):
        save(tmp_path, 9)
        prefix = save(tmp_path, 10)
        Path(f"{prefix}.meta").write_bytes(b"TensorFlow 1 writes its graph there")
        ends = (".index", DATA, ".json", ".meta")
        for path in (prefix, tmp_path, *(prefix + end for end in ends)):
            assert store.resolve(path) == prefix
            assert store.global_step(path) == 10

    def test_the_state_file_is_not_a_checkpoint(self, tmp_path):
        save(tmp_path, 9)
        assert (tmp_path / "checkpoint").is_file()
        with pytest.raises(DataError, match=r"no checkpoint .*/checkpoint: .* holds model.ckpt-9"):
            store.resolve(tmp_path / "checkpoint")

    def test_an_absent_checkpoint_is_answered_with_those_present(self, tmp_path):
        save(tmp_path, 9)
        with pytest.raises(DataError, match=r"no checkpoint .*ckpt-10: .* holds model.ckpt-9"):
            store.resolve(tmp_path / "model.ckpt-10")
        with pytest.raises(DataError, match="does not exist"):
            store.resolve(tmp_path / "gone" / "model.ckpt-10")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"no checkpoint in .*empty"):
            store.resolve(tmp_path / "empty")

    def test_the_one_file_checkpoints_of_a_directory_are_listed(self, tmp_path):
        for name in ("vgg_16.ckpt", "model.ckpt-7", "labels.txt"):
            (tmp_path / name).touch()
        with pytest.raises(DataError) as caught:
            store.resolve(tmp_path)
        assert str(caught.value) == (
            f"no checkpoint in {tmp_path}: name the file: "
            f"{tmp_path}/model.ckpt-7, {tmp_path}/vgg_16.ckpt"
        )

    def test_steps_are_sorted_as_numbers(self, tmp_path):
        for step in (100, 9, 20):
            save(tmp_path, step)
        assert steps_in(tmp_path) == [9, 20, 100]
        assert store.latest(tmp_path) == str(tmp_path / "model.ckpt-100")

    def test_nothing_there(self, tmp_path):
        for directory in (tmp_path, tmp_path / "gone"):
            assert store.all_checkpoints(directory) == []
            assert store.latest(directory) is None

    def test_a_step_that_contradicts_the_tensors_is_a_mistake(self, tmp_path):
        with pytest.raises(ValueError, match="global_step 4"):
            store.save(tmp_path, 3, {"global_step": np.int64(4)})

    def test_saving_a_step_again_replaces_it(self, tmp_path):
        save(tmp_path, 3, 1.0)
        prefix = save(tmp_path, 3, 2.0)
        assert store.verify(prefix) is None
        assert value_in(prefix) == 2.0

    def test_distributed_variables(self, tmp_path):
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            variable = tf.Variable([1.0, 2.0])
        prefix = store.save(tmp_path, 1, {"v": tf.convert_to_tensor(variable)})
        np.testing.assert_array_equal(store.read(prefix, ["v"])["v"], [1.0, 2.0])

    def test_a_moved_directory_still_loads(self, tmp_path):
        for step in (2, 4):
            save(tmp_path / "old", step)
        save_best(tmp_path / "old", tmp_path / "old" / "model.ckpt-2", {"top_1": 0.5, "loss": 1.0})
        for path in (tmp_path / "old").rglob("*"):
            assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()
        (tmp_path / "old").rename(tmp_path / "new")
        assert store.latest(tmp_path / "new") == str(tmp_path / "new" / "model.ckpt-4")
        assert tf.train.latest_checkpoint(tmp_path / "new") == str(tmp_path / "new/model.ckpt-4")
        assert value_in(tmp_path / "new") == 4
        assert value_in(tmp_path / "new" / "best") == 2


class TestKeep:
    def test_every_two_steps_to_20_keeping_3(self, tmp_path):
        for step in range(2, 21, 2):
            save(tmp_path, step, keep=3)
        assert steps_in(tmp_path) == [16, 18, 20]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [
                "checkpoint",
                *(
                    f"model.ckpt-{n}{end}"
                    for n in (16, 18, 20)
                    for end in (".index", ".json", DATA)
                ),
            ]
        )
        state = tf.train.get_checkpoint_state(tmp_path)
        assert [os.path.basename(path) for path in state.all_model_checkpoint_paths] == [
            *("model.ckpt-16", "model.ckpt-18", "model.ckpt-20")
        ]

    def test_keep_zero_keeps_all_and_one_keeps_the_newest(self, tmp_path):
        for step in (1, 2, 3):
            save(tmp_path, step, keep=0)
        assert steps_in(tmp_path) == [1, 2, 3]
        save(tmp_path, 4, keep=1)
        assert steps_in(tmp_path) == [4]

    def test_after_a_fall_back_the_new_one_is_kept_not_the_damaged_later_one(self, tmp_path):
        for step in (2, 6):
            save(tmp_path, step)
        flip_byte(tmp_path / f"model.ckpt-6{DATA}")
        save(tmp_path, 4, keep=1)
        assert 4 in steps_in(tmp_path)
        assert store.latest(tmp_path) == str(tmp_path / "model.ckpt-4")
        assert tf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-4")

    def test_foreign_files_are_never_deleted(self, tmp_path):
        foreign = [
            f"{name}{end}" for name in ("other-1", "model.ckpt-1") for end in (".index", DATA)
        ]
        source = save(tmp_path / "source", 1)
        for name in foreign:
            shutil.copy(source + Path(name).suffix, tmp_path / name)
        for step in (2, 4, 6):
            save(tmp_path, step, keep=1)
        assert all((tmp_path / name).exists() for name in foreign)
        assert steps_in(tmp_path)[-1] == 6


class TestDamage:
    @pytest.fixture
    def run(self, tmp_path):
        for step in (8, 9, 10):
            save(tmp_path, step)
        return tmp_path

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda p: os.truncate(p + DATA, 7000), f"10{DATA} has 7000 bytes, 60[0-9]+ were"),
            (lambda p: flip_byte(p + DATA), f"10{DATA} has another SHA-256"),
            (lambda p: flip_byte(p + ".index"), "10.index has another SHA-256"),
            (lambda p: os.truncate(p + ".index", 0), "10.index has 0 bytes"),
            (lambda p: os.remove(p + ".index"), "10.index is missing"),
            (lambda p: os.remove(p + DATA), f"10{DATA} is missing"),
        ],
    )
    def test_the_last_good_one_is_taken_with_a_warning(self, run, caplog, damage, reason):
        prefix = str(run / "model.ckpt-10")
        damage(prefix)
        assert store.latest(run) == str(run / "model.ckpt-9")
        (warning,) = [record.getMessage() for record in caplog.records]
        assert prefix in warning
        assert re.search(reason, warning)

    def test_only_damaged_ones_are_an_error(self, run):
        for step in (8, 9, 10):
            flip_byte(run / f"model.ckpt-{step}{DATA}")
        with pytest.raises(DataError) as caught:
            store.latest(run)
        assert str(run) in str(caught.value)
        assert all(f"model.ckpt-{step}{DATA} has another" in str(caught.value) for step in (8, 9))

    def test_only_an_orphan_is_an_error(self, tmp_path):
        os.remove(save(tmp_path, 8) + ".index")
        with pytest.raises(DataError, match=r"model.ckpt-8.index is missing"):
            store.latest(tmp_path)

    def test_damaged_checksums_alone_do_no_harm(self, run):
        (run / "model.ckpt-10.json").write_text("{")
        assert store.latest(run) == str(run / "model.ckpt-10")
        flip_byte(run / f"model.ckpt-10{DATA}")
        assert "Checksum" in store.verify(run / "model.ckpt-10")

    def test_reading_a_damaged_checkpoint_is_one_line(self, run):
        flip_byte(run / f"model.ckpt-10{DATA}")
        with pytest.raises(DataError, match=r"model.ckpt-10 cannot be read: .*Checksum"):
            store.read(run / "model.ckpt-10")
        os.truncate(run / "model.ckpt-10.index", 10)
        with pytest.raises(DataError, match=r"model.ckpt-10 cannot be read: "):
            store.shapes(run / "model.ckpt-10")


class TestForeign:
    """Checkpoints of tf.compat.v1.train.Saver, which TF1 programs wrote, and theirs of ours."""

    def saver_writes(self, path, step=None, name="w"):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.compat.v1.get_variable(name, initializer=np.arange(1000, dtype=np.float32))
            session.run(tf.compat.v1.global_variables_initializer())
            return tf.compat.v1.train.Saver().save(session, str(path), global_step=step)

    def test_ours_is_read_by_load_checkpoint(self, tmp_path):
        save(tmp_path, 2)
        prefix = save(tmp_path, 4)
        assert tf.train.latest_checkpoint(tmp_path) == prefix
        reader = tf.train.load_checkpoint(tmp_path)
        np.testing.assert_array_equal(reader.get_tensor("net/conv/kernel"), np.full((1000, 10), 4))
        assert dict(tf.train.list_variables(prefix))["net/conv/kernel"] == [1000, 10]

    def test_ours_is_restored_by_saver(self, tmp_path):
        prefix = save(tmp_path, 4)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            kernel = tf.compat.v1.get_variable("net/conv/kernel", [1000, 10])
            bias = tf.compat.v1.get_variable("net/conv/bias", [10], tf.bfloat16)
            tf.compat.v1.train.Saver().restore(session, prefix)
            np.testing.assert_array_equal(session.run(kernel), np.full((1000, 10), 4))
            np.testing.assert_array_equal(session.run(bias).astype(int), np.full(10, 4))

    def test_a_checkpoint_of_saver_is_read(self, tmp_path):
        prefix = self.saver_writes(tmp_path / "ckpt", 1243)
        assert store.latest(tmp_path) == prefix
        assert store.global_step(tmp_path) == 1243
        np.testing.assert_array_equal(store.read(tmp_path)["w"], np.arange(1000))

    def test_a_step_in_a_tensor_counts_before_the_name(self, tmp_path):
        assert store.global_step(save(tmp_path, 7)) == 7
        for end in (".index", DATA):
            shutil.copy(tmp_path / f"model.ckpt-7{end}", tmp_path / f"ckpt-1243{end}")
        assert store.global_step(tmp_path / "ckpt-1243") == 7

    def test_without_tensor_and_number_it_is_at_step_zero(self, tmp_path):
        prefix = self.saver_writes(tmp_path / "model.ckpt")
        assert store.latest(tmp_path) == prefix
        assert store.global_step(tmp_path) == 0

    @pytest.mark.parametrize("end", [".index", DATA])
    def test_a_flipped_byte_is_found_by_reading(self, tmp_path, end):
        self.saver_writes(tmp_path / "ckpt", 1)
        prefix = self.saver_writes(tmp_path / "ckpt", 2)
        flip_byte(prefix + end)
        assert "ckpt-2 cannot be read" in store.verify(prefix)
        assert store.latest(tmp_path) == str(tmp_path / "ckpt-1")

    def test_a_missing_tail_is_found_by_reading(self, tmp_path):
        prefix = self.saver_writes(tmp_path / "ckpt", 2)
        assert store.verify(prefix) is None
        os.truncate(prefix + DATA, 3999)
        assert "ckpt-2 cannot be read" in store.verify(prefix)
        os.remove(prefix + DATA)
        assert "ckpt-2 cannot be read" in store.verify(prefix)


class TestFullDisk:
    @pytest.fixture
    def run(self, tmp_path):
        save(tmp_path, 2, keep=1)
        return tmp_path

    def assert_as_before(self, run):
        assert sorted(path.name for path in run.iterdir()) == [
            *("checkpoint", f"model.ckpt-2{DATA}", "model.ckpt-2.index", "model.ckpt-2.json")
        ]
        assert store.verify(run / "model.ckpt-2") is None
        assert tf.train.latest_checkpoint(run) == str(run / "model.ckpt-2")
        assert value_in(run) == 2

    def assert_one_line(self, caught, reason):
        message = str(caught.value)
        assert "\n" not in message
        assert f"model.ckpt-4: {reason}; earlier checkpoints are untouched" in message

    def test_tensorflow_cannot_write_more(self, run):
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        try:
            with pytest.raises(DataError) as caught:
                save(run, 4, keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self.assert_one_line(caught, "File too large")
        self.assert_as_before(run)

    def test_a_file_system_without_space(self, tmp_path):
        small = tmp_path / "small"
        small.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(small)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system is not permitted here")
        try:
            save(small, 2, keep=1)
            with pytest.raises(DataError) as caught:
                store.save(small, 4, tensors(4, size=2500), keep=1)
            self.assert_one_line(caught, "No space left on device")
            self.assert_as_before(small)
        finally:
            subprocess.run(["umount", str(small)], check=True)

    @pytest.mark.parametrize("nth", [1, 2, 3, 4])
    def test_the_disk_fills_up_while_it_is_flushed(self, run, monkeypatch, nth):
        flush, calls = commit.flush, []

        def full(path):
            calls.append(path)
            if len(calls) == nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(path)

        monkeypatch.setattr(commit, "flush", full)
        with pytest.raises(DataError) as caught:
            save(run, 4, keep=1)
        self.assert_one_line(caught, "No space left on device")
        self.assert_as_before(run)

    def test_a_truncated_write_is_noticed(self, run, monkeypatch):
        write = tf.raw_ops.SaveV2

        def cut(prefix, **kwargs):
            write(prefix=prefix, **kwargs)
            os.truncate(prefix + DATA.encode(), 5000)

        monkeypatch.setattr(tf.raw_ops, "SaveV2", cut)
        with pytest.raises(DataError) as caught:
            save(run, 4, keep=1)
        # 1000*10 float32, 1000*10 float16, 10 bfloat16 and two int64.
        self.assert_one_line(caught, "5000 of 60036 bytes were written")
        self.assert_as_before(run)

    def test_the_next_save_works(self, run):
        (run / ".saving-model.ckpt-3").mkdir()
        save(run, 4, keep=1)
        assert steps_in(run) == [4]
        assert hidden_in(run) == []


# Forks a process per kill point; an audit hook kills it just before its n-th action on a file.
KILLED_SAVES = """
import os, shutil, signal, sys
import numpy as np
from checkpoints import best, bundle, store

ACTIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")

def die_before_action(nth, directory):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in ACTIONS and str(arguments[0]).startswith(directory):
            seen += 1
            if seen == nth:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def save_step_4(directory):
    tensors = {
        "net/conv/kernel": np.full((1000, 10), 4, np.float32),
        "net/conv/bias": np.full(10, 4, np.float32),
        "net/conv/kernel/Momentum": np.full((1000, 10), -4, np.float16),
        "examples_seen": np.int64(4),
    }
    store.save(directory, 4, tensors, keep=1)

def save_step_2_again(directory):
    # Written beforehand: starting TensorFlow in every process would take most of the time.
    def copy_bundle(prefix, tensors):
        for end in (".index", ".data-00000-of-00001"):
            shutil.copyfile(f"{root}/again/model.ckpt-2{end}", f"{prefix}{end}")
    bundle.write = copy_bundle
    store.save(directory, 2, {}, keep=1)

def save_step_4_as_best(directory):
    best.save_best(directory, directory + "/model.ckpt-4", {"top_1": 0.75})

root = sys.argv[1]
for act in (save_step_4, save_step_2_again, save_step_4_as_best):
    for nth in range(1, 200):
        directory = f"{root}/killed/{act.__name__}/{nth}"
        shutil.copytree(f"{root}/before/{act.__name__}", directory)
        child = os.fork()
        if child == 0:
            die_before_action(nth, directory)
            act(directory)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
"""


@pytest.fixture(scope="module")
def killed_saves(tmp_path_factory):
    """What was done -> directories where it was killed at every action in turn, and at none."""
    root = tmp_path_factory.mktemp("kill")
    before = root / "before"
    save(before / "save_step_4", 2)
    save(before / "save_step_2_again", 2)
    save(root / "again", 2, 5.0)
    best = before / "save_step_4_as_best"
    save_best(best, save(best, 2), {"top_1": 0.5})
    save(best, 4)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_SAVES, root],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        directory.name: sorted(directory.iterdir(), key=lambda path: int(path.name))
        for directory in (root / "killed").iterdir()
    }


class TestKill:
    def test_a_save_killed_anywhere_leaves_the_old_or_the_new_checkpoint(self, killed_saves):
        found = []
        for directory in killed_saves["save_step_4"]:
            # First as eval.py sees it, which does not clean up, and as TensorFlow does.
            latest = store.latest(directory)
            assert value_in(latest) == store.global_step(latest)
            assert value_in(tf.train.latest_checkpoint(directory)) in (2, 4)
            with open_for_training(directory) as run:
                resumed = run.checkpoint_to_resume()
                assert value_in(resumed) == store.global_step(resumed)
            assert hidden_in(directory) == [".lock"]
            found.append(store.global_step(resumed))
            save(directory, 6, keep=1)
            assert value_in(directory) == 6
        self.assert_old_then_new(found, 2, 4)

    def test_a_replacement_killed_anywhere_leaves_the_old_or_the_new_content(self, killed_saves):
        found = []
        for directory in killed_saves["save_step_2_again"]:
            with open_for_training(directory) as run:
                assert run.checkpoint_to_resume() == str(directory / "model.ckpt-2")
            found.append(value_in(directory))
        self.assert_old_then_new(found, 2, 5)

    def test_a_killed_save_best_leaves_the_old_or_the_new_best(self, killed_saves):
        found = []
        for directory in killed_saves["save_step_4_as_best"]:
            with open_for_training(directory) as run:
                best = best_metrics(directory)
                assert best["top_1"] == {2: 0.5, 4: 0.75}[best["global_step"]]
                assert value_in(run.best / best["checkpoint"]) == best["global_step"]
            assert store.latest(directory) == str(directory / "model.ckpt-4")
            found.append(best["global_step"])
        self.assert_old_then_new(found, 2, 4)

    def assert_old_then_new(self, found, old, new):
        assert len(found) > 15
        assert found == sorted(found)
        assert set(found) == {old, new}

    def test_killed_while_tensorflow_writes(self, tmp_path):
        """The kernel ends the process where its file becomes larger than a limit."""
        save(tmp_path, 2, keep=1)
        program = (
            "import resource, signal, sys, numpy as np; from checkpoints import store;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
            "resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
            "store.save(sys.argv[1], 4, {'w': np.zeros(1_000_000, np.float32)}, keep=1)"
        )
        done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGXFSZ
        (data,) = (tmp_path / ".saving-model.ckpt-4").glob(f"*{DATA}*")
        assert data.stat().st_size == 1_000_000
        assert value_in(store.latest(tmp_path)) == 2
        with open_for_training(tmp_path) as run:
            assert value_in(run.checkpoint_to_resume()) == 2
        assert hidden_in(tmp_path) == [".lock"]


class TestBest:
    def test_only_a_better_one_replaces_it(self, tmp_path):
        kept = []
        for step, top_1 in enumerate([0.5, 0.4, 0.6, 0.6, float("nan"), 0.7], start=1):
            metrics = {"top_1": top_1, "top_5": 0.9, "loss": 2.0}
            kept.append(save_best(tmp_path, save(tmp_path, step, keep=2), metrics))
        assert kept == [True, False, True, False, False, True]
        assert steps_in(tmp_path / "best") == [6]
        assert json.loads((tmp_path / "best" / "best.json").read_text()) == {
            **{"checkpoint": "model.ckpt-6", "global_step": 6},
            **{"top_1": 0.7, "top_5": 0.9, "loss": 2.0},
        }

    def test_of_equal_accuracies_the_lower_loss_is_kept(self, tmp_path):
        """A later one replaces it then alone; a loss that is not known is the worst."""
        losses = [2.0, 1.5, 1.5, 1.75, float("nan"), 1.25]
        kept = [
            save_best(tmp_path, save(tmp_path, step, keep=2), {"top_1": 0.5, "loss": loss})
            for step, loss in enumerate(losses, start=1)
        ]
        assert kept == [True, True, False, False, False, True]
        assert best_metrics(tmp_path)["loss"] == 1.25

    def test_it_outlives_keep(self, tmp_path):
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5})
        for step in (4, 6, 8):
            save(tmp_path, step, keep=1)
        assert steps_in(tmp_path) == [8]
        assert value_in(tmp_path / "best") == 2
        assert tf.train.latest_checkpoint(tmp_path / "best").endswith("best/model.ckpt-2")

    def test_it_survives_a_resume(self, tmp_path):
        with open_for_training(tmp_path):
            save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5})
        with open_for_training(tmp_path):
            assert best_metrics(tmp_path)["top_1"] == 0.5
            assert not save_best(tmp_path, save(tmp_path, 4), {"top_1": 0.4})
        assert value_in(tmp_path / "best") == 2

    def test_a_step_saved_again_does_not_change_it(self, tmp_path):
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5})
        save(tmp_path, 2, 3.0)
        assert value_in(tmp_path / "best") == 2

    def test_it_says_what_was_trained(self, tmp_path):
        params = make_params(model="lenet", image_size=28)
        write_parameters(params, tmp_path)
        companions = [tmp_path / "parameters.json"]
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5}, companions)
        write_parameters(make_params(model="trivial"), tmp_path)
        assert read_parameters(tmp_path / "best") == params

    def test_it_takes_no_second_space(self, tmp_path):
        prefix = save(tmp_path, 2)
        save_best(tmp_path, prefix, {"top_1": 0.5})
        assert os.path.samefile(prefix + DATA, tmp_path / "best" / f"model.ckpt-2{DATA}")

    def test_without_hard_links_it_is_a_copy(self, tmp_path, monkeypatch):
        def no_links(source, target):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", no_links)
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5})
        assert store.verify(tmp_path / "best" / "model.ckpt-2") is None
        assert value_in(tmp_path / "best") == 2

    def test_damage_is_not_certified(self, tmp_path):
        prefix = save(tmp_path, 2)
        flip_byte(prefix + DATA, position=100)
        save_best(tmp_path, prefix, {"top_1": 0.5})
        assert "SHA-256" in store.verify(tmp_path / "best" / "model.ckpt-2")

    def test_no_best_yet_and_a_damaged_one(self, tmp_path, caplog):
        assert best_metrics(tmp_path) is None
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5})
        (tmp_path / "best" / "best.json").write_text("{")
        assert best_metrics(tmp_path) is None
        assert "best.json cannot be read" in caplog.text
        shutil.rmtree(tmp_path / "best")
        assert save_best(tmp_path, save(tmp_path, 4), {"top_1": 0.1})

    def test_an_infinite_loss_is_still_json(self, tmp_path):
        save_best(tmp_path, save(tmp_path, 2), {"top_1": 0.5, "loss": float("inf")})
        assert best_metrics(tmp_path)["loss"] is None
