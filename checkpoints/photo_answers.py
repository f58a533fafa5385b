"""Photos in, answers out: the classes of each, in the published form or as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints import labels
from preprocessing import registry
from preprocessing.errors import DataError
from preprocessing.manifest_check import manifest_of

if TYPE_CHECKING:
    from checkpoints.classifier import Classifier

WHOLE = "whole"
# Networks of these data see whole images.
_DATA_OF_WHOLE_IMAGES = ("digits", "cifar10")
_BATCH_SIZE = 16


@dataclass(frozen=True)
class View:
    """Which part of a photo the network sees, and how it is resized."""

    eval_method: str = "vgg"
    resize_method: str = "bilinear"
    resize_kernels: str = "legacy"
    eval_crop_fraction: float | None = None

    def but(self, eval_method: str | None, resize_method: str | None) -> View:
        """This view with what is not None; another method has its own crop fraction."""
        is_same = eval_method in (None, self.eval_method)
        return dataclasses.replace(
            self,
            eval_method=eval_method or self.eval_method,
            resize_method=resize_method or self.resize_method,
            eval_crop_fraction=self.eval_crop_fraction if is_same else None,
        )


def view_of_data(data: Any) -> View:
    """What a network has seen that was trained with these data flags (`Params.data` of a run)."""
    name = data.data_name
    if name is None and data.data_dir is not None and Path(data.data_dir).is_dir():
        name = registry.guess_name(Path(data.data_dir))
    if name in _DATA_OF_WHOLE_IMAGES:
        return View(WHOLE)
    return View(data.eval_method, data.resize_method, data.resize_kernels, data.eval_crop_fraction)


def class_names(num_classes: int, labels_map_file: str | None, data_dir: str | None) -> list[str]:
    """A name for each class: the file's, else ImageNet's, else the data set's, else "class 0".

    Raises:
      WeightsError, DataError: the file, or the data set's manifest, cannot be read.
    """
    if labels_map_file is None and num_classes != labels.IMAGENET_CLASSES and data_dir is not None:
        manifest = manifest_of(Path(data_dir))
        if manifest is not None and manifest.num_classes == num_classes:
            return list(manifest.class_names)
    return list(labels.for_classes(num_classes, labels_map_file))


def classify(
    classifier: Classifier, paths: Sequence[str], view: View, names: Sequence[str], top: int
) -> Iterator[dict[str, Any]]:
    """For each photo, in order, its `image` and `predictions`, best first, or its `error`."""
    from preprocessing import photos

    photos.allow_large_images()
    files = photos.find(paths)
    for start in range(0, len(files), _BATCH_SIZE):
        yield from _classify_batch(classifier, files[start : start + _BATCH_SIZE], view, names, top)


def report(answers: Iterable[dict[str, Any]], as_json: bool) -> bool:
    """Print each answer as it comes, or all as one JSON list; returns whether none is an error."""
    told = []
    for answer in answers:
        told.append(answer)
        if not as_json:
            _print(answer)
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False), flush=True)
    return not any("error" in answer for answer in told)


def _print(answer: dict[str, Any]) -> None:
    """The published lines on stdout, or the error on stderr."""
    if "error" in answer:
        print(f"error: {answer['error']}", file=sys.stderr, flush=True)
        return
    print(f"predicted class for image {answer['image']}: ")
    for rank, prediction in enumerate(answer["predictions"]):
        percent = 100 * prediction["probability"]
        print(f"  -> top_{rank} ({percent:.2f}%): {prediction['label']}  ", flush=True)


def _classify_batch(
    classifier: Classifier, files: Sequence[Path], view: View, names: Sequence[str], top: int
) -> list[dict[str, Any]]:
    import numpy as np

    from preprocessing import photos
    from preprocessing.photo_view import photo_view

    answers: list[dict[str, Any]] = []
    pixels = []
    for file in files:
        answers.append({"image": str(file)})
        try:
            image = photo_view(photos.read(file), classifier.image_size, **dataclasses.asdict(view))
        except DataError as error:
            answers[-1]["error"] = str(error)
        else:
            pixels.append(image)
    rows = iter(classifier.probabilities(np.stack(pixels)) if pixels else ())
    for answer in answers:
        if "error" not in answer:
            row = next(rows)
            best = np.argsort(-row, kind="stable")[:top]
            answer["predictions"] = [
                {"class": int(k), "label": names[k], "probability": float(row[k])} for k in best
            ]
    return answers
