from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing import registry
from tests.conftest import ROOT
from tests.preprocessing.image_shards import open_imagenet, write_numbered_split


def write_named_manifest(directory, name, num_classes):
    path = directory / "train-00000-of-00001"
    shard = Shard(path.name, 2, path.stat().st_size, "")
    class_names = tuple(f"class {n}" for n in range(num_classes))
    write_manifest(directory, Manifest(name, class_names, {"train": (shard,)}))


def test_names():
    assert registry.names() == ("imagenet", "cifar10", "digits", "folder")


def test_the_registry_itself_imports_nothing_heavy():
    """`--help` of the entry points asks for the names, and must answer at once."""
    code = (
        "import sys, preprocessing.registry\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'PIL', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_unknown_name():
    with pytest.raises(UsageError, match="unknown data set 'imagnet': choose from imagenet"):
        registry.open_dataset(DataParams(data_name="imagnet"))


def test_missing_directory():
    with pytest.raises(DataError, match="/nowhere does not exist"):
        registry.open_dataset(DataParams(data_dir="/nowhere"))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("imagenet", "imagenet"), ("ILSVRC2012_ImageNet", "imagenet"), ("cifar10_32", "cifar10")],
)
def test_name_by_directory(tmp_path, folder, expected):
    (tmp_path / folder).mkdir()
    assert registry.guess_name(tmp_path / folder) == expected


def test_a_folder_further_up_does_not_tell_the_name(tmp_path):
    directory = tmp_path / "tensorflow_imagenet" / "data" / "flowers"
    directory.mkdir(parents=True)
    (directory / "train-00000-of-00002").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot tell which data set"):
        registry.guess_name(directory)
    assert registry.guess_name(tmp_path / "tensorflow_imagenet" / "data") == "imagenet"


@pytest.mark.parametrize("folder", ["my_digits", "digits_old", "Digits", "digits/mine"])
def test_digits_are_written_for_their_exact_name_alone(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=f"{folder} is empty"):
        registry.open_dataset(DataParams(data_dir=str(tmp_path / folder)))
    assert list((tmp_path / folder).iterdir()) == []
    with pytest.raises(DataError, match="does not exist"):
        registry.open_dataset(DataParams(data_dir=str(tmp_path / folder / "none")))
    (tmp_path / "digits").mkdir(exist_ok=True)
    assert registry.guess_name(tmp_path / "digits") == "digits"
    assert registry.guess_name(tmp_path / "data" / "digits") == "digits"


def test_names_of_relative_directories(tmp_path, monkeypatch):
    (tmp_path / "imagenet" / "shards").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "imagenet" / "shards")
    assert registry.guess_name(Path()) == "imagenet"
    assert registry.guess_name(Path("..")) == "imagenet"


def test_a_user_whom_there_is_not():
    with pytest.raises(DataError, match="data directory ~nosuchuser/data does not exist"):
        registry.open_dataset(DataParams(data_dir="~nosuchuser/data"))


def test_name_by_manifest_goes_before_the_directory(tmp_path):
    directory = tmp_path / "imagenet"
    write_numbered_split(directory, "train", 2, 1)
    write_named_manifest(directory, "flowers", 102)
    dataset = registry.open_dataset(DataParams(data_dir=str(directory)))
    assert (dataset.name, dataset.num_classes) == ("folder", 102)
    assert dataset.num_examples("train") == 2


def test_name_by_shard_counts(tmp_path):
    (tmp_path / "validation-00005-of-00128").write_bytes(b"x")
    assert registry.guess_name(tmp_path) == "imagenet"


