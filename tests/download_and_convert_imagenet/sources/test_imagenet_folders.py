from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources.imagenet import ImagenetInput
from download_and_convert_imagenet.sources.imagenet_folders import list_train_folder
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    BOX_ARCHIVE,
    KAGGLE_ARCHIVE,
    TRAIN_ARCHIVE,
    VALIDATION_ARCHIVE,
    write_archives,
    write_folders,
    write_kaggle_archive,
    write_kaggle_folders,
)

FAKE = make_fake_imagenet(12, largest_size=(300, 200))
SPLITS = ("train", "validation")


def read(directory, splits=SPLITS, boxes=None, *, with_boxes=True):
    """Everything that a conversion needs of each image, and the lines that were logged."""
    lines: list[str] = []
    scratch_dir = directory / "raw-data"
    found = ImagenetInput((directory, scratch_dir), scratch_dir, directory, lines.append)
    source = found.read(splits, boxes, with_boxes=with_boxes)
    images = {
        split: [(i.name, i.label, i.synset, i.text, i.boxes, i.location.read()) for i in listed]
        for split, listed in source.splits.items()
    }
    return images, lines


def by_class(fake, directory):
    return write_folders(fake, directory, validation_by_class=True)


def inside_raw_data(fake, directory):
    write_archives(fake, directory / "raw-data")
    return directory


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    images, _ = read(write_archives(FAKE, tmp_path_factory.mktemp("archives")))
    assert len(images["train"]) == len(FAKE.train)
    assert len(images["validation"]) == len(FAKE.validation)
    return images


@pytest.mark.parametrize(
    "write",
    [write_folders, by_class, write_kaggle_folders, write_kaggle_archive, inside_raw_data],
)
def test_every_layout_gives_the_same_images(tmp_path, expected, write):
    images, _ = read(write(FAKE, tmp_path))
    assert images == expected


def test_train_archive_unpacked_once(tmp_path, expected):
    write_archives(FAKE, tmp_path)
    with tarfile.open(tmp_path / TRAIN_ARCHIVE) as archive:
        archive.extractall(tmp_path / "train", filter="data")
    (tmp_path / TRAIN_ARCHIVE).unlink()
    images, _ = read(tmp_path)
    assert images == expected


def test_kaggles_archive_is_decompressed_once(tmp_path, expected):
    write_kaggle_archive(FAKE, tmp_path)
    _, lines = read(tmp_path)
    assert any("decompressing" in line for line in lines)
    images, lines = read(tmp_path)
    assert not any("decompressing" in line for line in lines)
    assert images == expected
    later = (tmp_path / "raw-data" / KAGGLE_ARCHIVE[:-3]).stat().st_mtime_ns + 10**9
    os.utime(tmp_path / KAGGLE_ARCHIVE, ns=(later, later))
    _, lines = read(tmp_path)
    assert any("decompressing" in line for line in lines)


def test_half_of_kaggles_archive_is_refused_and_leaves_nothing(tmp_path):
    write_kaggle_archive(FAKE, tmp_path)
    path = tmp_path / KAGGLE_ARCHIVE
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=f"{KAGGLE_ARCHIVE} is incomplete or damaged"):
        read(tmp_path)
    assert list((tmp_path / "raw-data").iterdir()) == []


def test_an_archive_of_something_else_is_refused(tmp_path):
    content = gzip.decompress((write_archives(FAKE, tmp_path) / BOX_ARCHIVE).read_bytes())
    for name in (TRAIN_ARCHIVE, VALIDATION_ARCHIVE):
        (tmp_path / name).unlink()
    (tmp_path / KAGGLE_ARCHIVE[:-3]).write_bytes(content)
    with pytest.raises(DataError, match="holds no images in ILSVRC/Data"):
        read(tmp_path)


def test_one_split_alone(tmp_path, expected):
    write_archives(FAKE, tmp_path)
    (tmp_path / TRAIN_ARCHIVE).unlink()
    images, _ = read(tmp_path, ["validation"])
    assert images == {"validation": expected["validation"]}


