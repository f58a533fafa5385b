"""Records whose checksums and labels are right, while their images lack pixels or are too large."""

from __future__ import annotations

import struct

import pytest
import tensorflow as tf

from preprocessing.integrity.contents import verify_shard
from preprocessing.integrity.record_checks import check_records
from tests.download_and_convert_imagenet.records.test_jpeg_scan import (
    SEEN_BY_THE_CONVERTER,
    WHOLE,
    holed,
)
from tests.preprocessing.image_shards import example, open_imagenet, write_split

JPEG = WHOLE["common"]
HOLES = ("zeros", "block", "marker", "missing", "end")
PROBLEM = "its image is damaged: a part of its pixels is missing"
TOO_LARGE = "its image is too large: 20,000x10,000 pixels, more than 178,956,970"


def too_large() -> bytes:
    """A JPEG whose header says 20,000 x 10,000."""
    frame = JPEG.index(b"\xff\xc0")
    return JPEG[: frame + 5] + struct.pack(">HH", 10_000, 20_000) + JPEG[frame + 9 :]


def problems(directory, images, decode_every):
    """The number and the problem of every record that has one."""
    write_split(directory, "train", [example(image, 1) for image in images], num_shards=1)
    path = directory / "train-00000-of-00001"
    found = check_records(path, verify_shard(path), 1000, decode_every=decode_every)
    return {checked.index: checked.problem for checked in found if checked.problem}


def test_decoding_finds_every_hole(tmp_path):
    images = [*WHOLE.values(), *(holed(JPEG, how) for how in HOLES)]
    wanted = {len(WHOLE) + number: PROBLEM for number in range(len(HOLES))}
    assert problems(tmp_path, images, 1) == wanted


def test_without_decoding_the_odd_ones_are_found(tmp_path):
    images = [*WHOLE.values(), *(holed(JPEG, how) for how in HOLES), too_large()]
    wanted = {len(WHOLE) + number: PROBLEM for number in range(len(SEEN_BY_THE_CONVERTER))}
    assert problems(tmp_path, images, 0) == wanted | {len(images) - 1: TOO_LARGE}


@pytest.mark.parametrize(
    ("image", "problem", "refusal"),
    [
        (holed(JPEG, "marker"), PROBLEM, "its image cannot be decoded"),
        (too_large(), TOO_LARGE, TOO_LARGE),
    ],
    ids=["a wrong marker", "too large"],
)
def test_they_count_as_corrupt_records(tmp_path, caplog, image, problem, refusal):
    images = [JPEG, image, WHOLE["fine"], holed(JPEG, "missing")]
    problems(tmp_path, images, 0)
    strict = open_imagenet(tmp_path)
    with pytest.raises(tf.errors.OpError) as raised:
        list(strict.eval_batches(batch_size=2, image_size=8, subset="train"))
    line = str(strict.explain(raised.value, "train"))
    assert line == f"{tmp_path}/train-00000-of-00001: record 1: {refusal}"
    tolerant = open_imagenet(tmp_path, max_corrupt_records=1)
    for _ in tolerant.train_batches(batch_size=2, image_size=8, seed=1).take(30):
        pass
    assert problem in caplog.text
