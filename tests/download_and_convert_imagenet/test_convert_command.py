from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from download_and_convert_imagenet.__main__ import main
from download_and_convert_imagenet.sources.synsets import synsets
from preprocessing import verify
from tests.conftest import ROOT
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    TRAIN_ARCHIVE,
    VALIDATION_ARCHIVE,
    write_archives,
)
from tests.download_and_convert_imagenet.records.encoded_images import decode, encode, picture

FAKE = make_fake_imagenet(50, truncated=True)
SHARDS = ("--train_shards=40", "--validation_shards=10")
COMMAND = (sys.executable, "-m", "download_and_convert_imagenet")
TIMEOUT_SECS = 300


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
        **options,
    )


def shard_bytes(data_dir: Path) -> dict[str, bytes]:
    files = (*data_dir.glob("[tv]*-of-*"), data_dir / "manifest.json")
    return {path.name: path.read_bytes() for path in files}


def read_examples(data_dir: Path, pattern: str) -> list:
    """The features of every record, by TensorFlow."""
    paths = sorted(map(str, data_dir.glob(pattern)))
    records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    return [tf.train.Example.FromString(record).features.feature for record in records]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_archives(FAKE, tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def reference(raw, tmp_path_factory):
    """The data set by one process, and what the command printed."""
    data_dir = tmp_path_factory.mktemp("reference")
    arguments = (data_dir, f"--raw_dir={raw}", *SHARDS, "--num_processes=1")
    return data_dir, run(*arguments, "--max_corrupt_images=1")


def test_all_images_arrive_with_their_labels_and_boxes(reference):
    data_dir, _ = reference
    found = {}
    for features in read_examples(data_dir, "[tv]*-of-*"):
        found[features["image/filename"].bytes_list.value[0].decode()] = features
    images = [i for i in (*FAKE.train, *FAKE.validation) if i.kind != "truncated"]
    assert sorted(found) == sorted(image.name for image in images)
    for image in images:
        features = found[image.name]
        assert features["image/class/label"].int64_list.value[0] == image.label
        assert features["image/class/synset"].bytes_list.value[0] == image.wnid.encode()
        words = synsets()[image.label - 1].words
        assert features["image/class/text"].bytes_list.value[0] == words.encode()
        assert features["image/width"].int64_list.value[0] == image.width
        assert features["image/height"].int64_list.value[0] == image.height
        encoded = features["image/encoded"].bytes_list.value[0]
        assert (encoded == image.content) == (image.kind not in ("png", "cmyk"))
        expected = [(b.xmin, b.ymin, b.xmax, b.ymax) for b in FAKE.boxes.get(image.stem, ())]
        sides = [
            features[f"image/object/bbox/{side}"].float_list.value
            for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        found_boxes = np.transpose(sides).reshape(-1, 4)
        np.testing.assert_allclose(found_boxes, np.reshape(expected, (-1, 4)), rtol=1e-6)
        box_labels = features["image/object/bbox/label"].int64_list.value
        assert list(box_labels) == [image.label] * len(expected)


@pytest.mark.parametrize("kind", ["png", "cmyk"])
def test_repaired_images_look_as_before(reference, kind):
    data_dir, _ = reference
    image = FAKE.image(kind)
    (features,) = (
        features
        for features in read_examples(data_dir, "train-*")
        if features["image/filename"].bytes_list.value[0] == image.name.encode()
    )
    encoded = features["image/encoded"].bytes_list.value[0]
    pixels = tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE").numpy()
    assert pixels.shape == (image.height, image.width, 3)
    assert np.abs(pixels - decode(image.content)).mean() < 1


def test_what_it_says(reference, raw):
    data_dir, completed = reference
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    printed = completed.stdout
    assert f"train images: {raw / TRAIN_ARCHIVE}" in printed
    truncated = FAKE.image("truncated")
    num_boxes = sum(len(boxes) for stem, boxes in FAKE.boxes.items() if stem != truncated.stem)
    assert f"train: 40 shards, 149 images, {num_boxes} bounding boxes, " in printed
    assert "validation: 10 shards, 50 images, 0 bounding boxes, " in printed
    assert "encoded again: 2 images" in printed
    assert "left out: 1 image (" in printed
    assert "200 image files read in " in printed
    assert " images/s with 1 process\n" in printed
    assert "150 train images are here, ImageNet has 1,281,167\n" in printed
    assert "50 validation images are here, ImageNet has 50,000\n" in printed
    assert f"{data_dir}: train and validation are complete\n" in printed
    notes = (data_dir / "corrupt_images.txt").read_text()
    assert notes == f"train {truncated.name} is a truncated JPEG\n"


def test_four_processes_give_the_same_bytes_and_then_an_error_about_the_corrupt_image(
    reference, raw, tmp_path
):
    data_dir = tmp_path / "data"
    arguments = (data_dir, f"--raw_dir={raw}", *SHARDS, "--num_processes=4")
    completed = run(*arguments)
    assert completed.returncode == 3
    assert completed.stderr.startswith("error: 1 image cannot be decoded")
    assert completed.stderr.count("\n") == 1
    assert not (data_dir / "manifest.json").exists()
    completed = run(*arguments, "--max_corrupt_images=1")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert "50 of 50 shards are finished already and kept" in completed.stdout
    assert shard_bytes(data_dir) == shard_bytes(reference[0])


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in listed]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_SECS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def num_finished(data_dir: Path) -> int:
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    return journal.read_text().count('{"split"') if journal.exists() else 0


# The command, which kills itself when it is about to record its eleventh shard.
KILLS_ITSELF = """
import os, signal, sys
from download_and_convert_imagenet import __main__, journal

def append(self, finished):
    if len(recorded) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    recorded.append(finished)
    whole(self, finished)

recorded, whole = [], journal.ConversionJournal.append
journal.ConversionJournal.append = append
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_half_way_and_continued(reference, raw, tmp_path, num_processes):
    data_dir = tmp_path / "data"
    arguments = [data_dir, f"--raw_dir={raw}", *SHARDS, "--max_corrupt_images=1"]
    arguments.append(f"--num_processes={num_processes}")
    # Its output ends with the last of its workers, who hold it, too.
    killed = subprocess.run(
        [sys.executable, "-c", KILLS_ITSELF, *map(str, arguments)], cwd=ROOT, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert num_finished(data_dir) == 10
    finished = {path.name: path.stat() for path in data_dir.glob("[tv]*-of-*")}
    assert 10 < len(finished) < 50
    assert not (data_dir / "manifest.json").exists()
    completed = run(*arguments)
    assert completed.returncode == 0, completed.stderr
    assert " of 50 shards are finished already and kept" in completed.stdout
    num_kept = int(completed.stdout.partition(" of 50 shards")[0].rpartition("\n")[2])
    unchanged = [
        name
        for name, status in finished.items()
        if (now := (data_dir / name).stat()).st_mtime_ns == status.st_mtime_ns
        and now.st_ino == status.st_ino
    ]
    # At most the shards that were renamed but not yet recorded are written again.
    assert len(unchanged) == num_kept == 10 >= len(finished) - num_processes
    assert shard_bytes(data_dir) == shard_bytes(reference[0])
    assert not list(data_dir.glob(".*partial"))


def test_verify_finds_it_intact(raw, tmp_path, capsys):
    arguments = [str(tmp_path), f"--raw_dir={raw}", "--train_shards=2", "--validation_shards=1"]
    assert main([*arguments, "--num_processes=1", "--max_corrupt_images=1"]) == 0
    capsys.readouterr()
    assert verify.main([str(tmp_path), "--data_name=imagenet", "--decode"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "149 examples" in lines[0]
    assert "50 examples" in lines[1]
    assert all(line.endswith("intact") for line in lines)


def test_changed_input_is_reported_and_converted_again(reference, raw, tmp_path):
    data_dir = tmp_path / "data"
    shutil.copytree(reference[0], data_dir)
    shutil.copytree(raw, tmp_path / "raw")
    os.utime(tmp_path / "raw" / VALIDATION_ARCHIVE)
    arguments = [data_dir, f"--raw_dir={tmp_path / 'raw'}", *SHARDS, "--max_corrupt_images=1"]
    completed = run(*arguments, "--num_processes=1")
    assert completed.returncode == 0, completed.stderr
    assert "have changed since the last conversion" in completed.stdout
    assert shard_bytes(data_dir) == shard_bytes(reference[0])


def blocked_folders(directory: Path) -> Path:
    """Class folders with an image that can never be read: a pipe without a writer."""
    for wnid in ("n01440764", "n15075141"):
        (directory / "train" / wnid).mkdir(parents=True)
        for number in range(10):
            path = directory / "train" / wnid / f"{wnid}_{number}.JPEG"
            path.write_bytes(encode(picture(30, 20)))
    os.mkfifo(directory / "train" / "n01440764" / "n01440764_10.JPEG")
    return directory


@pytest.mark.parametrize("victim", ["worker", "parent"])
def test_a_killed_worker_and_an_interrupt_are_one_line(tmp_path, victim):
    raw, data_dir = blocked_folders(tmp_path / "raw"), tmp_path / "data"
    options = ("--split=train", "--bounding_boxes=none", "--train_shards=7")
    process = subprocess.Popen(
        [*COMMAND, str(data_dir), f"--raw_dir={raw}", *options, "--num_processes=2"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: num_finished(data_dir) == 6)
    workers = children_of(process.pid)
    if victim == "parent":
        process.send_signal(signal.SIGINT)
    else:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
    _, message = process.communicate(timeout=TIMEOUT_SECS)
    assert process.returncode == (130 if victim == "parent" else 3)
    assert message.count("\n") == 1
    assert "interrupted" in message or "worker process was killed" in message
    wait_until(lambda: not any(map(is_alive, workers)))


@pytest.mark.slow
def test_training_and_evaluation_run_on_it(reference, tmp_path):
    data_dir, _ = reference
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    shared = [f"--data_dir={data_dir}", "--data_name=imagenet", "--device=cpu", "--batch_size=8"]
    for script, arguments in (
        ("train.py", ["--model=trivial", "--num_batches=3", f"--train_dir={tmp_path / 'run'}"]),
        ("eval.py", [f"--train_dir={tmp_path / 'run'}"]),
    ):
        completed = subprocess.run(
            [sys.executable, script, *shared, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
