"""Finds ImageNet: its own archives, Kaggle's archive or folders, and the bounding boxes."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import (
    CONVERSION_DIRECTORY,
    CORRUPT_IMAGES_FILE,
    FILE_NAME,
    LEFT_OUT_FILE,
    REENCODED_IMAGES_FILE,
    split_of,
)
from download_and_convert_imagenet.sources.bounding_boxes import Boxes, read_boxes
from download_and_convert_imagenet.sources.downloads import (
    IMAGENET_BOXES,
    IMAGENET_TRAIN,
    IMAGENET_VALIDATION,
    Progress,
    download,
    missing_file_message,
)
from download_and_convert_imagenet.sources.folders.tree import reason_of_name
from download_and_convert_imagenet.sources.image_source import (
    IMAGE_SUFFIXES,
    TRAIN,
    VALIDATION,
    ImageSource,
    LeftOut,
)
from download_and_convert_imagenet.sources.imagenet_folders import (
    TRAIN_FOLDERS,
    VALIDATION_FOLDERS,
    list_train_folder,
    list_validation_folder,
)
from download_and_convert_imagenet.sources.imagenet_labels import (
    ListedImage,
    training_images,
    validation_images,
)
from download_and_convert_imagenet.sources.imagenet_tars import (
    list_train_archive,
    list_validation_archive,
)
from download_and_convert_imagenet.sources.kaggle import (
    KAGGLE_ARCHIVES,
    KaggleImages,
    PlannedShards,
    decompress,
    list_kaggle_archive,
)
from download_and_convert_imagenet.sources.synsets import synsets

NAME = "imagenet"
# Below a directory of raw images, in the order of the search.
_BOX_PATHS = (
    IMAGENET_BOXES.name,
    "ILSVRC/Annotations/CLS-LOC/train",
    "Annotations/CLS-LOC/train",
    "bounding_boxes",
    "imagenet_2012_bounding_boxes.csv",
)
_MOST_FOLDERS = 1000  # to look into for what was meant
_ARCHIVES = {TRAIN: IMAGENET_TRAIN, VALIDATION: IMAGENET_VALIDATION}
_FOLDERS = {TRAIN: TRAIN_FOLDERS, VALIDATION: VALIDATION_FOLDERS}
_NEXT_TO = "next to the folders of the splits"


def _tops(paths: Sequence[str]) -> set[str]:
    """Returns the names on the first level."""
    return {path.split("/")[0] for path in paths}


# What may lie in a directory of raw images or of shards without a remark.
_KNOWN = frozenset(
    (
        *_tops((*_BOX_PATHS, *TRAIN_FOLDERS, *VALIDATION_FOLDERS, *KAGGLE_ARCHIVES)),
        *(f"{name}.gz" for name in KAGGLE_ARCHIVES),
        *(file.name for file in _ARCHIVES.values()),
        *(FILE_NAME, CONVERSION_DIRECTORY),
        *(CORRUPT_IMAGES_FILE, LEFT_OUT_FILE, REENCODED_IMAGES_FILE),
    )
)


@dataclass(frozen=True)
class ImagenetInput:
    """Directories to search for ImageNet, in this order.

    Attributes:
        directories: where archives and folders may be.
        scratch_dir: for downloaded and decompressed files.
        data_dir: where the shards will go.
        log: called with a line about each step that takes long.
        progress: called while a download progresses.
    """

    directories: Sequence[Path]
    scratch_dir: Path
    data_dir: Path
    log: Callable[[str], None]
    progress: Progress | None = None

    def read(self, splits: Sequence[str], boxes: Path | None, *, with_boxes: bool) -> ImageSource:
        """Lists the images of `splits`.

        Args:
            boxes: annotations to read instead of those that are found or downloaded.
            with_boxes: whether to read any boxes.

        Raises:
            DataError: a file or folder is missing, incomplete or not what its name says.
            OSError: a file or folder cannot be read.
        """
        places = {split: self._find((_ARCHIVES[split].name, *_FOLDERS[split])) for split in splits}
        kaggle = self._kaggle_archive(splits) if None in places.values() else None
        if kaggle is None and None in places.values():
            raise DataError(self._describe_missing(places))
        left_out = [] if kaggle is None else kaggle.left_out()
        listed = {
            split: self._list_split(split, place, kaggle, left_out)
            for split, place in places.items()
        }
        images = {}
        if TRAIN in listed:
            found = self._boxes(boxes, kaggle) if with_boxes else {}
            images[TRAIN] = training_images(listed[TRAIN], found)
        if VALIDATION in listed:
            images[VALIDATION] = validation_images(listed[VALIDATION])
        for split, found in images.items():
            if not found:
                raise DataError(f"there are no {split} images in {places[split] or 'the archive'}")
        left_out += self._left_out_next_to(places)
        class_names = tuple(synset.words for synset in synsets())
        return ImageSource(NAME, class_names, images, left_out=tuple(sorted(left_out)))

    def _left_out_next_to(self, places: Mapping[str, Path | None]) -> list[LeftOut]:
        """Returns what lies next to the folders of splits, and is neither read nor written."""
        folders = [path for path in places.values() if path is not None and path.is_dir()]
        others = {name for split in places for name in _tops(_FOLDERS[split])}
        left_out = []
        for directory in self.directories:
            used = {f.relative_to(directory).parts[0] for f in folders if directory in f.parents}
            for path in sorted(directory.iterdir()) if used else ():
                is_known = path.name in _KNOWN or split_of(path.name)
                if path.name in used or (is_known and path.name not in others):
                    continue
                if path not in (self.scratch_dir, self.data_dir):
                    left_out.append(LeftOut(str(path), reason_of_name(path.name) or _NEXT_TO))
        return left_out

    def _describe_missing(self, places: Mapping[str, Path | None]) -> str:
        # Kaggle's download is one.
        packed = [path for place in self.directories for path in sorted(place.glob("*.zip"))]
        if packed:
            raw = shlex.quote(str(packed[0].parent))
            return (
                f"{packed[0]} is a zip archive, which is not read: unpack it with "
                f"unzip {shlex.quote(str(packed[0]))} -d {raw}, and add --raw_dir={raw}"
            )
        image = None if any(places.values()) else _any_image(self.directories[0])
        if image is not None:
            return (
                f"{self.directories[0]} holds images, such as {image}, but neither ImageNet's "
                "archives nor its train/ and validation/: for a data set of your own add "
                f"--source=folder --raw_dir={shlex.quote(str(self.directories[0]))}"
            )
        return "; ".join(
            missing_file_message(_ARCHIVES[split], self.directories[0])
            for split, place in places.items()
            if place is None
        )

    def _list_split(
        self,
        split: str,
        place: Path | None,
        kaggle: KaggleImages | None,
        left_out: list[LeftOut],
    ) -> list[ListedImage]:
        if place is None:
            assert kaggle is not None
            return kaggle.train if split == TRAIN else kaggle.validation
        self.log(f"{split} images: {place}")
        if place.is_dir():
            list_folder = list_train_folder if split == TRAIN else list_validation_folder
            return list_folder(place, left_out)
        return list_train_archive(place) if split == TRAIN else list_validation_archive(place)

    def _kaggle_archive(self, splits: Sequence[str]) -> KaggleImages | None:
        path = self._find(KAGGLE_ARCHIVES)
        compressed = self._find([f"{name}.gz" for name in KAGGLE_ARCHIVES])
        if compressed is not None and (path is None or _is_newer(compressed, path)):
            num_bytes = sum(_ARCHIVES[split].num_bytes or 0 for split in splits)
            shards = PlannedShards(self.data_dir, splits, num_bytes)
            path = decompress(compressed, self.scratch_dir, shards, self.log)
        if path is None:
            return None
        self.log(f"images: {path}")
        return list_kaggle_archive(path)

    def _boxes(self, path: Path | None, kaggle: KaggleImages | None) -> Boxes:
        path = path or self._find(_BOX_PATHS)
        if path is None and kaggle is not None and kaggle.annotations:
            self.log("bounding boxes: in the same archive")
            return kaggle.boxes()
        if path is None:
            self.log(f"downloading {IMAGENET_BOXES.url}")
            path = download(IMAGENET_BOXES, self.scratch_dir, progress=self.progress)
        self.log(f"bounding boxes: {path}")
        return read_boxes(path)

    def _find(self, names: Sequence[str]) -> Path | None:
        """Returns the path of the first of `names` that is in one of the directories."""
        candidates = (directory / name for name in names for directory in self.directories)
        return next((path for path in candidates if path.exists()), None)


def _any_image(directory: Path) -> str | None:
    """Returns the path of an image in one of the first folders below a directory."""
    for folder, folders, names in itertools.islice(os.walk(directory), _MOST_FOLDERS):
        folders[:] = sorted(name for name in folders if reason_of_name(name) is None)
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not reason_of_name(name):
                return os.path.join(folder, name)
    return None


def _is_newer(path: Path, other: Path) -> bool:
    return path.stat().st_mtime_ns > other.stat().st_mtime_ns
