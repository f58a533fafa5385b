"""Damaged files: the line that names them, and how a run continues with --max_corrupt_records."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from common.errors import DataError
from preprocessing.integrity import skip_damaged
from preprocessing.integrity.skip_damaged import find_damage
from tests.conftest import ROOT
from tests.preprocessing.image_shards import (
    damaged_within,
    directory_whose_name_is_no_text,
    encode,
    example,
    flip_bit,
    numbered_image,
    numbers_of,
    offset_of,
    open_imagenet,
    photographs,
    write_listed,
    write_numbered_split,
    write_split,
)

NUM_EXAMPLES = 60  # in three shards of 20
SECOND = "train-00001-of-00003"


@pytest.fixture
def data_dir(tmp_path):
    write_numbered_split(tmp_path, "train", NUM_EXAMPLES, num_shards=3)
    return tmp_path


def error_line(directory, evaluate=False, **options):
    """The message for the user when the stream over a directory fails."""
    dataset = open_imagenet(directory, **options)
    if evaluate:
        batches = dataset.eval_batches(batch_size=10, image_size=4, subset="train")
    else:
        batches = dataset.train_batches(batch_size=10, image_size=4, seed=1).take(20)
    with pytest.raises(tf.errors.OpError) as caught:
        for _ in batches:
            pass
    explained = dataset.explain(caught.value, "train")
    assert isinstance(explained, DataError)
    assert "\n" not in str(explained)
    return str(explained)


@pytest.mark.parametrize("evaluate", [False, True])
def test_flipped_bit_in_the_data(data_dir, evaluate):
    path = data_dir / SECOND
    offset = offset_of(path, 5)
    flip_bit(path, offset + 40)
    line = error_line(data_dir, evaluate)
    assert line.startswith(f"{path}: record 5 at byte {offset} is damaged")
    assert "checksum of its data differs" in line
    assert "--max_corrupt_records" in line


def test_flipped_bit_in_a_length(data_dir):
    path = data_dir / SECOND
    offset = offset_of(path, 19)
    flip_bit(path, offset)
    line = error_line(data_dir)
    assert line.startswith(f"{path}: record 19 at byte {offset} is damaged")
    assert "checksum of its length differs" in line


def test_truncated_file(data_dir):
    path = data_dir / SECOND
    offset = offset_of(path, 19)
    path.write_bytes(path.read_bytes()[:-3])
    line = error_line(data_dir)
    assert line.startswith(f"{path}: record 19 at byte {offset} is damaged")
    assert "the file ends inside it" in line


def replace_record(directory, number, serialized):
    """Write the 60 examples again with one of them replaced."""
    examples = [example(numbered_image(n), 1 + n) for n in range(NUM_EXAMPLES)]
    examples[number] = serialized
    write_split(directory, "train", examples, num_shards=3)


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize("label", [0, 1001, -1])
def test_label_out_of_range(data_dir, label, evaluate):
    replace_record(data_dir, 23, example(numbered_image(23), label))
    line = error_line(data_dir, evaluate)
    expected = f"record 3: image/class/label is {label}, not from 1 to 1000"
    assert line == f"{data_dir / SECOND}: {expected}"


def test_the_largest_label_is_no_error(data_dir):
    replace_record(data_dir, 23, example(numbered_image(23), 1000))
    dataset = open_imagenet(data_dir)
    batches = dataset.eval_batches(batch_size=60, image_size=4, subset="train")
    ((_, labels, _),) = batches
    assert labels.numpy()[23] == 999


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>not found</html>"])
def test_bytes_that_are_no_image(data_dir, content):
    replace_record(data_dir, 59, example(content, 1))
    line = error_line(data_dir)
    expected = "record 19: image/encoded holds no JPEG, PNG, GIF or BMP image"
    assert line == f"{data_dir / 'train-00002-of-00003'}: {expected}"


def test_record_that_is_no_example(data_dir):
    replace_record(data_dir, 30, b"\xff\xff\xff not a protobuf")
    assert error_line(data_dir) == f"{data_dir / SECOND}: record 10: it is not a tf.train.Example"


def test_an_error_of_the_computation_is_not_blamed_on_the_data(data_dir):
    dataset = open_imagenet(data_dir)
    with pytest.raises(tf.errors.OpError) as caught:
        tf.matmul(tf.zeros([2, 3]), tf.zeros([2, 3]))
    assert str(dataset.explain(caught.value, "train")).startswith(
        "TensorFlow failed, but not because of its input:"
    )


@pytest.mark.parametrize("crop", ["inception", "efficientnet"])
def test_image_that_cannot_be_decoded(data_dir, crop):
    (photograph,) = photographs(1)
    replace_record(data_dir, 47, example(photograph[: len(photograph) // 2], 1))
    line = error_line(data_dir, train_crop=crop)
    expected = "record 7: its image cannot be decoded"
    assert line == f"{data_dir / 'train-00002-of-00003'}: {expected}"


def test_images_of_odd_kinds_are_no_error(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    kinds = [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "L"), ("GIF", "RGB")]
    examples = [example(encode(pixels, *kind), 1 + n) for n, kind in enumerate(kinds)]
    write_split(tmp_path, "train", examples, 1)
    dataset = open_imagenet(tmp_path)
    images, labels = next(iter(dataset.train_batches(batch_size=5, image_size=8, seed=1)))
    assert images.shape == (5, 8, 8, 3)
    assert sorted(labels.numpy().tolist()) == [0, 1, 2, 3, 4]


def damage_three_records(directory):
    """Numbers 5 and 6 by their data in the first shard, 33 by its length in the second."""
    first, second = directory / "train-00000-of-00003", directory / SECOND
    flip_bit(first, offset_of(first, 5) + 30)
    flip_bit(first, offset_of(first, 6) + 30)
    flip_bit(second, offset_of(second, 13) + 2)
    return {5, 6, 33}


def read_train_numbers(directory, num_examples, **options):
    dataset = open_imagenet(directory, **options)
    batches = dataset.train_batches(batch_size=1, image_size=4, seed=1)
    return [numbers_of(images)[0] for images, _ in batches.take(num_examples)]


def real_numbers(dataset):
    """The numbers of the images that an evaluation counts."""
    batches = dataset.eval_batches(batch_size=7, image_size=4, subset="train")
    return [n for images, _, real in batches for n in numbers_of(images.numpy()[real.numpy()])]


def test_training_continues_with_everything_else(data_dir, caplog):
    """Two stand-ins in the first shard and one in the second keep the length."""
    damaged = damage_three_records(data_dir)
    with caplog.at_level(logging.WARNING, logger="absl"):
        numbers = read_train_numbers(data_dir, 120, max_corrupt_records=3)
    for epoch in (numbers[:60], numbers[60:]):
        assert sorted(epoch) == sorted([*(set(range(60)) - damaged), 0, 0, 20])
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert any("skipping 2 of the records of train-00000-of-00003:" in line for line in logged)
    assert any("skipping 1 of the records of train-00001-of-00003:" in line for line in logged)


def test_intact_data_is_the_same_stream_in_either_mode(data_dir):
    assert read_train_numbers(data_dir, 100) == read_train_numbers(
        data_dir, 100, max_corrupt_records=5
    )


def test_evaluation_masks_the_damaged(data_dir):
    damaged = damage_three_records(data_dir)
    dataset = open_imagenet(data_dir, max_corrupt_records=3)
    assert real_numbers(dataset) == sorted(set(range(60)) - damaged)
    assert len(list(dataset.eval_batches(batch_size=7, image_size=4, subset="train"))) == 9
    assert dataset.num_examples("train") == 60


def test_one_damaged_record_too_many_is_an_error(data_dir):
    damage_three_records(data_dir)
    line = error_line(data_dir, max_corrupt_records=2)
    assert line.startswith("3 records are damaged, --max_corrupt_records=2:")
    assert "is damaged" in line


def spoil_four_records(directory):
    """Numbers 3 (label 0), 20 (label 1001), 25 (no bytes), 41 (no example), and 30 by a bit."""
    examples = [example(numbered_image(n), 1 + n) for n in range(NUM_EXAMPLES)]
    examples[3] = example(numbered_image(3), 0)
    examples[20] = example(numbered_image(20), 1001)
    examples[25] = example(b"", 1)
    examples[41] = b"\xff no example"
    write_split(directory, "train", examples, num_shards=3)
    flip_bit(directory / SECOND, offset_of(directory / SECOND, 10) + 40)
    return {3, 20, 25, 30, 41}


def test_invalid_records_are_skipped_like_damaged_ones(data_dir, caplog):
    """The stand-ins are the first valid records: 0, three times 21, and 40."""
    damaged = spoil_four_records(data_dir)
    with caplog.at_level(logging.WARNING, logger="absl"):
        numbers = read_train_numbers(data_dir, 120, max_corrupt_records=5)
    for epoch in (numbers[:60], numbers[60:]):
        assert sorted(epoch) == sorted([*(set(range(60)) - damaged), 0, 21, 21, 21, 40])
    logged = sorted(record.getMessage() for record in caplog.records)
    assert [line.split(f": {data_dir}/")[1] for line in logged] == [
        "train-00000-of-00003: record 3: image/class/label is 0, not from 1 to 1000",
        "train-00002-of-00003: record 1: it is not a tf.train.Example",
        f"{SECOND}: record 0: image/class/label is 1001, not from 1 to 1000",
    ]
    assert error_line(data_dir, max_corrupt_records=4).startswith(
        "5 records are damaged, --max_corrupt_records=4: "
    )


def test_only_records_after_a_damaged_one_are_read_one_by_one(data_dir):
    spoil_four_records(data_dir)
    first = find_damage(data_dir / "train-00000-of-00003", 1000)
    assert (first.num_leading, first.invalid.tolist(), len(first.others)) == (20, [3], 0)
    second = find_damage(data_dir / SECOND, 1000)
    assert (second.num_leading, second.invalid.tolist()) == (10, [0, 5])
    assert second.others[:, 2].tolist() == list(range(11, 20))


def test_a_stream_with_skipped_records_is_resumed_exactly(data_dir):
    spoil_four_records(data_dir)
    dataset = open_imagenet(data_dir, max_corrupt_records=5)

    def numbers(start, count):
        batches = dataset.train_batches(batch_size=1, image_size=4, seed=1, start_example=start)
        return [numbers_of(images)[0] for images, _ in batches.take(count)]

    assert numbers(75, 30) == numbers(0, 105)[75:]


def test_evaluation_masks_the_invalid(data_dir):
    damaged = spoil_four_records(data_dir)
    dataset = open_imagenet(data_dir, max_corrupt_records=5)
    assert real_numbers(dataset) == sorted(set(range(60)) - damaged)


def test_a_file_is_checked_again_only_when_it_has_changed(data_dir, monkeypatch):
    damaged = spoil_four_records(data_dir)
    checked = []

    def verify_shard(path):
        checked.append(path.name)
        return original(path)

    original = skip_damaged.verify_shard
    monkeypatch.setattr(skip_damaged, "verify_shard", verify_shard)
    dataset = open_imagenet(data_dir, max_corrupt_records=6)
    for _ in range(2):
        assert real_numbers(dataset) == sorted(set(range(60)) - damaged)
    assert sorted(checked) == [path.name for path in sorted(data_dir.glob("train-*"))]
    checked.clear()
    flip_bit(data_dir / SECOND, offset_of(data_dir / SECOND, 15) + 40)
    assert real_numbers(dataset) == sorted(set(range(60)) - damaged - {35})
    assert checked == [SECOND]


# How many of our functions are called at the exit when a data set was opened: twice to read, then
# twice to skip.
NUM_AT_EXIT = """
import atexit, sys
ours, register = [], atexit.register
def watched(function, *arguments, **keywords):
    ours.extend([function] if function.__module__.startswith("preprocessing") else [])
    return register(function, *arguments, **keywords)
