"""Serializes an image as a tf.train.Example with ImageNet's keys, without TensorFlow.

The message is small and its encoding fixed: a few lines of the protobuf wire format
(protobuf.dev/programming-guides/encoding) replace a dependency of half a gigabyte. Keys are written
in sorted order, so that equal images give equal bytes.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Field numbers of tensorflow/core/example/{example,feature}.proto.
_EXAMPLE_FEATURES = 1
_FEATURES_MAP = 1
_MAP_KEY, _MAP_VALUE = 1, 2
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_LIST_VALUE = 1
_LENGTH_DELIMITED = 2
_ONE_BYTE = [bytes((value,)) for value in range(0x80)]

Message = list[bytes]
"""The parts of an encoded message: an image is copied once, when its record is joined."""


@dataclass(frozen=True)
class BoundingBox:
    """A box in fractions of the image's width and height, 0 to 1."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class LabeledImage(NamedTuple):
    """One image in RGB with its class; `label` counts from 1 (0 is the unused background).

    An image of any number of labels has `labels` instead.
    """

    encoded: bytes
    height: int
    width: int
    label: int
    filename: str
    synset: str = ""
    text: str = ""
    boxes: tuple[BoundingBox, ...] = ()
    image_format: str = "JPEG"
    labels: tuple[int, ...] | None = None


def encode_image(image: LabeledImage) -> bytes:
    """Returns the record of one image, with the keys of TF-Slim's ImageNet TFRecords."""
    parts = (
        _class_entries(
            (image.label,) if image.labels is None else image.labels, image.synset, image.text
        ),
        *_bytes_entry("image/encoded", image.encoded),
        *_bytes_entry("image/filename", _text(image.filename)),
        _format_entries(image.image_format, image.height),
        _box_entries(image.label, image.boxes),
        _width_entry(image.width),
    )
    return b"".join(_message(_EXAMPLE_FEATURES, parts))


# Most images share these entries with many others. Their keys are neighbors in sorted order.


@functools.lru_cache(maxsize=4096)
def _class_entries(labels: tuple[int, ...], synset: str, text: str) -> bytes:
    return _entries(
        {
            "image/channels": int64_feature([3]),
            "image/class/label": int64_feature(labels),
            "image/class/synset": bytes_feature([_text(synset)]),
            "image/class/text": bytes_feature([_text(text)]),
            "image/colorspace": bytes_feature([b"RGB"]),
        }
    )


@functools.lru_cache(maxsize=4096)
def _format_entries(image_format: str, height: int) -> bytes:
    return _entries(
        {
            "image/format": bytes_feature([image_format.encode()]),
            "image/height": int64_feature([height]),
        }
    )


@functools.lru_cache(maxsize=4096)
def _box_entries(label: int, boxes: tuple[BoundingBox, ...]) -> bytes:
    features = {
        f"image/object/bbox/{side}": float_feature([getattr(box, side) for box in boxes])
        for side in ("xmin", "ymin", "xmax", "ymax")
    }
    features["image/object/bbox/label"] = int64_feature([label] * len(boxes))
    return _entries(features)


@functools.lru_cache(maxsize=4096)
def _width_entry(width: int) -> bytes:
    return _entries({"image/width": int64_feature([width])})


def _text(text: str) -> bytes:
    """Returns UTF-8, or the original bytes of a file name that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _entries(features: Mapping[str, Message]) -> bytes:
    """Returns the entries of the map of features in the order of their keys."""
    return b"".join([part for key in sorted(features) for part in _entry(key, features[key])])


def _entry(key: str, feature: Message) -> Message:
    return _message(_FEATURES_MAP, (_map_key(key), *_message(_MAP_VALUE, feature)))


def _bytes_entry(key: str, value: bytes) -> Message:
    """Returns `_entry` of one byte string in half the time: every image has two of them."""
    head = b""
    for field in (_LIST_VALUE, _BYTES_LIST, _MAP_VALUE):  # from within
        head = _tag(field) + _varint(len(head) + len(value)) + head
    head = _map_key(key) + head
    return [_tag(_FEATURES_MAP) + _varint(len(head) + len(value)) + head, value]


def bytes_feature(values: Iterable[bytes]) -> Message:
    """Returns a tf.train.Feature of byte strings."""
    parts = [part for value in values for part in _message(_LIST_VALUE, (value,))]
    return _message(_BYTES_LIST, parts)


def float_feature(values: Sequence[float]) -> Message:
    """Returns a tf.train.Feature of 32-bit floats."""
    packed = struct.pack(f"<{len(values)}f", *values)
    return _message(_FLOAT_LIST, _message(_LIST_VALUE, (packed,)) if values else ())


def int64_feature(values: Sequence[int]) -> Message:
    """Returns a tf.train.Feature of integers; negative ones take ten bytes each."""
    packed = b"".join([_varint(value) for value in values])
    return _message(_INT64_LIST, _message(_LIST_VALUE, (packed,)) if values else ())


def _message(field: int, parts: Sequence[bytes]) -> Message:
    return [_tag(field) + _varint(sum(map(len, parts))), *parts]


def _tag(field: int) -> bytes:
    return _ONE_BYTE[field << 3 | _LENGTH_DELIMITED]


@functools.cache
def _map_key(key: str) -> bytes:
    return b"".join(_message(_MAP_KEY, (key.encode(),)))


def _varint(value: int) -> bytes:
    if 0 <= value <= 0x7F:
        return _ONE_BYTE[value]
    remaining = value & 0xFFFFFFFFFFFFFFFF  # two's complement, as protobuf encodes an int64
    encoded = bytearray()
    while remaining > 0x7F:
        encoded.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    encoded.append(remaining)
    return bytes(encoded)
