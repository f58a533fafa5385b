"""What a network sees of a photo: the view that evaluations take of the validation images."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from preprocessing.examples import Example
from preprocessing.imagenet_images import eval_image
from preprocessing.options import ImageOptions
from preprocessing.small_images import whole_eval_image

WHOLE = "whole"


def photo_view(pixels: np.ndarray, image_size: int, eval_method: str, **options: Any) -> np.ndarray:
    """float32 [image_size, image_size, 3] in 0..255.

    Args:
      pixels: uint8 [height, width, 3], RGB.
      eval_method: one of `options.EVAL_METHODS`, or "whole" for the image as it is, resized.
      options: of `ImageOptions`, resize_method, resize_kernels and eval_crop_fraction.
    """
    # As PNG, which loses nothing, the pixels go exactly the way of the validation images.
    example = Example(tf.io.encode_png(pixels), tf.constant(0), tf.zeros([0, 4]))
    position = tf.constant(0, tf.int64)
    if eval_method == WHOLE:
        return whole_eval_image(example, image_size, position).numpy()
    images = ImageOptions(eval_method=eval_method, **options)
    return eval_image(images, example, image_size, position).numpy()
