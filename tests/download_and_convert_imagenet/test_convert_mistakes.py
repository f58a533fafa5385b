from __future__ import annotations

import os
import subprocess
import sys

import pytest
from PIL import Image

from download_and_convert_imagenet import check_shards
from download_and_convert_imagenet.__main__ import main
from download_and_convert_imagenet.data_directory import locked
from download_and_convert_imagenet.records.manifest import read_manifest
from tests.conftest import ROOT
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    KAGGLE_ARCHIVE,
    TRAIN_ARCHIVE,
    write_archives,
    write_kaggle_archive,
)
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture

SHARDS = ("--train_shards=12", "--validation_shards=4")
COMMAND = (sys.executable, "-m", "download_and_convert_imagenet")
TIMEOUT_SECS = 300


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_archives(make_fake_imagenet(50), tmp_path_factory.mktemp("raw"))


def fails_with_one_line(capsys, *arguments, code=3) -> str:
    """Run in this process; returns the line."""
    try:
        returned = main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        returned = stopped.code
    message = capsys.readouterr().err
    assert returned == code
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert message.endswith("\n")
    return message


def test_two_at_once_are_refused(raw, tmp_path, capsys):
    with locked(tmp_path):
        message = fails_with_one_line(
            capsys, tmp_path, f"--raw_dir={raw}", *SHARDS, "--num_processes=1"
        )
    assert f"another conversion is writing to {tmp_path} (process {os.getpid()} on " in message


def test_nothing_is_decompressed_during_another_conversion(tmp_path, capsys):
    raw, data_dir = tmp_path / "raw", tmp_path / "data"
    write_kaggle_archive(make_fake_imagenet(4, largest_size=(300, 200)), raw)
    with locked(data_dir):
        partial = data_dir / "raw-data" / f".{KAGGLE_ARCHIVE.removesuffix('.gz')}.partial"
        partial.parent.mkdir()
        partial.write_bytes(b"of the other one")
        fails_with_one_line(capsys, data_dir, f"--raw_dir={raw}", "--num_processes=1")
    assert list(partial.parent.iterdir()) == [partial]
    assert partial.read_bytes() == b"of the other one"


def test_a_rejected_split_stays_rejected_when_the_other_one_follows(tmp_path, capsys):
    raw, data_dir = tmp_path / "raw", tmp_path / "data"
    write_archives(make_fake_imagenet(16, truncated=True, largest_size=(300, 200)), raw)
    options = (f"--raw_dir={raw}", *SHARDS, "--num_processes=1")
    fails_with_one_line(capsys, data_dir, "--split=train", *options)
    assert main([str(data_dir), "--split=validation", *options]) == 0
    assert f"{data_dir}: validation is complete\n" in capsys.readouterr().out
    assert (data_dir / "corrupt_images.txt").read_text().startswith("train ")
    assert check_shards.main([str(data_dir)]) == 3
    assert "train is not in the manifest" in capsys.readouterr().out


def test_a_class_folder_whose_name_is_no_text(tmp_path, capsys):
    raw = os.fsencode(tmp_path / "raw")
    for split in (b"train", b"val"):
        for name in (b"caf\xe9", b"tea"):
            os.makedirs(folder := os.path.join(raw, split, name))
            with open(os.path.join(folder, b"1.jpg"), "wb") as file:
                file.write(encode(picture(30, 20)))
    options = ("--source=folder", f"--raw_dir={tmp_path / 'raw'}", "--num_processes=1")
    data_dir = tmp_path / "data"
    for _ in range(2):
        assert main([str(data_dir), *options]) == 0
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert [os.fsencode(name) for name in manifest.class_names] == [b"caf\xe9", b"tea"]
    assert check_shards.main([str(data_dir)]) == 0


def class_folders(directory):
    for name in ("cat", "dog"):
        (directory / name).mkdir(parents=True)
        for number in range(20):
            content = encode(picture(20 + number, 30))
            (directory / name / f"{number}.jpg").write_bytes(content)
    return directory