atexit.register = watched
from benchmark_cnn.params.data_params import DataParams
from preprocessing import registry
numbers = []
for max_corrupt_records in (0, 0, 1, 1):
    dataset = registry.open_dataset(
        DataParams(
            data_dir=sys.argv[1], data_name="imagenet", max_corrupt_records=max_corrupt_records
        )
    )
    dataset.eval_batches(batch_size=10, image_size=4, subset="train")
    numbers.append(len(ours))
print(numbers)
"""


def test_only_a_run_that_may_skip_records_waits_at_its_end(data_dir):
    completed = subprocess.run(
        [sys.executable, "-c", NUM_AT_EXIT, data_dir],
        cwd=ROOT, capture_output=True, text=True, env=os.environ, timeout=240,
    )  # fmt: skip
    assert completed.stdout == "[0, 0, 1, 1]\n", completed.stderr


def cut(encoded):
    return encoded[: len(encoded) // 2]


def spoil_the_first_marker(jpeg):
    """JFIF's segment becomes a start of frame that is none."""
    return jpeg[:3] + b"\xc0" + jpeg[4:]


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
UNDECODABLE = {
    "JPEG cut off": cut(encode(NOISE)),
    "JPEG without its end": encode(NOISE)[:-300],
    "JPEG with a spoilt header": spoil_the_first_marker(encode(NOISE)),
    "PNG cut off": cut(encode(NOISE, "PNG")),
    "GIF cut off": cut(encode(NOISE, "GIF")),
    "cut off where a GIF might end": encode(NOISE)[:-300] + b";",
    "three bytes of a JPEG": encode(NOISE)[:3],
}


