"""ImageNet-ReaL: several correct classes an image, or none (Beyer et al. 2020).

The file is the authors' `real.json`: a list of 50,000 lists of classes from 0, one for each image
of ImageNet's validation set in the order of their numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels
from inference.accuracy.scores import Outcomes, accuracies
from inference.predictions.table import Predictions

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


def read(path: Path) -> list[list[int]]:
    """Reads the file.

    Raises:
        DataError: It cannot be read, or it is not such a list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    number, classes = len(validation_labels()), range(len(synsets()))
    if not isinstance(content, list) or len(content) != number:
        raise DataError(f"{path} is not ImageNet-ReaL's real.json, a list of {number:,} lists")
    for place, labels in enumerate(content, start=1):
        if not isinstance(labels, list) or any(
            type(label) is not int or label not in classes for label in labels
        ):
            raise DataError(
                f"{path} is not ImageNet-ReaL's real.json: entry {place:,} is no list of classes "
                f"from 0 to {classes[-1]}"
            )
    return content


def scores(predictions: Predictions, outcomes: Outcomes, labels: list[list[int]]) -> dict[str, Any]:
    """Returns top-1 and top-5 as ReaL counts them: correct is any class of an image's list.

    Images with an empty list are left out, as in the paper, and counted as `unlabeled`.

    Raises:
        DataError: The images are not ImageNet's, or the network's classes are not.
    """
    wordnet_ids = predictions.manifest.get("wordnet_ids") or ()
    if list(wordnet_ids) != [synset.wnid for synset in synsets()]:
        raise DataError("--real_labels are of ImageNet's 1000 classes; the network has other ones")
    lists = [labels[_number(image) - 1] for image in outcomes.images]
    labeled = np.array([bool(entry) for entry in lists])
    if not labeled.any():
        raise DataError("no image has a label in --real_labels")

    def correct(top: int) -> np.ndarray:
        rows = zip(outcomes.classes[:, :top].tolist(), lists, strict=True)
        return np.array([not set(row).isdisjoint(entry) for row, entry in rows])[labeled]

    return {
        "images": int(labeled.sum()),
        "missing": int(outcomes.is_missing[labeled].sum()),
        "unlabeled": int((~labeled).sum()),
        **accuracies(correct(1), None if outcomes.top_5 is None else correct(5)),
    }


def _number(image: str) -> int:
    """Returns the number of an image of the validation set, from 1."""
    match = _NAME.search(image)
    if match is None or not 1 <= int(match[1]) <= len(validation_labels()):
        raise DataError(
            f"--real_labels are of ImageNet's validation images, ILSVRC2012_val_00000001 to "
            f"{len(validation_labels()):08d}; {image} is none of them"
        )
    return int(match[1])
