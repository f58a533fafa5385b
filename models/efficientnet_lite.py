"""EfficientNet-Lite with the interface of keras.applications and of efficientnet-lite-keras.

The models take pixels in 0..255 and normalize them, (pixels - 127) / 128, as the engine's network
does. docs/keras_api.md shows how to use them.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.errors import DataError
from download_and_convert_imagenet.sources.synsets import Synset, synsets
from models import registry
from models.layers.pixel_normalization import PixelNormalization
from models.model_spec import DTYPES, BuildConfig
from models.network import keras_network
from models.networks import efficientnet_lite as layers
from models.pretrained import efficientnet_lite_names, ensure, importing, keras_weights

__all__ = [
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "decode_predictions",
    "get_preprocessing_layer",
    "preprocess_input",
]

IMAGENET = "imagenet"
POOLING = (None, "avg", "max")

_DOCUMENTATION = """Builds EfficientNet-Lite{variant} for images of {image_size} pixels.

    The model computes in the compute dtype of the global dtype policy; variables and classifier are
    float32.

    Args:
        include_top: whether to add pooling, dropout and the classifier.
        weights: "imagenet" for the official weights, None for new ones, or a path: `.h5` of
            efficientnet-lite-keras, `.weights.h5` of this model, `.pth` of
            efficientnet-lite-pytorch, or a checkpoint (prefix, directory or .tar.gz), of which
            moving averages are read if it has any. Without the top, a classifier in the file is
            ignored.
        input_tensor: a Keras tensor to build on, instead of a new input.
        input_shape: (height, width, channels); height and width are at least 32, or None. Channels
            must be 3 with "imagenet". Default: ({image_size}, {image_size}, 3) with the top,
            (None, None, 3) without.
        pooling: without the top, None for features [B, H/32, W/32, 1280], or "avg" or "max" for
            [B, 1280].
        classes: outputs of the classifier; must be 1000 with "imagenet".
        classifier_activation: activation of the classifier; None for logits.
        include_preprocessing: set to False if get_preprocessing_layer() normalizes the pixels.
        name: name of the model.

    Raises:
        ValueError: arguments contradict each other, as in keras.applications.
        common.errors.DataError: the weights are not installed, are damaged or do not fit.
    """


def _constructor(variant: int) -> Callable[..., keras.Model]:
    network = f"efficientnet_lite{variant}"
    image_size = registry.get(network).image_size

    # Nine parameters, because they are the interface of keras.applications.
    def create(  # noqa: PLR0913
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = IMAGENET,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = layers.IMAGENET_CLASSES,
        classifier_activation: Any = "softmax",
        *,
        include_preprocessing: bool = True,
        name: str = f"efficientnetlite{variant}",
    ) -> keras.Model:
        _check_weights(weights, include_top, classes, classifier_activation)
        if pooling not in POOLING:
            raise ValueError(f"`pooling` should be None, 'avg' or 'max'; got pooling={pooling!r}")
        default_size = image_size if include_top else None
        images = _image_input(input_tensor, input_shape, default_size, weights)
        config = BuildConfig(network, classes, image_size, dtype=_compute_dtype())
        factory = layers.layer_factory(config)
        outputs = images
        if include_preprocessing:
            outputs = factory.pixels(images, layers.PIXEL_RANGE)
        outputs = layers.add_features(factory, variant, outputs)
        if include_top:
            outputs = layers.add_classifier(
                factory, variant, outputs, classes, classifier_activation
            )
        elif pooling is not None:
            is_maximum = pooling == "max"
            pool = factory.global_max_pooling if is_maximum else factory.global_average_pooling
            outputs = pool("head.pool")(outputs)
        if weights is not None:
            path = ensure.ensure(network) if weights == IMAGENET else weights
            _load(keras.Model(images, outputs), network, Path(path))
        sources = keras.utils.get_source_inputs(images)
        model = keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)
        (_normalizing if include_preprocessing else _plain).add(model)
        _warn_of_normalization()
        return model

    create.__name__ = create.__qualname__ = f"EfficientNetLite{variant}"
    create.__doc__ = _DOCUMENTATION.format(variant=variant, image_size=image_size)
    return create


EfficientNetLite0 = _constructor(0)
EfficientNetLite1 = _constructor(1)
EfficientNetLite2 = _constructor(2)
EfficientNetLite3 = _constructor(3)
EfficientNetLite4 = _constructor(4)


def get_preprocessing_layer() -> keras.layers.Layer:
    """Returns (pixels - 127) / 128 as a layer, for a model with include_preprocessing=False.

    Warns if every model normalizes pixels itself, so that they would be normalized twice.
    """
    layer = PixelNormalization(*layers.PIXEL_RANGE)
    _normalizers.add(layer)
    _warn_of_normalization()
    return layer


# What the program has made and not deleted: models that normalize and that do not, and layers.
_normalizing: weakref.WeakSet[keras.Model] = weakref.WeakSet()
_plain: weakref.WeakSet[keras.Model] = weakref.WeakSet()
_normalizers: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()


def _warn_of_normalization() -> None:
    if _normalizers and _normalizing and not _plain:
        warnings.warn(
            "get_preprocessing_layer() is for models with include_preprocessing=False: this model "
            "normalizes pixels itself, and behind that layer they are normalized twice",
            stacklevel=3,
        )


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns `x`, as the models normalize pixels themselves.

    It exists for programs that are written for any model of keras.applications.
    """
    return x


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Returns (synset, class name, probability) of the `top` classes of each image, best first.

    Args:
        preds: probabilities [B, 1000].

    Raises:
        ValueError: `preds` has another shape.
    """
    probabilities = np.asarray(preds)
    if probabilities.ndim != 2 or probabilities.shape[1] != layers.IMAGENET_CLASSES:
        raise ValueError(
            "decode_predictions expects probabilities of ImageNet's classes, of shape "
            f"(images, {layers.IMAGENET_CLASSES}); got {probabilities.shape}"
        )
    classes = synsets()
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [
            (classes[number].wnid, _class_name(classes[number]), float(row[number]))
            for number in numbers
        ]
        for row, numbers in zip(probabilities, best, strict=True)
    ]


def _class_name(synset: Synset) -> str:
    """Returns the first word of a class as keras.applications writes it: "tiger_cat"."""
    return synset.words.split(",")[0].replace(" ", "_")


def _load(model: keras.Model, network: str, path: Path) -> None:
    """Assigns every variable of a model, which may lack the classifier, from a file.

    Args:
        network: name in models.registry.
        path: as `weights` of the constructors. A classifier that the model lacks is ignored.

    Raises:
        DataError: the file cannot be read or does not fit the model.
    """
    if path.name.endswith(keras_weights.SUFFIX):
        _load_keras_3(model, path)
        return
    scope = efficientnet_lite_names.scope(network)
    wrapped = keras_network(model, scope=scope, name=network)
    wanted = importing.variable_shapes(wrapped)
    tensors = importing.tensors(path, network, wanted)
    classifier = f"{scope}/head/dense/"
    if not any(name.startswith(classifier) for name in wanted):
        tensors = {k: value for k, value in tensors.items() if not k.startswith(classifier)}
    importing.check(os.fspath(path), tensors, wanted)
    for name, variable in wrapped.variables.items():
        variable.assign(tensors[name])


def _load_keras_3(model: keras.Model, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras warns of a missing classifier; the error says it.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path} does not fit the model: {reason}") from error


def _check_weights(
    weights: str | os.PathLike[str] | None,
    include_top: bool,
    classes: int,
    classifier_activation: Any,
) -> None:
    """Raises ValueError for weights that do not exist or are for another classifier."""
    if weights is None:
        return
    if weights != IMAGENET and not any(map(os.path.exists, (weights, f"{weights}.index"))):
        raise ValueError(
            "The `weights` argument should be None (new weights), 'imagenet' (the official "
            f"weights) or the path of a file or checkpoint with weights; got weights={weights!r}"
        )
    if not include_top:
        return
    if weights == IMAGENET and classes != layers.IMAGENET_CLASSES:
        raise ValueError(
            "With weights='imagenet' and include_top=True, `classes` should be "
            f"{layers.IMAGENET_CLASSES}; got classes={classes}"
        )
    get = keras.activations.get
    if get(classifier_activation) not in (get("softmax"), get(None)):
        raise ValueError(
            "With weights and include_top=True, `classifier_activation` can only be None or "
            f"'softmax'; got classifier_activation={classifier_activation!r}"
        )


def _image_input(
    input_tensor: Any,
    input_shape: Sequence[int | None] | None,
    default_size: int | None,
    weights: str | os.PathLike[str] | None,
) -> Any:
    """Returns the Keras tensor of images to build on; raises ValueError for an impossible shape."""
    if input_shape is not None:
        _check_shape(tuple(input_shape), "input_shape", weights)
    if input_tensor is None:
        return keras.Input(input_shape or (default_size, default_size, 3), name="images")
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ValueError(f"`input_tensor` should be a Keras tensor, got {type(input_tensor)}")
    _check_shape(tuple(input_tensor.shape[1:]), "input_tensor.shape[1:]", weights)
    return input_tensor


def _compute_dtype() -> str:
    """Returns the compute dtype of the global policy; raises ValueError for float64."""
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
    if any(size is not None and size < layers.MINIMUM_IMAGE_SIZE for size in shape[:2]):
        raise ValueError(
            f"Input size must be at least {layers.MINIMUM_IMAGE_SIZE}x{layers.MINIMUM_IMAGE_SIZE}; "
            f"got {what}={shape}"
        )
