from __future__ import annotations

import pytest
import tensorflow as tf

from download_and_convert_imagenet.records.tf_example import (
    BoundingBox,
    LabeledImage,
    bytes_feature,
    encode_image,
    float_feature,
    int64_feature,
)

IMAGE = LabeledImage(
    encoded=bytes(range(256)) * 3,
    height=375,
    width=500,
    label=1000,
    filename="n15075141_1.JPEG",
    synset="n15075141",
    text="toilet tissue, toilet paper, bathroom tissue ü",
    boxes=(BoundingBox(0.0, 0.25, 0.5, 1.0), BoundingBox(0.125, 0.0, 1.0, 0.75)),
)


def test_tensorflow_reads_every_key_of_an_image():
    features = tf.train.Example.FromString(encode_image(IMAGE)).features.feature
    expected = {
        "image/encoded": [IMAGE.encoded],
        "image/height": [375],
        "image/width": [500],
        "image/channels": [3],
        "image/colorspace": [b"RGB"],
        "image/format": [b"JPEG"],
        "image/filename": [b"n15075141_1.JPEG"],
        "image/class/label": [1000],
        "image/class/synset": [b"n15075141"],
        "image/class/text": [IMAGE.text.encode()],
        "image/object/bbox/xmin": [0.0, 0.125],
        "image/object/bbox/ymin": [0.25, 0.0],
        "image/object/bbox/xmax": [0.5, 1.0],
        "image/object/bbox/ymax": [1.0, 0.75],
        "image/object/bbox/label": [1000, 1000],
    }
    read = {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in features.items()}
    assert read == expected


@pytest.mark.parametrize("boxes", [IMAGE.boxes, ()])
def test_keys_are_in_order(boxes):
    """The protobuf library sorts them too, when it is asked for the same bytes every time."""
    encoded = encode_image(IMAGE._replace(boxes=boxes))
    assert encoded == tf.train.Example.FromString(encoded).SerializeToString(deterministic=True)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)])
def test_integers_of_every_size(value):
    feature = tf.train.Feature.FromString(b"".join(int64_feature([value, 5])))
    assert list(feature.int64_list.value) == [value, 5]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (bytes_feature([b"x" * 200, b""]), {"bytes_list": {"value": [b"x" * 200, b""]}}),
        (float_feature([1.5, -2.0]), {"float_list": {"value": [1.5, -2.0]}}),
        (int64_feature([300]), {"int64_list": {"value": [300]}}),
        (int64_feature([]), {"int64_list": {}}),
    ],
)
def test_bytes_are_those_of_the_protobuf_library(ours, theirs):
    assert b"".join(ours) == tf.train.Feature(**theirs).SerializeToString(deterministic=True)
