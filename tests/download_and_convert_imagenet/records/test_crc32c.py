from __future__ import annotations

import numpy as np
import pytest

from download_and_convert_imagenet.records.crc32c import (
    crc32c,
    masked_crc32c,
    masked_crc32c_of_windows,
    numpy_crc32c,
)


def crc32c_bit_by_bit(data: bytes) -> int:
    """The definition: polynomial division, one bit at a time."""
    remainder = 0xFFFFFFFF
    for value in data:
        remainder ^= value
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),  # the check value of the CRC catalog
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_published_values(data, expected):
    assert crc32c(data) == numpy_crc32c(data) == expected


@pytest.mark.parametrize(
    "num_bytes",
    [1, 3, 31, 32, 33, 511, 512, 513, 516, 1024, 1025, 5685, 5686, 10008, 10009, 22741, 91000],
)
def test_every_length_agrees_with_the_definition(num_bytes):
    data = np.random.default_rng(num_bytes).bytes(num_bytes)
    assert crc32c(data) == numpy_crc32c(data) == crc32c_bit_by_bit(data)


def test_mask_is_that_of_record_writer_h():
    crc = crc32c_bit_by_bit(b"foo")
    expected = ((crc >> 15) + ((crc & 0x7FFF) << 17) + 0xA282EAD8) % 2**32
    assert masked_crc32c(b"foo") == expected


def test_windows_agree_with_single_checksums():
    data = np.random.default_rng(1).bytes(100)
    windows = masked_crc32c_of_windows(data, 8)
    assert windows.tolist() == [masked_crc32c(data[i : i + 8]) for i in range(93)]
    assert masked_crc32c_of_windows(b"1234567", 8).size == 0
