"""Lists the images of class folders, and of Kaggle's ImageNet as it is unpacked.

DIR/ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG
DIR/LOC_synset_mapping.txt
DIR/LOC_val_solution.csv
"""

from __future__ import annotations

import csv
from pathlib import Path

from common.errors import DataError, UsageError
from download_and_convert_imagenet.sources.class_folders import folder_source
from download_and_convert_imagenet.sources.folders.layout import detect
from download_and_convert_imagenet.sources.folders.tree import scan
from download_and_convert_imagenet.sources.image_source import (
    TEST,
    TRAIN,
    VALIDATION,
    ImageSource,
    LeftOut,
)
from download_and_convert_imagenet.sources.imagenet_folders import list_validation_folder
from download_and_convert_imagenet.sources.synsets import labels_by_wnid
from inference.predictions.sources.dataset import DataSet, Image, PixelRule, printable

KAGGLE_IMAGES = "ILSVRC/Data/CLS-LOC"
SOLUTION_FILE = "LOC_val_solution.csv"
MAPPING_FILE = "LOC_synset_mapping.txt"
# ImageNet's records hold JPEGs as they are stored: see the converter's `ImageSource`.
_IMAGENET_RULE = PixelRule(keep_png=False, upright=False)


def open_kaggle(directory: Path, name: str, subset: str | None) -> DataSet:
    """Lists Kaggle's validation images, in the order of their names.

    Raises:
        DataError: the images or a list is missing, or an image is not in the list.
        UsageError: the training images are wanted.
    """
    if subset == TRAIN:
        path = directory / KAGGLE_IMAGES / TRAIN
        raise UsageError(
            f"{SOLUTION_FILE} has the classes of the validation images alone: for the training "
            f"images give their folders of classes, --data={path}"
        )
    ids, names = _mapping(directory / MAPPING_FILE)
    wnid_of = _solution(directory / SOLUTION_FILE)
    left_out: list[LeftOut] = []
    folder = directory / KAGGLE_IMAGES / "val"
    try:
        listed = list_validation_folder(folder, left_out)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read: {error.strerror}; unpack the validation images there: "
            'tar -xzf imagenet_object_localization_patched2019.tar.gz "*val*"'
        ) from error
    label_of = {wnid: label for label, wnid in enumerate(ids)}
    images = []
    for file_name, _, location in sorted(listed, key=lambda image: image.name):
        wnid = wnid_of.get(file_name.rpartition(".")[0])
        if wnid not in label_of:
            reason = f"is not in {SOLUTION_FILE}" if wnid is None else f"has the class {wnid}"
            where = "" if wnid is None else f", which {MAPPING_FILE} does not list"
            raise DataError(f"{folder / file_name} {reason}{where}")
        images.append(Image(printable(file_name), label_of[wnid], location))
    notes = []
    if len(images) != len(wnid_of):
        notes.append(
            f"{SOLUTION_FILE} lists {len(wnid_of):,} images, and {folder} holds {len(images):,}: "
            "only these are expected"
        )
    return DataSet(
        name, directory, VALIDATION, tuple(images), names, ids, _IMAGENET_RULE, folder, tuple(notes)
    )


def open_folders(directory: Path, name: str, subset: str | None) -> DataSet:
    """Lists the images of class folders in the forms of the converter, by class and name.

    Raises:
        DataError: the folders have no reading, or the split is not there.
    """
    source, subset, folder = _source(directory, subset)
    listed = source.splits[subset or TRAIN]
    synset_of = {image.label: image.synset for image in listed}
    ids = tuple(synset_of.get(label + 1, "") for label in range(len(source.class_names)))
    is_imagenet = {*ids} - {""} <= {*labels_by_wnid()}
    images = tuple(Image(printable(i.name), i.label - 1, i.location) for i in listed)
    return DataSet(
        name,
        directory,
        subset,
        images,
        source.class_names,
        ids if is_imagenet else (),
        _IMAGENET_RULE if is_imagenet else PixelRule(),
        folder,
    )


def gives_split(directory: Path, subset: str) -> bool:
    """Returns whether `open_folders` lists the images of a split as a training would use them."""
    layout = detect(scan(directory)[0], with_test=True)
    first = layout.splits.get(TRAIN)
    is_flat = len(layout.splits) == 1 and first is not None and first.folder.path == str(directory)
    return subset in layout.splits and subset != TEST and not is_flat


def _source(directory: Path, subset: str | None) -> tuple[ImageSource, str | None, Path]:
    """Returns the images, the split (None without splits), and the folder of their names."""
    layout = detect(scan(directory)[0])
    first = layout.splits.get(TRAIN)
    is_flat = len(layout.splits) == 1 and first is not None and first.folder.path == str(directory)
    if is_flat:
        return folder_source(directory, 0, split=TRAIN), None, directory
    subset = subset or VALIDATION
    if subset not in layout.splits:
        (other,) = layout.splits
        raise DataError(f"{directory} has no {subset} split: add --data_subset={other}")
    fraction = 0 if VALIDATION not in layout.splits else None
    source = folder_source(directory, fraction, split=subset)
    return source, subset, Path(layout.splits[subset].folder.path)


def _mapping(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the WordNet ids and the words of "n01440764 tench, Tinca tinca", line by line."""
    lines = _text(path, "LOC_synset_mapping.txt").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    bad = next((n for n, pair in enumerate(pairs, 1) if len(pair) != 2 or pair[0][0] != "n"), None)
    if bad is not None or not pairs:
        raise DataError(f"{path}, line {bad or 1}: must be a WordNet id and words: n01440764 tench")
    return tuple(pair[0] for pair in pairs), tuple(pair[1].strip() for pair in pairs)


def _solution(path: Path) -> dict[str, str]:
    """Returns the WordNet id of each image of "ImageId,PredictionString" without suffix.

    The string is "n03995372 85 1 499 272", with the boxes of the same class behind it.
    """
    try:
        rows = list(csv.reader(_text(path, "LOC_val_solution.csv").splitlines()))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}") from error
    if not rows or rows[0][:2] != ["ImageId", "PredictionString"]:
        raise DataError(f"{path}, line 1: must be ImageId,PredictionString")
    wnid_of = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) < 2 or not row[1].split():
            raise DataError(f"{path}, line {number}: must be an image and its class")
        wnid_of[row[0]] = row[1].split()[0]
    return wnid_of


def _text(path: Path, name: str) -> str:
    """Returns the text of a file of Kaggle's."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        packed = path.with_name(f"{path.name}.zip")
        advice = (
            f"unpack {packed}"
            if packed.exists()
            else "it comes with Kaggle's imagenet-object-localization-challenge"
        )
        raise DataError(f"{path} does not exist: {advice}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
