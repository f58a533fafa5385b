"""`prediction.py --data`: from the flags to the artifact."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import process
from common.errors import DataError, UsageError
from common.paths import quoted
from common.version import installed
from inference import signature as signatures
from inference.network import CHECKPOINT, Choice, Network, open_network
from inference.predictions.prediction import Output, of_images, predict
from inference.predictions.predictor import Task
from inference.predictions.sources.dataset import DataSet
from inference.predictions.sources.labels import network_classes
from inference.predictions.sources.opening import open_dataset
from inference.predictions.table import DEFAULT_TOP, HOME, SUBSET, UNKNOWN_CLASS, Predictions
from preprocessing.own_photos import runs as own_photos

_RUNTIMES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime"}


def predict_data(arguments: argparse.Namespace, choice: Choice) -> int:
    """Predicts the data set of the command line. Returns 3 if an image could not be read, else 0.

    Raises:
        RunError: a file, a flag or the network is not usable.
    """
    with process.quiet_startup():
        of_run = own_photos.records_of_run(choice.request.train_dir)
        data = open_dataset(arguments.data, arguments.data_subset, of_run)
        network = open_network(choice, process.num_cores())
    if network.signature.output == signatures.INDEPENDENT:
        raise UsageError(
            f"--data expects one label an image, and {network.path} was trained on several: give "
            "photos (prediction.py DIR), or evaluate the run with eval.py"
        )
    for note in data.notes:
        print(note, flush=True)
    signature = network.signature
    classes = network_classes(data, signature.class_names, signature.wordnet_ids, signature.model)
    competing = None
    if arguments.classes == SUBSET:
        competing = tuple(sorted(k for k in classes.tolist() if k != UNKNOWN_CLASS))
    num_competing = network.classifier.num_classes if competing is None else len(competing)
    task = Task(
        choice,
        arguments.tta,
        min(arguments.top or DEFAULT_TOP, num_competing),
        competing,
        data.rule,
    )
    directory = arguments.output_dir or _default_directory(arguments, choice, network, data)
    _check_outside(directory, data)
    found = predict(
        task,
        network,
        data,
        of_images(data, classes),
        _manifest(arguments, task, network, data, classes),
        Output(directory, arguments.per_image_files, arguments.num_processes),
    )
    return _report(found, directory)


def _check_outside(directory: Path, data: DataSet) -> None:
    """Refuses to write among folders of classes, where the next reading would find one more."""
    if data.images_directory is None:
        return
    # One more folder in DIR may be a class, or a split as in DIR/val/CLASS; Kaggle's lie deeper.
    is_near = data.images_directory.parent in (data.directory, data.directory.parent)
    images = data.directory if is_near else data.images_directory
    place, top = (Path(os.path.realpath(path)) for path in (directory, images))
    if place == top or top in place.parents:
        raise UsageError(
            f"the predictions would be written to {directory}, among the images of "
            f"{data.directory}, whose folders are classes: give another --output_dir"
        )


def _report(found: Predictions, directory: Path) -> int:
    num_missing = int(found.missing.sum())
    print(f"predictions: {directory}")
    print(f"accuracy:    python accuracy.py {quoted(directory)}", flush=True)
    if num_missing:
        print(
            f"error: {num_missing:,} of {len(found.images):,} images have no prediction, which "
            "counts as wrong; the same command tries them again",
            file=sys.stderr,
            flush=True,
        )
    return DataError.exit_code if num_missing else 0


def _default_directory(
    arguments: argparse.Namespace, choice: Choice, network: Network, data: DataSet
) -> Path:
    """Returns evaluation/MODEL/NAME; NAME is the data set's, and what differs from the defaults."""
    request = choice.request
    differing: Sequence[Any] = (
        choice.file and choice.file.name,
        request.train_dir and Path(request.train_dir).absolute().name,
        request.weights,
        request.image_size,
        request.eval_method,
        request.resize_method,
        arguments.tta,
        SUBSET if arguments.classes == SUBSET else None,
        data.subset if data.subset == "train" else None,
    )
    words = "_".join(str(value) for value in differing if value)
    name = f"{data.name}__{words}" if words else data.name
    return HOME / network.signature.model / re.sub(r"[=.]", "_", name)


def _manifest(
    arguments: argparse.Namespace,
    task: Task,
    network: Network,
    data: DataSet,
    classes: np.ndarray,
) -> dict[str, Any]:
    """Returns all that decides about the answers, and what one needs to understand them."""
    signature = network.signature
    directory = data.images_directory
    versions = signatures.versions()
    runtime = _RUNTIMES.get(network.backend)
    if runtime is not None:
        versions[runtime] = installed(runtime) or "unknown"
    return {
        "model": signature.model,
        "backend": network.backend,
        "sha256": network.sha256(),
        "weights": signature.weights,
        "file": None if network.backend == CHECKPOINT else network.path.name,
        "image_size": network.classifier.image_size,
        "view": dataclasses.asdict(signature.view),
        "tta": task.tta,
        "classes": arguments.classes,
        "top": task.top,
        "batch_size": task.batch_size,
        "expected": len(data.images),
        "format": arguments.format,
        "data": {
            "name": data.name,
            "subset": data.subset,
            "sha256": data.sha256(),
            "classes": sorted(k for k in classes.tolist() if k != UNKNOWN_CLASS),
            "directory": str(data.directory.absolute()),
            "images_directory": None if directory is None else str(directory.absolute()),
        },
        "versions": versions,
        "class_names": list(signature.class_names),
        "wordnet_ids": list(signature.wordnet_ids),
    }
