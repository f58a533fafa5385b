from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.records.tfrecord import record_at, walk_records

# Data of 0, 100, 200, ... bytes; a record takes 16 more, so record n starts at 16n + 50n(n-1).
RECORDS = [np.random.default_rng(n).bytes(100 * n) for n in range(8)]
OFFSETS = [16 * n + 50 * n * (n - 1) for n in range(9)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def flip_bit(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_walk_finds_every_record(path):
    spans = list(walk_records(path))
    assert [span.offset for span in spans] == OFFSETS[:-1]
    assert [span.num_bytes for span in spans] == [16 + 100 * n for n in range(8)]
    assert not any(span.problem for span in spans)


def test_intact_record_has_no_problem(path):
    assert not any(record_at(path, offset).problem for offset in OFFSETS[:-1])


@pytest.mark.parametrize("within", [12, 12 + 150, 12 + 299, 12 + 300, 12 + 303])
def test_any_bit_of_the_data_or_its_checksum(path, within):
    flip_bit(path, OFFSETS[3] + within)
    assert record_at(path, OFFSETS[3]).problem == "the checksum of its data differs"
    assert not any(span.problem for span in walk_records(path))


@pytest.mark.parametrize("within", [0, 7, 8, 11])
def test_a_damaged_header_costs_one_record(path, within):
    flip_bit(path, OFFSETS[3] + within)
    spans = list(walk_records(path))
    assert [span.offset for span in spans] == OFFSETS[:-1]
    assert [bool(span.problem) for span in spans] == [n == 3 for n in range(8)]
    assert spans[3].problem == "the checksum of its length differs"


def test_overwritten_records_become_one_damaged_stretch(path):
    content = bytearray(path.read_bytes())
    content[OFFSETS[2] : OFFSETS[5]] = bytes(OFFSETS[5] - OFFSETS[2])
    path.write_bytes(content)
    spans = list(walk_records(path))
    assert [span.offset for span in spans] == [OFFSETS[n] for n in (0, 1, 2, 5, 6, 7)]
    assert [bool(span.problem) for span in spans] == [False, False, True, False, False, False]
    assert spans[2].num_bytes == OFFSETS[5] - OFFSETS[2]


@pytest.mark.parametrize("size", [OFFSETS[7] + 1, OFFSETS[7] + 12, OFFSETS[8] - 1])
def test_cut_file(path, size):
    path.write_bytes(path.read_bytes()[:size])
    spans = list(walk_records(path))
    assert len(spans) == 8
    assert spans[7].problem == "the file ends inside it"
    assert spans[7].offset + spans[7].num_bytes == size


def test_search_crosses_its_read_buffer(path, monkeypatch):
    monkeypatch.setattr("preprocessing.records.tfrecord._SEARCH_BYTES", 64)
    flip_bit(path, OFFSETS[5])
    spans = list(walk_records(path))
    assert [span.offset for span in spans] == OFFSETS[:-1]


def test_file_without_any_record(tmp_path):
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(3000))
    (span,) = walk_records(tmp_path / "noise")
    assert span.num_bytes == 3000
    assert span.problem
