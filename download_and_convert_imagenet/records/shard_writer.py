"""Writes TFRecord shards: the framing of records, and files that are complete or absent."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from common.files import naming
from download_and_convert_imagenet.records.crc32c import masked_crc32c
from download_and_convert_imagenet.records.manifest import Shard, shard_name

_BUFFER_BYTES = 1 << 20


def shard_ranges(num_examples: int, num_shards: int) -> list[range]:
    """Returns one contiguous range of example numbers per shard; sizes differ by at most 1."""
    borders = [num_examples * index // num_shards for index in range(num_shards + 1)]
    return [range(borders[index], borders[index + 1]) for index in range(num_shards)]


def frame_record(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the three parts of a record in a file: header, data, checksum of the data.

    The format is that of tensorflow/core/lib/io/record_writer.h: little-endian, masked CRC-32C. The
    header is the length of the data and the checksum of the length.
    """
    length = struct.pack("<Q", len(data))
    length_crc = struct.pack("<I", masked_crc32c(length))
    return length + length_crc, data, struct.pack("<I", masked_crc32c(data))


def write_shard(
    directory: Path, split: str, index: int, num_shards: int, examples: Iterable[bytes]
) -> Shard:
    """Writes serialized examples to one shard, under a temporary name until it is complete.

    Equal examples give equal files. Leftovers of a killed process start with a dot, and no reader
    takes them for shards.

    Raises:
        OSError: the directory cannot be written, or the disk is full.
    """
    name = shard_name(split, index, num_shards)
    partial = directory / f".{name}.{os.getpid()}.partial"
    digest = hashlib.sha256()
    num_examples = num_bytes = 0
    try:
        with naming(directory / name), partial.open("wb", buffering=_BUFFER_BYTES) as file:
            for example in examples:
                for part in frame_record(example):
                    file.write(part)
                    digest.update(part)
                    num_bytes += len(part)
                num_examples += 1
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before unflushed data does
        partial.replace(directory / name)
    finally:
        partial.unlink(missing_ok=True)
    return Shard(name, num_examples, num_bytes, digest.hexdigest())