@pytest.mark.parametrize("kind", UNDECODABLE)
def test_an_image_that_cannot_be_decoded_is_skipped_like_a_damaged_record(data_dir, kind):
    replace_record(data_dir, 47, example(UNDECODABLE[kind], 1))
    line = error_line(data_dir)
    problem = "cannot be decoded"
    if kind == "JPEG with a spoilt header":
        problem = "is too large: 17,920x17,993 pixels, more than 178,956,970"
    assert line.endswith(f"train-00002-of-00003: record 7: its image {problem}")
    numbers = read_train_numbers(data_dir, 60, max_corrupt_records=1)
    assert sorted(numbers) == sorted([*(set(range(60)) - {47}), 40])


def test_bytes_after_the_end_of_an_image_are_no_damage(data_dir):
    for encoded in (encode(NOISE), encode(NOISE, "PNG"), encode(NOISE, "GIF")):
        replace_record(data_dir, 47, example(encoded + bytes(100), 48))
        assert find_damage(data_dir / "train-00002-of-00003", 1000).num_damaged == 0


def test_an_image_that_is_damaged_between_its_ends_stops_whatever_is_allowed(data_dir):
    replace_record(data_dir, 47, example(damaged_within(encode(NOISE, "PNG")), 1))
    line = error_line(data_dir, max_corrupt_records=9)
    assert line.endswith("train-00002-of-00003: record 7: its image cannot be decoded")


