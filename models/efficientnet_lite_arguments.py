"""The arguments of EfficientNet-Lite as a Keras model, checked as keras.applications does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from models.efficientnet_lite_layers import IMAGENET_CLASSES, MINIMUM_IMAGE_SIZE
from models.model_spec import DTYPES

IMAGENET = "imagenet"
POOLING = (None, "avg", "max")


def check_weights(
    weights: str | os.PathLike[str] | None,
    include_top: bool,
    classes: int,
    classifier_activation: Any,
) -> None:
    """ValueError where there are no such weights, or they are not for such a classifier."""
    if weights is None:
        return
    if weights != IMAGENET and not any(map(os.path.exists, (weights, f"{weights}.index"))):
        raise ValueError(
            "The `weights` argument should be None (fresh weights), 'imagenet' (the official "
            f"weights) or the path of a file or checkpoint with weights; got weights={weights!r}"
        )
    if not include_top:
        return
    if weights == IMAGENET and classes != IMAGENET_CLASSES:
        raise ValueError(
            "With weights='imagenet' and include_top=True, `classes` should be "
            f"{IMAGENET_CLASSES}; got classes={classes}"
        )
    get = keras.activations.get
    if get(classifier_activation) not in (get("softmax"), get(None)):
        raise ValueError(
            "With weights and include_top=True, `classifier_activation` can only be None or "
            f"'softmax'; got classifier_activation={classifier_activation!r}"
        )


def check_pooling(pooling: str | None) -> None:
    """ValueError where there is no such pooling."""
    if pooling not in POOLING:
        raise ValueError(f"`pooling` should be None, 'avg' or 'max'; got pooling={pooling!r}")


def images(
    input_tensor: Any,
    input_shape: Sequence[int | None] | None,
    default_size: int | None,
    weights: str | os.PathLike[str] | None,
) -> Any:
    """The Keras tensor of images to build on. Raises ValueError where its shape is impossible."""
    if input_shape is not None:
        _check_shape(tuple(input_shape), "input_shape", weights)
    if input_tensor is None:
        return keras.Input(input_shape or (default_size, default_size, 3), name="images")
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ValueError(f"`input_tensor` should be a Keras tensor, got {type(input_tensor)}")
    _check_shape(tuple(input_tensor.shape[1:]), "input_tensor.shape[1:]", weights)
    return input_tensor


def compute_dtype() -> str:
    """The dtype of the global policy in which layers compute. Raises ValueError for float64."""
    dtype = keras.config.dtype_policy().compute_dtype
    if dtype not in DTYPES:
        raise ValueError(f"the dtype policy should compute in {', '.join(DTYPES)}, got {dtype}")
    return dtype


def _check_shape(
    shape: tuple[int | None, ...], what: str, weights: str | os.PathLike[str] | None
) -> None:
    if len(shape) != 3 or shape[2] is None:
        raise ValueError(f"`{what}` should be (height, width, channels), got {shape}")
    if weights == IMAGENET and shape[2] != 3:
        raise ValueError(f"With weights='imagenet' images have 3 channels; got {what}={shape}")
    if any(size is not None and size < MINIMUM_IMAGE_SIZE for size in shape[:2]):
        raise ValueError(
            f"Input size must be at least {MINIMUM_IMAGE_SIZE}x{MINIMUM_IMAGE_SIZE}; "
            f"got {what}={shape}"
        )
