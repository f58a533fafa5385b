"""Artifacts of predictions with known answers."""

from __future__ import annotations

import numpy as np

from inference.predictions import table
from inference.predictions.table import Predictions

IMAGES, CLASSES, TOP = 400, 12, 5


def manifest(num_images=IMAGES, num_classes=CLASSES, top=TOP, **more):
    return {
        "model": "lenet",
        "expected": num_images,
        "top": top,
        "format": "parquet",
        "class_names": [f"class {number}" for number in range(num_classes)],
        "wordnet_ids": [],
        "data": {"name": "photos", "directory": "/nowhere", "subset": "validation"},
        **more,
    }


def random_predictions(
    seed=1, *, num_images=IMAGES, num_classes=CLASSES, top=TOP, accuracy=0.6, labels=None, **more
):
    """The labels are those of seed 0, so that predictions of two seeds can be compared."""
    if labels is None:
        labels = np.random.default_rng(0).integers(0, num_classes, num_images)
    random = np.random.default_rng(seed)
    scores = random.random((num_images, num_classes))
    lucky = np.flatnonzero(random.random(num_images) < accuracy)
    scores[lucky, labels[lucky]] += 1
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    order = np.argsort(-probabilities, axis=1)[:, :top]
    return Predictions(
        manifest(num_images, num_classes, top, **more),
        np.array([f"{number:04}.jpg" for number in range(num_images)]),
        labels.astype(np.int32),
        order.astype(np.int32),
        np.take_along_axis(probabilities, order, axis=1).astype(np.float32),
    )


def without(predictions, places):
    """The same without the predictions of some images."""
    classes, probabilities = predictions.classes.copy(), predictions.probabilities.copy()
    classes[places], probabilities[places] = -1, np.nan
    return Predictions(
        predictions.manifest, predictions.images, predictions.labels, classes, probabilities
    )


def write(directory, predictions):
    table.write(directory, predictions)
    return directory
