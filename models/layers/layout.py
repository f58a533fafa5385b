"""The axis of the channels of an image tensor, as Keras and as TensorFlow name it."""

from __future__ import annotations

_LAYOUTS = {"channels_last": "NHWC", "channels_first": "NCHW"}


def tensorflow_layout(data_format: str) -> str:
    """Returns "NHWC" or "NCHW" for Keras' "channels_last" or "channels_first"."""
    if data_format not in _LAYOUTS:
        raise ValueError(f"data_format must be one of {', '.join(_LAYOUTS)}, got {data_format!r}")
    return _LAYOUTS[data_format]


def keras_data_format(layout: str) -> str:
    """Returns "channels_last" or "channels_first" for "NHWC" or "NCHW"."""
    return {tensorflow: keras for keras, tensorflow in _LAYOUTS.items()}[layout]


def channel_axis(data_format: str) -> int:
    """Returns the axis of the channels in a batch of images."""
    return -1 if data_format == "channels_last" else 1
