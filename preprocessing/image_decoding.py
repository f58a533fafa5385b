"""Encoded bytes to RGB pixels, decoding only the part of the image that is wanted."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

WindowChooser = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From an image's height and width to a window: int32 [4] of y, x, height, width in pixels."""

# The first and the last bytes of the formats that are decoded: JPEG, PNG, GIF, BMP.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
_ENDINGS = (b"\xff\xd9", b"IEND\xaeB`\x82", b";", b"")


def decode_window(encoded: tf.Tensor, choose_window: WindowChooser) -> tf.Tensor:
    """Decode a window of an image to uint8 [height, width, 3] RGB.

    JPEG (also grey and CMYK) is decoded for the rows and columns of the window alone, which is the
    largest saving of an input pipeline. ImageNet has a PNG among its .JPEG files: whatever is not
    JPEG by its content is decoded whole, then cut.

    Args:
        encoded: string scalar.
        choose_window: called with the int32 height and width.
    """

    def from_jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(encoded)
        window = choose_window(shape[0], shape[1])
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=3)

    def from_other_format() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        shape = tf.shape(image)
        y, x, height, width = tf.unstack(choose_window(shape[0], shape[1]))
        return tf.slice(image, [y, x, 0], [height, width, 3])

    image = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other_format)
    image.set_shape([None, None, 3])
    return image


def whole_image(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """The window that is the image."""
    return tf.stack([0, 0, height, width])


def has_image_signature(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the first bytes are those of a format that `decode_window` knows: bool scalar."""
    return tf.reduce_any(_has_signatures(encoded))


def seems_whole(encoded: tf.Tensor) -> tf.Tensor:
    """Whether first and last bytes are those of one format, and a JPEG's header can be read.

    What seems whole can nearly always be decoded: the decoder of JPEG goes on past wrong data. What
    does not may be decodable, too, since bytes may follow the end of an image. Bool scalar.

    An iterator fails where the header of a JPEG cannot be read.
    """
    lengths = [len(ending) for ending in _ENDINGS]
    longest = max(lengths)
    last = tf.strings.substr(encoded, tf.maximum(tf.strings.length(encoded) - longest, 0), longest)
    endings = tf.strings.substr(last, tf.maximum(tf.strings.length(last) - lengths, 0), lengths)
    is_format = _has_signatures(encoded)
    has_size = tf.cond(is_format[0], lambda: _jpeg_has_size(encoded), lambda: tf.constant(True))
    return tf.reduce_any(is_format & (endings == tf.constant(_ENDINGS))) & has_size


def _has_signatures(encoded: tf.Tensor) -> tf.Tensor:
    lengths = [len(signature) for signature in _SIGNATURES]
    first = tf.strings.substr(encoded, 0, max(lengths))
    starts = tf.strings.substr(first, [0] * len(lengths), lengths)
    return starts == tf.constant(_SIGNATURES)


def _jpeg_has_size(encoded: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.image.extract_jpeg_shape(encoded) > 0)