def test_missing_archives_are_all_reported_at_once(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for name in (TRAIN_ARCHIVE, VALIDATION_ARCHIVE, "https://image-net.org", "147,897,477,120"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    write_archives(FAKE, tmp_path)
    (tmp_path / VALIDATION_ARCHIVE).unlink()
    with pytest.raises(DataError, match=f"{VALIDATION_ARCHIVE} is missing") as caught:
        read(tmp_path)
    assert TRAIN_ARCHIVE not in str(caught.value)


def test_boxes_from_elsewhere_and_none(tmp_path, expected):
    write_archives(FAKE, tmp_path)
    (tmp_path / BOX_ARCHIVE).rename(tmp_path / "my_boxes.tar.gz")
    images, _ = read(tmp_path, boxes=tmp_path / "my_boxes.tar.gz")
    assert images == expected
    images, _ = read(tmp_path, with_boxes=False)
    assert all(boxes == () for *_, boxes, _ in images["train"])


def test_a_folder_of_an_unknown_class_is_named(tmp_path):
    write_folders(FAKE, tmp_path)
    (tmp_path / "train" / "tench").mkdir()
    with pytest.raises(DataError, match=r"train/tench is not named after a class.*--source=folder"):
        read(tmp_path)


def test_validation_images_in_folders_of_other_classes_are_reported(tmp_path):
    by_class(FAKE, tmp_path)
    image, other = FAKE.validation[0], FAKE.validation[-1]
    folder = tmp_path / "validation"
    (folder / image.wnid / "holiday.jpeg").write_bytes(image.content)  # the folder is not empty
    (folder / image.wnid / image.name).rename(folder / other.wnid / image.name)
    message = f"{image.name} lies in the folder {other.wnid}, but .* {image.wnid}"
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_validation_image_in_two_places_is_reported(tmp_path):
    by_class(FAKE, tmp_path)
    image = FAKE.validation[2]
    folder = tmp_path / "validation"
    (folder / image.name).write_bytes(image.content)
    with pytest.raises(DataError, match=f"{folder / image.name} is in the folder of its class"):
        read(tmp_path)
    (folder / image.wnid / image.name).unlink()
    images, _ = read(tmp_path)
    assert len(images["validation"]) == len(FAKE.validation)


def test_validation_images_under_other_names_have_the_class_of_their_folder(tmp_path):
    by_class(FAKE, tmp_path)
    image = FAKE.validation[3]
    folder = tmp_path / "validation" / image.wnid
    (folder / image.name).rename(folder / "holiday.jpeg")
    images, _ = read(tmp_path, ["validation"])
    labels = {name: label for name, label, *_ in images["validation"]}
    assert labels["holiday.jpeg"] == image.label


def test_an_empty_folder_is_reported(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="has no folders of classes"):
        list_train_folder(tmp_path / "train", [])


def half_unpacked(directory, num_left):
    """Class folders as a loop leaves them that unpacks an archive, then removes it."""
    write_archives(FAKE, directory)
    folder = directory / "train"
    with tarfile.open(directory / TRAIN_ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    archives = sorted(folder.glob("*.tar"))
    for path in archives[: len(archives) - num_left]:
        with tarfile.open(path) as archive:
            archive.extractall(path.with_suffix(""), filter="data")
        path.unlink()
    return archives[len(archives) - num_left :]


@pytest.mark.parametrize("is_begun", [False, True])
def test_archives_that_were_not_reached_are_reported(tmp_path, is_begun):
    left = half_unpacked(tmp_path, num_left=3)
    if is_begun:
        with tarfile.open(left[0]) as archive:
            archive.extract(archive.getmembers()[0], left[0].with_suffix(""), filter="data")
    message = rf"^{left[0]} lies next to .* still holds \(3\)"
    with pytest.raises(DataError, match=message) as caught:
        list_train_folder(tmp_path / "train", [])
    assert "\n" not in str(caught.value)


def test_the_last_class_may_be_unpacked_in_part(tmp_path):
    (left,) = half_unpacked(tmp_path, num_left=1)
    with tarfile.open(left) as archive:
        archive.extract(archive.getmembers()[0], left.with_suffix(""), filter="data")
    with pytest.raises(DataError, match=f"{left} lies next to folders of classes"):
        list_train_folder(tmp_path / "train", [])


def test_archives_that_were_kept_next_to_their_folders_do_no_harm(tmp_path, expected):
    half_unpacked(tmp_path, num_left=0)
    with tarfile.open(tmp_path / TRAIN_ARCHIVE) as archive:
        archive.extractall(tmp_path / "train", filter="data")
    (tmp_path / TRAIN_ARCHIVE).rename(tmp_path / "train" / TRAIN_ARCHIVE)
    assert read(tmp_path)[0] == expected


@pytest.mark.parametrize("split", SPLITS)
def test_a_class_folder_without_images_is_reported(tmp_path, split):
    by_class(FAKE, tmp_path)
    folder = tmp_path / split / FAKE.train[-1].wnid
    for path in folder.iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match=f"^{folder} holds no images$"):
        read(tmp_path)


def test_a_hold_out_of_training_images_is_refused_before_readers_refuse_it(tmp_path):
    by_class(FAKE, tmp_path)
    image = FAKE.train[4]
    path = tmp_path / "train" / image.wnid / image.name
    held_out = path.rename(tmp_path / "validation" / image.wnid / image.name)
    with pytest.raises(DataError, match=f"^{image.name} among the validation .* rename it$"):
        read(tmp_path)
    held_out.rename(held_out.with_name(f"held_out_{image.name}"))
    images, _ = read(tmp_path)
    assert len(images["validation"]) == len(FAKE.validation) + 1


def test_validation_images_among_those_for_training_are_refused(tmp_path):
    by_class(FAKE, tmp_path)
    image = FAKE.validation[0]
    (tmp_path / "train" / image.wnid / image.name).write_bytes(image.content)
    with pytest.raises(DataError, match=f"^{image.name} among the train images .* rename it$"):
        read(tmp_path)


def test_what_is_no_image_is_left_out_with_its_reason(tmp_path, expected):
    write_folders(FAKE, tmp_path)
    folder = tmp_path / "train" / FAKE.train[0].wnid
    for path in (folder / "._n01440764_10.JPEG", folder / "Thumbs.db", folder / "n01440764_9.webp"):
        path.write_bytes(b"")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (folder / "more").mkdir()
    (tmp_path / "train" / "loose.jpg").write_bytes(b"")
    (tmp_path / "validation" / "LOC_val_solution.csv").write_bytes(b"")
    assert read(tmp_path)[0] == expected
    found = ImagenetInput((tmp_path,), tmp_path, tmp_path, print)
    left_out = found.read(SPLITS, None, with_boxes=False).left_out
    assert {os.path.basename(path): reason for path, reason, _ in left_out} == {
        "._n01440764_10.JPEG": "left by a system",
        "Thumbs.db": "left by a system",
        "n01440764_9.webp": ".webp",
        "__MACOSX": "left by a system",
        "more": "inside a class",
        "loose.jpg": "next to the folders of classes",
        "LOC_val_solution.csv": ".csv",
    }


def test_a_zip_archive_is_named_with_what_to_do(tmp_path, expected):
    """Kaggle's download; nothing is to be downloaded again."""
    packed = Path(shutil.make_archive(str(tmp_path / "kaggle"), "zip", zip_of(tmp_path)))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{packed} is a zip archive, which is not read: unpack it with unzip {packed} -d "
        f"{tmp_path}, and add --raw_dir={tmp_path}"
    )
    shutil.unpack_archive(packed, tmp_path)
    assert read(tmp_path)[0] == expected


def zip_of(directory) -> Path:
    folder = directory / "unpacked"
    folder.mkdir()
    write_kaggle_folders(FAKE, folder)
    return folder


def test_what_lies_next_to_the_splits_is_counted(tmp_path):
    """But not what this command reads, writes or has written there, nor a split not asked for."""
    write_folders(FAKE, tmp_path)
    for name in ("photos.zip", "notes.txt", "manifest.json", "train-00000-of-00001", "val"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "extra" / "deep").mkdir(parents=True)
    for splits, val in ((SPLITS, ["val"]), (("train",), [])):
        found = ImagenetInput((tmp_path,), tmp_path / "raw-data", tmp_path, print)
        left_out = found.read(splits, None, with_boxes=False).left_out
        names = [Path(path).name for path, _, _ in left_out]
        assert names == ["extra", "notes.txt", "photos.zip", *val]
        assert {reason for _, reason, _ in left_out} == {"next to the folders of the splits"}
