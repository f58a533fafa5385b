"""The answers as one text file an image, as the ailia accuracy tool writes and reads them.

`predictions/ILSVRC2012_val_00000001.txt` has a line for each class, best first: the label with
underscores for spaces, the class from 0, the probability with six digits.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

from common.files import naming, write_errors
from inference.predictions.table import Predictions

_FOLDER = "predictions"
_UNFINISHED = ".predictions.partial"


def exist(directory: Path) -> bool:
    """Returns whether an artifact has such files."""
    return (directory / _FOLDER).exists()


def write(predictions: Predictions, directory: Path) -> None:
    """Writes a file for each image that has a prediction: all of them, or none if it fails.

    Raises:
        DataError: a file cannot be written.
    """
    folder, unfinished = directory / _FOLDER, directory / _UNFINISHED
    labels = ["_".join(name.split(" ")) for name in predictions.manifest["class_names"]]
    names = _file_names(predictions)
    with write_errors(folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            for number, name in names.items():
                rows = zip(
                    predictions.classes[number], predictions.probabilities[number], strict=True
                )
                text = "".join(f"{labels[k]} {k} {probability:f}\n" for k, probability in rows)
                path = unfinished / name
                with naming(folder / name):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.replace(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _file_names(predictions: Predictions) -> dict[int, str]:
    """Returns the file of each image with a prediction; its own suffix stays if it is needed."""
    numbers = [number for number, missing in enumerate(predictions.missing) if not missing]
    names = {number: _below(str(predictions.images[number])) for number in numbers}
    stems = {number: os.path.splitext(name)[0] for number, name in names.items()}
    count, whole = Counter(stems.values()), {*names.values()}
    # a.jpg.png must not become a.jpg.txt if there is a.jpg, whose suffix may be needed.
    return {
        number: f"{stem if count[stem] == 1 and stem not in whole else names[number]}.txt"
        for number, stem in stems.items()
    }


def _below(name: str) -> str:
    """Returns a relative path that stays below its directory: records may hold any name."""
    if os.path.isabs(name) or os.pardir in name.split(os.sep):
        return name.replace(os.sep, "_")
    return name