def test_an_image_that_cannot_be_decoded_after_a_damaged_record(data_dir):
    """The damaged one is allowed; the search for the other gets past it."""
    replace_record(data_dir, 47, example(damaged_within(encode(NOISE, "PNG")), 1))
    path = data_dir / "train-00002-of-00003"
    flip_bit(path, offset_of(path, 2) + 30)
    line = error_line(data_dir, max_corrupt_records=1)
    assert line == f"{path}: record 7: its image cannot be decoded"


def test_records_swallowed_by_a_gap_count_by_the_manifest(data_dir):
    """Records 4 to 8 overwritten: without the manifest one loss is seen, with it five."""
    path = data_dir / SECOND
    start, end = offset_of(path, 4), offset_of(path, 9)
    content = bytearray(path.read_bytes())
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    assert len(read_train_numbers(data_dir, 60, max_corrupt_records=1)) == 60
    write_listed(data_dir, 20)
    assert error_line(data_dir, max_corrupt_records=4).startswith(
        "5 records are damaged, --max_corrupt_records=4:"
    )
    numbers = read_train_numbers(data_dir, 60, max_corrupt_records=5)
    assert sorted(numbers) == sorted([*(set(range(60)) - {24, 25, 26, 27, 28}), *[20] * 5])


# Number 37 ends after the second byte; or the file ends with number 36.
@pytest.mark.parametrize("num_bytes_left", [2, 0])
def test_a_shard_that_is_cut_off_loses_what_the_manifest_has_more(data_dir, num_bytes_left):
    write_listed(data_dir, 20)
    path = data_dir / SECOND
    path.write_bytes(path.read_bytes()[: offset_of(path, 17) + num_bytes_left])
    damaged = {37, 38, 39}
    with pytest.raises(DataError, match="bytes, its manifest says"):
        read_train_numbers(data_dir, 60)
    assert error_line(data_dir, max_corrupt_records=2).startswith("3 records are damaged, ")
    dataset = open_imagenet(data_dir, data_subset="train", max_corrupt_records=3)
    assert dataset.num_examples("train") == NUM_EXAMPLES
    assert real_numbers(dataset) == sorted(set(range(60)) - damaged)
    numbers = read_train_numbers(data_dir, 120, max_corrupt_records=3)
    for epoch in (numbers[:60], numbers[60:]):
        assert sorted(epoch) == sorted([*(set(range(60)) - damaged), 20, 20, 20])


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty (0 bytes)"), (None, "its manifest says")]
)
def test_an_empty_shard_or_a_longer_one_stops_whatever_is_allowed(data_dir, content, problem):
    write_listed(data_dir, 20)
    path = data_dir / SECOND
    path.write_bytes(path.read_bytes() + b"x" if content is None else content)
    with pytest.raises(DataError) as caught:
        read_train_numbers(data_dir, 60, max_corrupt_records=100)
    assert problem in str(caught.value)


