"""The names of a network's classes: from a file, its run, its data set, or ImageNet's.

The words of ImageNet's classes are WordNet 3.0's; the license is next to the converter's list
(download_and_convert_imagenet/data).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.reporting import run_record
from benchmark_cnn.run_directory import RunDirectory
from common import paths
from common.errors import DataError
from download_and_convert_imagenet.records.manifest import read_manifest
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets
from preprocessing import registry

IMAGENET_CLASSES = 1000


def class_names(
    num_classes: int,
    labels_map_file: str | os.PathLike[str] | None,
    data: DataParams,
    run_directory: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Returns a name for each class, class 0 first.

    They are the file's, else those of the run's run.json, which hold even if the data have moved
    or changed since, else the data set's. ImageNet's words are used for ImageNet's data, and for a
    thousand classes of an unknown data set; other data sets may have a thousand classes, too.
    Without any, they are "class 0", "class 1"..., with a warning on stderr if the data are gone.

    Raises:
        DataError: The file, or the data set's manifest, cannot be read.
    """
    if labels_map_file is not None:
        return for_classes(num_classes, read_map(labels_map_file, num_classes))
    if run_directory is not None:
        record = run_record.read(RunDirectory(Path(run_directory)).run_info)
        names = [paths.one_line(str(name)) for name in record.get("class_names") or ()]
        if len(names) == num_classes and data.data_name != "imagenet":
            return names
    directory = registry.data_directory(data.data_dir, data.data_name)
    manifest = None if directory is None else read_manifest(directory)
    name = data.data_name if manifest is None else manifest.name
    if num_classes == IMAGENET_CLASSES and name in (None, "imagenet"):
        return imagenet()
    if manifest is not None and manifest.num_classes == num_classes:
        return list(manifest.class_names)
    if directory is not None and not directory.exists():
        print(
            f"warning: {directory} is gone, and the names of the classes with it: they are "
            "numbered from 0; give them with --labels_map_file",
            file=sys.stderr,
            flush=True,
        )
    return for_classes(num_classes, {})


def check_imagenet_labels(data: DataParams) -> None:
    """Refuses a data set whose labels are not ImageNet's, for weights that know no others.

    Raises:
        DataError: a label stands for another class than ImageNet's.
    """
    directory = registry.data_directory(data.data_dir, data.data_name)
    manifest = None if directory is None else read_manifest(directory)
    if manifest is None or manifest.name == "imagenet":
        return
    pairs = enumerate(zip(manifest.class_names, imagenet(), strict=False), start=1)
    label = next((label for label, (own, theirs) in pairs if own != theirs), None)
    if label is not None:
        raise DataError(
            f"the published weights know ImageNet's labels, and label {label} in {directory} is "
            f"{manifest.class_names[label - 1]!r}, not ImageNet's: convert a subset of ImageNet, "
            "in folders named by WordNet ids, with --source=imagenet (the default), which keeps "
            "ImageNet's labels; for other classes fine-tune with train.py --pretrained"
        )


def imagenet() -> list[str]:
    """Returns the words for each of the 1000 classes, class 0 first: "tench, Tinca tinca"."""
    return [synset.words for synset in synsets()]


def wordnet_ids(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the WordNet ID of each class; empty unless the names are ImageNet's, words or IDs."""
    if list(names) == imagenet():
        return tuple(synset.wnid for synset in synsets())
    return tuple(names) if all(name in labels_by_wnid() for name in names) else ()


def read_map(path: str | os.PathLike[str], num_classes: int) -> dict[int, str]:
    """Reads class -> label from a JSON file, `{"0": "tench", ...}` or `["tench", ...]`.

    A label may be a list that ends with it, as in Keras' `{"0": ["n01440764", "tench"], ...}`.

    Raises:
        DataError: There is no such file, it has another form, or it is for another number of
            classes.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"labels {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"labels {path}: not valid JSON: {error}") from error
    if isinstance(content, list):
        if len(content) != num_classes:
            raise DataError(_wrong_length(path, len(content), num_classes))
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise DataError(f'labels {path}: must be {{"0": "label", ...}} or a list of labels')
    try:
        found = {int(number): _label(label) for number, label in content.items()}
    except ValueError:
        raise DataError(f"labels {path}: its keys must be class numbers") from None
    labels = {number: label for number, label in found.items() if label is not None}
    nameless = sorted(found.keys() - labels.keys())
    if nameless:
        raise DataError(
            f"labels {path}: the label of class {nameless[0]} is no text: leave the class out of "
            '{"0": "label", ...}, or name it'
        )
    outside = [number for number in labels if not 0 <= number < num_classes]
    if outside:
        raise DataError(
            f"labels {path}: it names class {outside[0]}, the network has classes 0 to "
            f"{num_classes - 1}: count from 0, without a background class"
        )
    return labels


def _label(value: object) -> str | None:
    """Returns a label as one line; None for null and what else is no text or number."""
    last = value[-1] if isinstance(value, list) and value else value
    return paths.one_line(str(last)) if isinstance(last, (str, int, float)) else None


def _wrong_length(path: str | os.PathLike[str], num_names: int, num_classes: int) -> str:
    advice = 'to name only some classes, write {"0": "label", ...}'
    if num_names == num_classes + 1:
        advice = "if the first one is a background class, remove it"
    return f"labels {path}: {num_names} names for {num_classes} classes: {advice}"


def for_classes(num_classes: int, names: Mapping[int, str]) -> list[str]:
    """Returns a label for each class: that in `names`, else "class 0", "class 1"..."""
    return [names.get(number, f"class {number}") for number in range(num_classes)]