def test_name_by_shard_counts_in_the_folder_of_a_split(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train-00005-of-01024").write_bytes(b"x")
    assert registry.guess_name(tmp_path) == "imagenet"


def test_other_folders_are_not_searched(tmp_path):
    """A directory of raw images has millions of files."""
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    (tmp_path / "train" / "n01440764" / "train-00005-of-01024").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no TFRecord shards .*: convert raw images"):
        registry.guess_name(tmp_path)


def test_what_is_no_directory_is_not_said_to_be_absent(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/nowhere/data")
    with pytest.raises(DataError, match=r"/file is a file, not a directory$"):
        registry.guess_name(tmp_path / "file")
    with pytest.raises(DataError, match=r"/link is a link to /nowhere/data, which does not exist$"):
        registry.guess_name(tmp_path / "link")


def test_nothing_tells_the_name(tmp_path):
    """Only names that need no manifest are advised."""
    (tmp_path / "train-00000-of-00002").write_bytes(b"x")
    with pytest.raises(DataError, match=r"give --data_name=\{imagenet,cifar10\}, or convert"):
        registry.guess_name(tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "folder"])
def test_a_missing_directory_is_said_before_what_is_in_it(tmp_path, name):
    with pytest.raises(DataError, match=r"data directory .*/none does not exist"):
        registry.open_dataset(DataParams(data_dir=str(tmp_path / "none"), data_name=name))


@pytest.mark.parametrize(
    "file",
    ["train-00000-of-00001.gz", "imagenet2012-train.tfrecord-00000-of-01024", "train.tfrecord"],
)
def test_shards_under_names_that_are_not_read(tmp_path, file):
    """They need no conversion."""
    (tmp_path / file).write_bytes(b"x")
    expected = f"holds no TFRecord shards (train-00000-of-...), but {file}, a name that is not read"
    with pytest.raises(DataError, match=re.escape(expected)):
        registry.open_dataset(DataParams(data_dir=str(tmp_path)))


def test_another_number_of_classes_is_answered_with_the_name_that_takes_it(tmp_path):
    write_numbered_split(tmp_path, "train", 2, 1)
    write_named_manifest(tmp_path, "photos", 3)
    with pytest.raises(DataError, match=r"'photos' with 3 classes, .*: give --data_name=folder"):
        registry.open_dataset(DataParams(data_dir=str(tmp_path), data_name="imagenet"))
    opened = registry.open_dataset(DataParams(data_dir=str(tmp_path), data_name="folder"))
    assert opened.num_classes == 3


def test_another_number_of_classes_is_refused(tmp_path):
    write_numbered_split(tmp_path, "train", 2, 1)
    write_named_manifest(tmp_path, "flowers", 102)
    with pytest.raises(DataError, match="'flowers' with 102 classes, not imagenet with 1000"):
        open_imagenet(tmp_path)


def test_folder_needs_its_manifest(tmp_path):
    write_numbered_split(tmp_path, "train", 2, 1)
    with pytest.raises(DataError, match=r"has no manifest\.json"):
        registry.open_dataset(DataParams(data_dir=str(tmp_path), data_name="folder"))
    with pytest.raises(UsageError, match="--data_name=folder needs --data_dir"):
        registry.open_dataset(DataParams(data_name="folder"))


def test_the_files_of_the_subset_are_checked_at_once(tmp_path):
    write_numbered_split(tmp_path, "train", 2, 1)
    open_imagenet(tmp_path, data_subset="train")
    with pytest.raises(DataError, match="holds train shards but no validation shards"):
        open_imagenet(tmp_path, data_subset="validation")


@pytest.mark.parametrize("name", ["digits", "cifar10"])
@pytest.mark.parametrize(
    "option",
    [
        {"train_crop": "efficientnet"},
        {"eval_method": "inception"},
        {"augment": "color"},
        {"augment": "autoaugment"},
        {"augment": "randaugment"},
        {"resize_kernels": "tf2"},
        {"eval_crop_fraction": 0.9},
    ],
)
def test_options_without_effect_are_refused(tmp_path, name, option):
    with pytest.raises(UsageError, match=f"has no effect on {name}") as caught:
        registry.open_dataset(DataParams(data_dir=str(tmp_path), data_name=name, **option))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"train_crop": "vgg"}, "--train_crop=vgg is not one of inception, efficientnet"),
        ({"eval_method": "vg"}, "--eval_method=vg is not one of vgg, inception, efficientnet"),
        ({"resize_method": "lanczos"}, "--resize_method=lanczos is not one of nearest"),
        ({"augment": "mixup"}, "--augment=mixup is not one of none, color"),
        ({"resize_kernels": "pil"}, "--resize_kernels=pil is not one of legacy, tf2"),
        ({"eval_crop_fraction": 1.1}, "--eval_crop_fraction=1.1 must be above 0 and at most 1"),
        ({"randaugment_num_layers": 0}, "--randaugment_num_layers=0 must be at least 1"),
        ({"random_erasing": 1.5}, "--random_erasing=1.5 must be at least 0 and at most 1"),
        ({"mixup_alpha": -1.0}, "--mixup_alpha=-1.0 must be at least 0"),
        ({"shuffle_buffer": 0}, "--shuffle_buffer=0 must be at least 1"),
        ({"max_corrupt_records": -1}, "--max_corrupt_records=-1 must be at least 0"),
        ({"num_data_threads": 0}, "--num_data_threads=0 must be at least 1"),
    ],
)
def test_options_are_checked(tmp_path, option, line):
    with pytest.raises(UsageError) as caught:
        open_imagenet(tmp_path, **option)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("name", ["imagenet", "cifar10", None])
def test_every_data_set_takes_the_augmentation_of_batches(tmp_path, name):
    write_numbered_split(tmp_path, "train", 2, 1)
    place = {"data_dir": str(tmp_path), "data_name": name} if name else {}  # synthetic without
    assert registry.open_dataset(DataParams(**place)).batch_augmentation is None
    dataset = registry.open_dataset(
        DataParams(**place, random_erasing=0.25, mixup_alpha=0.2, cutmix_alpha=1.0)
    )
    data = dataset.batch_augmentation.data
    assert (data.random_erasing, data.mixup_alpha, data.cutmix_alpha) == (0.25, 0.2, 1.0)