def test_a_directory_whose_name_is_no_text(tmp_path):
    """Streams are strict in every locale but that of C."""

    def run(*command):
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECS,
            check=False,
        )

    raw, data_dir = class_folders(tmp_path / "raw"), os.fsencode(tmp_path) + b"/d\xe9"
    options = ("--source=folder", f"--raw_dir={raw}", "--num_processes=1")
    completed = run("download_and_convert_imagenet", data_dir, *options)
    assert (completed.returncode, completed.stderr) == (0, "")
    escaped = f"{tmp_path}/d\\udce9"
    assert completed.stdout.endswith(f"\n{escaped}: train and validation are complete\n")
    os.unlink(data_dir + b"/train-00003-of-00008")
    completed = run("download_and_convert_imagenet.check_shards", data_dir)
    assert (completed.returncode, completed.stderr) == (3, "")
    assert completed.stdout.startswith(f"{escaped}/train-00003-of-00008: is missing\n")


# A conversion that has nothing to say before its summary.
SUMMARY_ALONE = """
import sys
from download_and_convert_imagenet import command as conversion_command
from download_and_convert_imagenet.__main__ import main
conversion_command.run = lambda options: print("train is complete") or 0
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [COMMAND, (sys.executable, "-c", SUMMARY_ALONE)])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, command):
    raw = class_folders(tmp_path / "raw")
    ours, theirs = os.pipe()
    os.close(ours)
    completed = subprocess.run(
        [*command, tmp_path / "data", "--source=folder", f"--raw_dir={raw}"],
        cwd=ROOT,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
    )
    os.close(theirs)
    assert (completed.returncode, completed.stderr) == (1, "")


def test_the_home_of_an_unknown_user_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["~unknown-user/data"])
    assert stopped.value.code == 2
    assert "there is no user unknown-user" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_bounding_boxes_at_home(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options = (f"--raw_dir={raw}", "--bounding_boxes=~/boxes.csv", *SHARDS)
    message = fails_with_one_line(capsys, tmp_path / "data", *options)
    assert message == f"error: {tmp_path}/home/boxes.csv: No such file or directory\n"


def test_missing_archives(tmp_path, capsys):
    message = fails_with_one_line(capsys, tmp_path)
    assert f"{tmp_path / TRAIN_ARCHIVE} is missing" in message


def test_nothing_is_made_where_no_directory_is(tmp_path, capsys):
    missing = tmp_path / "mistyped" / "data"
    message = fails_with_one_line(capsys, missing)
    assert f"{missing / TRAIN_ARCHIVE} is missing" in message
    message = fails_with_one_line(capsys, missing, "--source=folder", f"--raw_dir={missing}")
    assert f"{missing} is not a directory" in message
    assert list(tmp_path.iterdir()) == []


def test_class_folders_instead_of_imagenet(tmp_path, capsys):
    class_folders(tmp_path / "photos")
    message = fails_with_one_line(capsys, tmp_path / "data", f"--raw_dir={tmp_path / 'photos'}")
    assert "photos/cat/0.jpg, but neither ImageNet's archives nor" in message
    source, raw_dir = message.split()[-2:]
    assert raw_dir == f"--raw_dir={tmp_path / 'photos'}"
    assert main([str(tmp_path / "data"), source, raw_dir, "--num_processes=1"]) == 0


def test_tiny_imagenet_is_sent_to_the_source_that_reads_it(tmp_path, capsys):
    class_folders(tmp_path / "train" / "n01440764")
    options = ("--split=train", "--bounding_boxes=none")
    message = fails_with_one_line(capsys, tmp_path, *options)
    assert "n01440764 holds no images itself, but cat/" in message
    assert "--source=folder" in message


def test_unknown_class(tmp_path, capsys):
    (tmp_path / "train" / "n00000001").mkdir(parents=True)
    (tmp_path / "validation").mkdir()
    assert "train/n00000001 is not named after a class" in fails_with_one_line(capsys, tmp_path)


def test_too_many_shards(raw, tmp_path, capsys):
    message = fails_with_one_line(capsys, tmp_path, f"--raw_dir={raw}")
    assert "150 train images cannot fill 1024 shards: set --train_shards to 150" in message


def test_a_directory_that_cannot_be_written(raw, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    message = fails_with_one_line(capsys, tmp_path / "file" / "data", f"--raw_dir={raw}", *SHARDS)
    assert f"{tmp_path / 'file' / 'data'}: Not a directory" in message


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_file_that_cannot_grow_any_more(raw, tmp_path, num_processes):
    """A limit on the size of files stands for a full disk: the same call fails."""
    command = [*COMMAND, str(tmp_path / "data"), f"--raw_dir={raw}", "--train_shards=2"]
    command += ["--validation_shards=1", f"--num_processes={num_processes}"]
    completed = subprocess.run(
        ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
    )
    assert completed.returncode == 3
    assert completed.stderr.count("\n") == 1
    assert "-of-00002: File too large" in completed.stderr
    assert not list((tmp_path / "data").glob(".*partial"))


# With 200 MiB more than it has, a process is to decode 150 million pixels.
SHORT_OF_MEMORY = """
import resource, sys
from download_and_convert_imagenet import command as conversion_command
from download_and_convert_imagenet.__main__ import main
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


