"""A fake ImageNet on disk: the original archives, class folders, Kaggle's archive, its layout."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from download_and_convert_imagenet.sources.synsets import synsets
from tests.download_and_convert_imagenet.fake_imagenet import FakeImage, FakeImageNet

TRAIN_ARCHIVE = "ILSVRC2012_img_train.tar"
VALIDATION_ARCHIVE = "ILSVRC2012_img_val.tar"
BOX_ARCHIVE = "ILSVRC2012_bbox_train_v2.tar.gz"
KAGGLE_ARCHIVE = "imagenet_object_localization_patched2019.tar.gz"
_KAGGLE_IMAGES = "ILSVRC/Data/CLS-LOC"
_KAGGLE_BOXES = "ILSVRC/Annotations/CLS-LOC/train"


def write_archives(fake: FakeImageNet, directory: Path) -> Path:
    """The three archives of image-net.org: a tar of tars, a tar, a tar.gz; returns `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    classes: dict[str, list[FakeImage]] = {}
    for image in fake.train:
        classes.setdefault(image.wnid, []).append(image)
    inner = {
        f"{wnid}.tar": _tar((image.name, image.content) for image in images)
        for wnid, images in classes.items()
    }
    (directory / TRAIN_ARCHIVE).write_bytes(_tar(inner.items()))
    # The validation images of the real archive are in no order.
    mixed = sorted(fake.validation, key=lambda image: image.name[::-1])
    (directory / VALIDATION_ARCHIVE).write_bytes(
        _tar((image.name, image.content) for image in mixed)
    )
    boxes = ((name, xml.encode()) for name, xml in fake.box_files.items())
    (directory / BOX_ARCHIVE).write_bytes(_tar_gz(boxes))
    return directory


def write_folders(
    fake: FakeImageNet, directory: Path, *, validation_by_class: bool = False
) -> Path:
    """train/nXXXXXXXX/*.JPEG, validation/ (flat, or by class) and bounding_boxes/; see above."""
    for image in fake.train:
        _write(directory / "train" / image.wnid / image.name, image.content)
    for image in fake.validation:
        folder = image.wnid if validation_by_class else "."
        _write(directory / "validation" / folder / image.name, image.content)
    for name, xml in fake.box_files.items():
        _write(directory / "bounding_boxes" / name, xml.encode())
    return directory


def write_kaggle_folders(fake: FakeImageNet, directory: Path) -> Path:
    """What unpacking Kaggle's archive gives, with the lists that Kaggle puts next to it."""
    for name, content in _kaggle_files(fake):
        _write(directory / name, content)
    _write_kaggle_lists(fake, directory)
    return directory


def write_kaggle_archive(fake: FakeImageNet, directory: Path) -> Path:
    """Kaggle's one archive, with the lists that Kaggle puts next to it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / KAGGLE_ARCHIVE).write_bytes(_tar_gz(_kaggle_files(fake)))
    _write_kaggle_lists(fake, directory)
    return directory


def _kaggle_files(fake: FakeImageNet) -> list[tuple[str, bytes]]:
    files = [(f"{_KAGGLE_BOXES}/{name}", xml.encode()) for name, xml in fake.box_files.items()]
    files += [
        (f"{_KAGGLE_IMAGES}/train/{image.wnid}/{image.name}", image.content) for image in fake.train
    ]
    files += [(f"{_KAGGLE_IMAGES}/val/{image.name}", image.content) for image in fake.validation]
    return files


def _write_kaggle_lists(fake: FakeImageNet, directory: Path) -> None:
    mapping = "".join(f"{synset.wnid} {synset.words}\n" for synset in synsets())
    (directory / "LOC_synset_mapping.txt").write_text(mapping)
    lines = [f"{image.stem},{image.wnid} 1 2 30 40 \n" for image in fake.validation]
    solution = "ImageId,PredictionString\n" + "".join(lines)
    with zipfile.ZipFile(directory / "LOC_val_solution.csv.zip", "w") as archive:
        archive.writestr("LOC_val_solution.csv", solution)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _tar_gz(files: Iterable[tuple[str, bytes]]) -> bytes:
    return gzip.compress(_tar(files), compresslevel=1, mtime=0)
