"""EfficientNet-Lite with the interface of keras.applications and of efficientnet-lite-keras.

The models take pixels in 0..255 and normalise them themselves, (pixels - 127) / 128, as the
engine's network does. docs/keras_api.md shows their use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from models import efficientnet_lite_arguments as arguments
from models import efficientnet_lite_layers as layers
from models import registry
from models.layers.pixel_normalization import PixelNormalization

_DOCUMENTATION = """EfficientNet-Lite{variant} as a keras.Model; its own image size is {image_size}.

    Args:
      include_top: whether pooling, dropout and the classifier follow the last convolution.
      weights: "imagenet" for the official weights; None for fresh ones; or a path: `.h5` of
        efficientnet-lite-keras, `.weights.h5` of this model, `.pth` of efficientnet-lite-pytorch,
        or a checkpoint (prefix, directory or .tar.gz, moving averages where it has any). Without
        the top, a classifier in the file is passed over.
      input_tensor: a Keras tensor to build on, instead of an input of the model's own.
      input_shape: (height, width, channels), 32 or None and more; channels are 3 with "imagenet".
        Default: ({image_size}, {image_size}, 3) with the top, (None, None, 3) without.
      pooling: without the top, None for a map of features [B, H/32, W/32, 1280], or "avg" or "max"
        for [B, 1280].
      classes: outputs of the classifier; 1000 with "imagenet".
      classifier_activation: of the classifier; None for logits.
      include_preprocessing: False where get_preprocessing_layer() has normalised the pixels.
      name: the model's.

    The model computes in the global dtype policy's compute dtype; variables and classifier are
    float32.

    Raises:
      ValueError: arguments that do not go together, as in keras.applications.
      checkpoints.errors.WeightsError: weights that are not installed, damaged, or do not fit.
    """


def _constructor(variant: int) -> Callable[..., keras.Model]:
    network = f"efficientnet_lite{variant}"
    image_size = registry.get(network).image_size

    def create(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = "imagenet",
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = layers.IMAGENET_CLASSES,
        classifier_activation: Any = "softmax",
        *,
        include_preprocessing: bool = True,
        name: str = f"efficientnetlite{variant}",
    ) -> keras.Model:
        arguments.check_weights(weights, include_top, classes, classifier_activation)
        arguments.check_pooling(pooling)
        default_size = image_size if include_top else None
        images = arguments.images(input_tensor, input_shape, default_size, weights)
        factory = layers.layer_factory(arguments.compute_dtype())
        outputs = images
        if include_preprocessing:
            outputs = factory.pixels(images, mean=layers.PIXEL_MEAN, std=layers.PIXEL_STD)
        outputs = layers.features(factory, variant, outputs)
        if include_top:
            outputs = layers.classification(
                factory, variant, outputs, classes, classifier_activation
            )
        elif pooling is not None:
            is_maximum = pooling == "max"
            pool = factory.global_max_pooling if is_maximum else factory.global_average_pooling
            outputs = pool("head.pool")(outputs)
        if weights is not None:
            _load(keras.Model(images, outputs), network, weights)
        sources = keras.utils.get_source_inputs(images)
        return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)

    create.__name__ = create.__qualname__ = f"EfficientNetLite{variant}"
    create.__doc__ = _DOCUMENTATION.format(variant=variant, image_size=image_size)
    return create


EfficientNetLite0 = _constructor(0)
EfficientNetLite1 = _constructor(1)
EfficientNetLite2 = _constructor(2)
EfficientNetLite3 = _constructor(3)
EfficientNetLite4 = _constructor(4)


def get_preprocessing_layer() -> keras.layers.Layer:
    """(pixels - 127) / 128 as a layer, for a model with include_preprocessing=False."""
    return PixelNormalization(layers.PIXEL_MEAN, layers.PIXEL_STD)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns `x`: the models normalise pixels themselves.

    It is there for programs that are written for any model of keras.applications.
    """
    return x


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Synset, word and probability of the `top` classes of each image, best first.

    preds: [B, 1000]. Raises ValueError for another shape.
    """
    # Here, as the models themselves need no label.
    from checkpoints import labels

    probabilities = np.asarray(preds)
    if probabilities.ndim != 2 or probabilities.shape[1] != layers.IMAGENET_CLASSES:
        raise ValueError(
            "decode_predictions expects probabilities of ImageNet's classes, of shape "
            f"(images, {layers.IMAGENET_CLASSES}); got {probabilities.shape}"
        )
    synsets, words = labels.imagenet_synsets(), labels.imagenet()
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [
            (synsets[number], words[number].split(",")[0].replace(" ", "_"), float(row[number]))
            for number in numbers
        ]
        for row, numbers in zip(probabilities, best, strict=True)
    ]


def _load(model: keras.Model, network: str, weights: str | os.PathLike[str]) -> None:
    # Here, as `checkpoints` knows files by the networks of `models`, and fresh networks need none.
    from checkpoints import keras_model, pretrained

    path = pretrained.ensure(network) if weights == arguments.IMAGENET else weights
    keras_model.load(model, network, path)