def test_an_image_for_which_memory_is_short(tmp_path):
    (tmp_path / "raw" / "cat").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        large = Image.new("1", (15_000, 10_000))
        (tmp_path / "raw" / "cat" / name).write_bytes(encode(large, "PNG"))
    options = ("--source=folder", f"--raw_dir={tmp_path / 'raw'}", "--num_processes=1")
    command = [sys.executable, "-c", SHORT_OF_MEMORY, tmp_path / "data", *options]
    completed = subprocess.run(
        [*command, "--validation_fraction=0", "--train_shards=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
    )
    assert (completed.returncode, completed.stderr.count("\n")) == (3, 1), completed.stderr
    line = "train-00000-of-00001: memory ran out over one of its images: free some memory\n"
    assert completed.stderr.endswith(line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "DATA_DIR"),
        (["d", "--num_processes=0"], "'0' is not a whole number of 1 or more"),
        (["d", "--train_shards=many"], "'many' is not a whole number"),
        (["d", "--source=folder"], "needs --raw_dir"),
        (["d", "--source=cifar10", "--bounding_boxes=b"], "option of --source=imagenet"),
        (["d", "--validation_fraction=0.1"], "option of --source=folder"),
        (["d", "--source=folder", "--raw_dir=r", "--validation_fraction=1.5"], "from 0 to 1"),
        (["d", "--source=folder", "--raw_dir=r", "--validation_fraction=1"], "add --split=valid"),
        (["d", "--train_shard=3"], "unrecognized arguments"),
    ],
)
def test_bad_options_are_one_line(capsys, arguments, message):
    assert message in fails_with_one_line(capsys, *arguments, code=2)


def test_help_needs_no_library():
    code = (
        "import sys; from download_and_convert_imagenet.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'tensorflow', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0
    assert completed.stdout.endswith("[]\n")
    assert "ILSVRC2012_img_train.tar" in completed.stdout


def test_a_conversion_needs_pillow_and_numpy_alone(tmp_path):
    """Everything else that is installed is out of reach; the built converter runs like this."""
    code = (
        "import sys\n"
        "for name in ('rich', 'tensorflow', 'absl', 'sklearn'): sys.modules[name] = None\n"
        "from download_and_convert_imagenet.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    raw = class_folders(tmp_path / "raw")
    options = ("--source=folder", f"--raw_dir={raw}", "--num_processes=1")
    command = [sys.executable, "-c", code, tmp_path / "data", *options]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, "")
