"""Resizes images by the method's name, on the sampling grid of the recipe."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# They exceed the range of the image; the other kernels only average.
OVERSHOOTING_METHODS = ("bicubic", "round_robin")


def resize(
    image: tf.Tensor,
    size: tuple[int | tf.Tensor, int | tf.Tensor],
    method: str,
    *,
    position: tf.Tensor | None = None,
    half_pixel_centers: bool,
) -> tf.Tensor:
    """Resizes to `size`, ignoring the aspect ratio, without antialiasing.

    Args:
        image: [height, width, 3] of any number type.
        size: (height, width) in pixels.
        method: a value of --resize_method; "round_robin" cycles through the four others.
        position: int64 scalar, the example's place in its epoch; selects for "round_robin".
        half_pixel_centers: sample at pixel centers, as TensorFlow 2, PIL and OpenCV do. Otherwise
            the grid starts at the corner, as in TensorFlow 1, with which the published ImageNet
            recipes were trained; bicubic then uses a = -0.75 instead of -0.5. "area" has one grid.

    Returns:
        float32 [size[0], size[1], 3], in the range of the image (bicubic overshoots a little).
    """
    images = image[tf.newaxis]
    kernels = _kernels(images, tf.stack(size), half_pixel_centers)
    if method == "round_robin":
        if position is None:
            raise ValueError("round_robin needs the position of the example")
        number = tf.cast(tf.math.floormod(position, len(kernels)), tf.int32)
        resized = tf.switch_case(number, list(kernels.values()))
    else:
        resized = kernels[method]()
    resized = tf.squeeze(resized, 0)
    return tf.ensure_shape(resized, [*(n if isinstance(n, int) else None for n in size), 3])


def _kernels(
    images: tf.Tensor, size: tf.Tensor, half_pixel_centers: bool
) -> dict[str, Callable[[], tf.Tensor]]:
    grid = {"images": images, "size": size, "half_pixel_centers": half_pixel_centers}
    return {
        "nearest": lambda: tf.cast(tf.raw_ops.ResizeNearestNeighbor(**grid), tf.float32),
        # Bytes give the same values, but only the kernel for floats uses vector instructions.
        "bilinear": lambda: tf.raw_ops.ResizeBilinear(
            **{**grid, "images": tf.cast(images, tf.float32)}
        ),
        "bicubic": lambda: tf.raw_ops.ResizeBicubic(**grid),
        "area": lambda: tf.raw_ops.ResizeArea(images=images, size=size),
    }