@pytest.mark.parametrize("evaluate", [False, True])
def test_a_shard_that_is_cut_while_it_is_read_is_named(data_dir, evaluate):
    """The manifest then has another size."""
    write_listed(data_dir, 20)
    path = data_dir / SECOND
    dataset = open_imagenet(data_dir)
    if evaluate:
        batches = dataset.eval_batches(batch_size=10, image_size=4, subset="train")
    else:
        batches = dataset.train_batches(batch_size=10, image_size=4, seed=1)
    offset = offset_of(path, 17)
    path.write_bytes(path.read_bytes()[: offset + 20])
    with pytest.raises(tf.errors.OpError) as caught:
        for _ in batches:
            pass
    line = str(dataset.explain(caught.value, "train"))
    assert line.startswith(f"{path}: record 17 at byte {offset} is damaged (the file ends inside")


@pytest.fixture
def nameless_dir(data_dir):
    """The three shards in a directory whose name is no UTF-8."""
    directory = directory_whose_name_is_no_text(data_dir)
    for path in sorted(data_dir.glob("train-*")):
        path.rename(directory / path.name)
    return directory


def test_a_name_that_is_no_text_is_read(nameless_dir):
    assert sorted(read_train_numbers(nameless_dir, 60)) == list(range(60))
    flip_bit(nameless_dir / SECOND, offset_of(nameless_dir / SECOND, 5) + 40)
    line = error_line(nameless_dir)
    assert line.startswith(f"{nameless_dir / SECOND}: record 5 at byte ")
    numbers = read_train_numbers(nameless_dir, 60, max_corrupt_records=1)
    assert sorted(numbers) == sorted([*(set(range(60)) - {25}), 20])


def test_a_name_that_is_no_text_in_an_error_of_tensorflow(nameless_dir):
    """What is no UTF-8 of it cannot come through."""
    replace_record(nameless_dir, 23, example(numbered_image(23), 1001))
    message = f"{SECOND}: record 3: image/class/label is 1001, not from 1 to 1000"
    assert error_line(nameless_dir).endswith(f"/caf\ufffd/{message}")
    flip_bit(nameless_dir / SECOND, offset_of(nameless_dir / SECOND, 10) + 40)
    line = error_line(nameless_dir, max_corrupt_records=1)
    assert line.startswith("2 records are damaged, --max_corrupt_records=1: ")
    assert line.endswith(f"/caf?/{message}")


def test_shard_without_an_intact_record(data_dir):
    (data_dir / SECOND).write_bytes(b"\x01" * 5000)
    line = error_line(data_dir, max_corrupt_records=100)
    assert line.startswith(f"{data_dir / SECOND} has no intact record")


@pytest.fixture
def single_dir(tmp_path):
    """Three shards of one record each, without a manifest; the second one is damaged."""
    write_numbered_split(tmp_path, "train", 3, num_shards=3)
    flip_bit(tmp_path / SECOND, offset_of(tmp_path / SECOND, 0) + 40)
    return tmp_path


def test_a_damaged_record_that_is_the_only_one_of_its_shard_is_skipped(single_dir):
    """A record of another shard takes its place, once an epoch: the stream keeps its length."""
    numbers = read_train_numbers(single_dir, 30, max_corrupt_records=1)
    assert [sorted(numbers[i : i + 3]) for i in range(0, 30, 3)] == [[0, 0, 2]] * 10
    assert real_numbers(open_imagenet(single_dir, max_corrupt_records=1)) == [0, 2]


def test_a_broken_image_or_a_cut_in_the_only_record_of_a_shard(single_dir):
    images = [numbered_image(0), b"no image", numbered_image(2)]
    write_split(single_dir, "train", [example(image, 1) for image in images], 3)
    assert set(read_train_numbers(single_dir, 9, max_corrupt_records=1)) == {0, 2}
    os.truncate(single_dir / "train-00000-of-00003", 100)
    assert set(read_train_numbers(single_dir, 9, max_corrupt_records=2)) == {2}


def test_no_shard_with_an_intact_record(single_dir):
    for path in single_dir.glob("train-*"):
        if path.name != SECOND:
            flip_bit(path, offset_of(path, 0) + 40)
    line = error_line(single_dir, max_corrupt_records=9)
    assert line == (
        f"no train shard of {single_dir} has an intact record: convert or copy the shards again"
    )
