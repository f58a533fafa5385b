"""The operations of AutoAugment and RandAugment by name, and what a level from 0 to 10 means.

Source: the released code of EfficientNet, which trains with both (Cubuk et al. 2019,
arXiv:1805.09501 table 6 for the operations; its levels are not the paper's).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from preprocessing.augmentation import image_ops as geometric
from preprocessing.augmentation import image_ops as pixels

# What an operation may draw: its direction, and the two coordinates of Cutout's center.
NUM_DRAWS = 3
IDENTITY = "Identity"

Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""From (image, argument float32 scalar, draws float32 [NUM_DRAWS] in 0..1) to the new image."""


def _plain(operation: Callable[[tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws: operation(image)


def _with_float(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws: operation(image, argument)


def _with_integer(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws: operation(image, tf.cast(argument, tf.int32))


def _in_either_direction(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws: operation(
        image, tf.where(draws[0] < 0.5, argument, -argument)
    )


def _cutout(image: tf.Tensor, argument: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    return pixels.cutout(image, tf.cast(argument, tf.int32), draws[1:])


_CHANGES: dict[str, Change] = {
    IDENTITY: _plain(tf.identity),
    "AutoContrast": _plain(pixels.auto_contrast),
    "Equalize": _plain(pixels.equalize),
    "Invert": _plain(pixels.invert),
    "Rotate": _in_either_direction(geometric.rotate),
    "Posterize": _with_integer(pixels.posterize),
    "Solarize": _with_integer(pixels.solarize),
    "Color": _with_float(pixels.color),
    "Contrast": _with_float(pixels.contrast),
    "Brightness": _with_float(pixels.brightness),
    "Sharpness": _with_float(pixels.sharpness),
    "ShearX": _in_either_direction(geometric.shear_x),
    "ShearY": _in_either_direction(geometric.shear_y),
    "TranslateX": _in_either_direction(geometric.translate_x),
    "TranslateY": _in_either_direction(geometric.translate_y),
    "Cutout": _cutout,
    "SolarizeAdd": _with_integer(pixels.solarize_add),
}
NAMES = tuple(_CHANGES)


def argument_of(name: str, level: float, max_translation: int) -> float:
    """What operation `name` is called with at `level`: degrees, pixels, a factor, ...

    Args:
        level: 0 to 10; RandAugment's larger magnitudes go on in a straight line.
        max_translation: pixels that TranslateX and TranslateY shift by at level 10.
    """
    part = level / 10
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return part * 1.8 + 0.1
    arguments = {
        "Rotate": part * 30,
        "ShearX": part * 0.3,
        "ShearY": part * 0.3,
        "TranslateX": part * max_translation,
        "TranslateY": part * max_translation,
        "Posterize": int(part * 4),
        "Solarize": int(part * 256),
        "SolarizeAdd": int(part * 110),
        "Cutout": int(part * 40),
    }
    return arguments.get(name, 0)


def apply_operation(
    image: tf.Tensor, index: tf.Tensor, argument: tf.Tensor, draws: tf.Tensor
) -> tf.Tensor:
    """The image, uint8 [height, width, 3], changed by operation `NAMES[index]`.

    Args:
        index: int32 scalar.
        argument: float32 scalar, see `argument_of`.
        draws: float32 [NUM_DRAWS], uniform in 0..1.
    """
    return tf.switch_case(
        index, [functools.partial(change, image, argument, draws) for change in _CHANGES.values()]
    )
