"""The labels of a split, counted in one pass over real shards."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import DataError
from tests.preprocessing.image_shards import (
    example,
    flip_bit,
    numbered_image,
    offset_of,
    open_imagenet,
    write_numbered_split,
    write_split,
)

LABELS = [3, 1, 1, 1000, 3, 3, 1]  # as in the files: from 1


def write(directory, labels):
    examples = [example(numbered_image(n), label) for n, label in enumerate(labels)]
    return write_split(directory, "train", examples, num_shards=3)


def test_classes_are_counted(tmp_path):
    write(tmp_path, LABELS)
    counts = open_imagenet(tmp_path).class_counts("train")
    assert {int(n): int(counts[n]) for n in np.flatnonzero(counts)} == {0: 3, 2: 3, 999: 1}
    assert len(counts) == 1000


def test_several_batches_and_shards_are_read(tmp_path):
    write_numbered_split(tmp_path, "train", 1300, num_shards=3)
    counts = open_imagenet(tmp_path).class_counts("train")
    assert counts.tolist() == [2] * 300 + [1] * 700


@pytest.mark.parametrize("label", [0, 1001])
def test_a_label_out_of_range_is_named_with_its_record(tmp_path, label):
    paths = write(tmp_path, [*LABELS[:4], label, *LABELS[5:]])  # shards of 3, 2 and 2
    with pytest.raises(DataError, match=f"{paths[1]}: record 1 has label {label}, the data have"):
        open_imagenet(tmp_path).class_counts("train")


def test_damage_is_named_and_may_not_be_skipped(tmp_path):
    paths = write(tmp_path, LABELS)
    flip_bit(paths[2], offset_of(paths[2], 1) + 40)
    with pytest.raises(DataError, match=f"{paths[2]}: record 1 "):
        open_imagenet(tmp_path).class_counts("train")
    with pytest.raises(DataError, match="cannot be counted while damaged records are skipped"):
        open_imagenet(tmp_path, max_corrupt_records=1).class_counts("train")
