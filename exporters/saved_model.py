"""SavedModels, for TensorFlow Serving and for TensorFlow without this project."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf

from exporters.servable import Servable
from exporters.tflite import quiet
from inference.signature import EXTRAS, FILE_NAME
from preprocessing.images.photos import encoded_view

SERVING = "serving_default"
IMAGE_BYTES = "image_bytes"
CLASSES = "classes"


def write(servable: Servable, directory: Path, labels: Path) -> None:
    """Writes a SavedModel with two signatures, and the class names as an asset.

    `serving_default` takes `images`, float32 [B, S, S, 3], and returns the outputs of the network.
    `image_bytes` takes JPEG or PNG files, string [B], and makes the view of them that evaluations
    make; it also returns `classes`, int64 [B], the likeliest of each image.

    Args:
        directory: Must not exist.
        labels: A file of class names, which is copied.
    """
    module = servable.module()
    module.labels = tf.saved_model.Asset(str(labels))
    signatures = {SERVING: servable.function, IMAGE_BYTES: _from_bytes(servable)}
    with quiet():
        tf.saved_model.save(module, str(directory), signatures=signatures)
    (directory / EXTRAS).mkdir()
    (directory / EXTRAS / FILE_NAME).write_text(servable.signature.to_json(), encoding="utf-8")


def _from_bytes(servable: Servable) -> Any:
    signature = servable.signature
    one_image = tf.TensorSpec(servable.input_spec().shape[1:], tf.float32)

    def view(encoded: tf.Tensor) -> tf.Tensor:
        options = dataclasses.asdict(signature.view)
        return encoded_view(encoded, signature.image_size, **options)

    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(view, image_bytes, fn_output_signature=one_image)
        pixels = tf.ensure_shape(images, servable.input_spec().shape)
        outputs = servable.function(pixels)[signature.output]
        return {signature.output: outputs, CLASSES: tf.argmax(outputs, axis=1)}

    spec = tf.TensorSpec([servable.batch_size], tf.string, name=IMAGE_BYTES)
    return tf.function(classify, autograph=False).get_concrete_function(spec)
