"""A checkpoint of a network of tf_slim.nets as TensorFlow 1 made it, in a process of its own.

  python tests/models/pretrained/make_slim_checkpoint.py NAME OUTPUTS IMAGE_SIZE DIRECTORY

TF-Slim's own network and arg scope in a graph, random values in every variable, a session and a
Saver: nothing of this project. DIRECTORY gets model.ckpt, and reference.npz with `images`, uint8
[2, S, S, 3], and the `logits` of them, float32 [2, OUTPUTS].
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

# TF-Slim 1.1 looks for the class where TensorFlow 2.21 no longer has it.
ops.Tensor = tf.Tensor  # type: ignore[attr-defined]

from tf_slim import layers  # noqa: E402
from tf_slim.nets import (  # noqa: E402
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_v1,
    resnet_v2,
    vgg,
)
from tf_slim.ops.arg_scope import arg_scope  # noqa: E402

# Slim's own scopes name a collection of updates that leads to a layer of an old Keras.
WITHOUT_COLLECTION = {"updates_collections": None}


def inception_arg_scope() -> Any:
    """The constants of slim's inception_utils."""
    constants = {"epsilon": 0.001, **WITHOUT_COLLECTION}
    return arg_scope([layers.conv2d], normalizer_fn=layers.batch_norm, normalizer_params=constants)


@contextlib.contextmanager
def resnet_arg_scope() -> Iterator[None]:
    """The constants of slim's resnet_utils."""
    constants = {"epsilon": 1e-5, "scale": True, **WITHOUT_COLLECTION}
    with (
        arg_scope([layers.conv2d], normalizer_fn=layers.batch_norm, normalizer_params=constants),
        arg_scope([layers.batch_norm], **constants),
        arg_scope([layers.max_pool2d], padding="SAME"),
    ):
        yield


def published(scope: Any) -> Any:
    return lambda: arg_scope(scope())


# Arg scope, and the range of pixels: slim's preprocessing of that family.
MEAN_RGB = np.array([123.68, 116.779, 103.939], np.float32)
PLUS_MINUS_ONE, CENTERED = "inception_preprocessing", "vgg_preprocessing"
INCEPTION = inception_arg_scope, PLUS_MINUS_ONE
VGG = published(vgg.vgg_arg_scope), CENTERED
NETWORKS: dict[str, Any] = {
    "alexnet_v2": (alexnet.alexnet_v2, published(alexnet.alexnet_v2_arg_scope), PLUS_MINUS_ONE),
    "overfeat": (overfeat.overfeat, published(overfeat.overfeat_arg_scope), PLUS_MINUS_ONE),
    "vgg_a": (vgg.vgg_a, *VGG),
    "vgg_16": (vgg.vgg_16, *VGG),
    "vgg_19": (vgg.vgg_19, *VGG),
    "inception_v1": (inception_v1.inception_v1, *INCEPTION),
    "inception_v2": (inception_v2.inception_v2, *INCEPTION),
    "inception_v3": (inception_v3.inception_v3, *INCEPTION),
    "resnet_v1_50": (resnet_v1.resnet_v1_50, resnet_arg_scope, CENTERED),
    "resnet_v2_50": (resnet_v2.resnet_v2_50, resnet_arg_scope, PLUS_MINUS_ONE),
}


def make(name: str, outputs: int, image_size: int, directory: str) -> None:
    function, scope, pixel_range = NETWORKS[name]
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, [2, image_size, image_size, 3], np.uint8)
    inputs = images.astype(np.float32)
    if pixel_range == CENTERED:
        inputs -= MEAN_RGB
    else:
        inputs = (inputs / 255 - 0.5) * 2
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        with scope():
            logits, _ = function(tf.constant(inputs), outputs, is_training=False)
        tf.compat.v1.train.create_global_step()
        if pixel_range == CENTERED:  # the published checkpoints have it, no network reads it
            tf.compat.v1.get_variable(f"{name}/mean_rgb", initializer=MEAN_RGB)
        session.run(tf.compat.v1.global_variables_initializer())
        variables = tf.compat.v1.model_variables()
        values = {
            variable.initializer.inputs[1]: _random(
                variable.op.name, variable.shape.as_list(), generator
            )
            for variable in variables
        }
        session.run([variable.initializer for variable in variables], values)
        reference = session.run(logits)
        tf.compat.v1.train.Saver().save(session, os.path.join(directory, "model.ckpt"))
    reference = reference.reshape([len(images), outputs])
    np.savez(os.path.join(directory, "reference.npz"), images=images, logits=reference)


def _random(name: str, shape: list[int], generator: np.random.Generator) -> np.ndarray:
    """Values that neither die out nor explode, and no two alike: statistics too."""
    kind = name.rpartition("/")[2]
    if kind.endswith("weights"):
        return generator.normal(0.0, np.sqrt(2.0 / np.prod(shape[:-1])), shape)
    if kind in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    return generator.normal(0.0, 0.1, shape)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
