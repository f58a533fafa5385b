"""The operations of the policies by name, and what the levels of AutoAugment and RandAugment mean.

Source: the released code of EfficientNet, which trains with both (Cubuk et al. 2019,
arXiv:1805.09501 table 6 for the operations; its levels are not the paper's).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from preprocessing.augmentation import image_ops

# Random numbers of an operation: its direction, and the two coordinates of Cutout's center.
NUM_DRAWS = 3
IDENTITY = "Identity"

Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], tf.Tensor]
"""From (image, argument float32 scalar, draws float32 [NUM_DRAWS] in 0..1, fill) to the new one."""


def _plain(operation: Callable[[tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws, fill: operation(image)


def _with_float(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws, fill: operation(image, argument)


def _with_integer(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    return lambda image, argument, draws, fill: operation(image, tf.cast(argument, tf.int32))


def _in_either_direction(operation: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]) -> Change:
    return lambda image, argument, draws, fill: operation(
        image, tf.where(draws[0] < 0.5, argument, -argument), fill
    )


def _cutout(image: tf.Tensor, argument: tf.Tensor, draws: tf.Tensor, fill: int) -> tf.Tensor:
    del fill
    return image_ops.cutout(image, tf.cast(argument, tf.int32), draws[1:])


_CHANGES: dict[str, Change] = {
    IDENTITY: _plain(tf.identity),
    "AutoContrast": _plain(image_ops.auto_contrast),
    "Equalize": _plain(image_ops.equalize),
    "Invert": _plain(image_ops.invert),
    "Rotate": _in_either_direction(image_ops.rotate),
    "Posterize": _with_integer(image_ops.posterize),
    "Solarize": _with_integer(image_ops.solarize),
    "Color": _with_float(image_ops.color),
    "Contrast": _with_float(image_ops.contrast),
    "Brightness": _with_float(image_ops.brightness),
    "Sharpness": _with_float(image_ops.sharpness),
    "ShearX": _in_either_direction(image_ops.shear_x),
    "ShearY": _in_either_direction(image_ops.shear_y),
    "TranslateX": _in_either_direction(image_ops.translate_x),
    "TranslateY": _in_either_direction(image_ops.translate_y),
    "Cutout": _cutout,
    "SolarizeAdd": _with_integer(image_ops.solarize_add),
    "MeanContrast": _with_float(image_ops.mean_contrast),
}
NAMES = tuple(_CHANGES)


def argument_of(name: str, level: float, max_translation: int) -> float:
    """Returns the argument of an operation at a level: degrees, pixels, a factor, ...

    Args:
        level: 0 to 10; RandAugment's larger magnitudes continue linearly.
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
    return float(arguments.get(name, 0))


def apply_operation(
    image: tf.Tensor,
    index: tf.Tensor,
    argument: tf.Tensor,
    draws: tf.Tensor,
    fill: int = image_ops.GRAY_FILL,
) -> tf.Tensor:
    """Changes the image, uint8 [height, width, 3], by the operation `NAMES[index]`.

    Args:
        index: int32 scalar.
        argument: float32 scalar, see `argument_of`.
        draws: float32 [NUM_DRAWS], uniform in 0..1.
        fill: value of the pixels that a geometric operation takes from outside the image.
    """
    return tf.switch_case(
        index,
        [functools.partial(change, image, argument, draws, fill) for change in _CHANGES.values()],
    )
