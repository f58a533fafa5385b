"""What the classes are called: ImageNet's 1000 in English, or a file of one's own.

The words of ImageNet's classes are WordNet 3.0's, under the license beside the converter's list
(download_and_convert_imagenet/data).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DataError
from download_and_convert_imagenet.sources.synsets import synsets
from preprocessing import registry
from preprocessing.records.shards import manifest_of

IMAGENET_CLASSES = 1000


def imagenet() -> list[str]:
    """The words for each of the 1000 classes, class 0 first: "tench, Tinca tinca"."""
    return [synset.words for synset in synsets()]


def read_map(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class -> label of a JSON file, `{"0": "tench", ...}` or `["tench", ...]`.

    Raises:
      DataError: no such file, or of another form.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"labels {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"labels {path} is not JSON: {error}") from error
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise DataError(f'labels {path}: must be {{"0": "label", ...}} or a list of labels')
    try:
        return {int(number): str(label) for number, label in content.items()}
    except ValueError:
        raise DataError(f"labels {path}: its keys must be class numbers") from None


def for_classes(num_classes: int, names: Mapping[int, str]) -> list[str]:
    """A label for each class: of `names` where it has one, else "class 0", "class 1"..."""
    return [names.get(number, f"class {number}") for number in range(num_classes)]


def class_names(num_classes: int, labels_map_file: str | None, data: Any) -> list[str]:
    """A name for each class: the file's, else the data set's, else "class 0".

    ImageNet's words are for ImageNet's data, and for a thousand classes of which nothing is known;
    other data may have as many.

    Raises:
      DataError: the file, or the data set's manifest, cannot be read.
    """
    if labels_map_file is not None:
        return for_classes(num_classes, read_map(labels_map_file))
    directory = registry.data_directory(data.data_dir, data.data_name)
    manifest = None if directory is None else manifest_of(directory)
    name = data.data_name if manifest is None else manifest.name
    if num_classes == IMAGENET_CLASSES and name in (None, "imagenet"):
        return imagenet()
    if manifest is not None and manifest.num_classes == num_classes:
        return list(manifest.class_names)
    return for_classes(num_classes, {})
