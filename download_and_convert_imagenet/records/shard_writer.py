"""Writes TFRecord shards: the framing of records, and files that are complete or absent."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path

from common.files import atomic_file
from download_and_convert_imagenet.records.crc32c import masked_crc32c
from download_and_convert_imagenet.records.manifest import Shard, shard_name


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
    digest = hashlib.sha256()
    num_examples = num_bytes = 0
    # The worker of a killed conversion may still be writing the same shard.
    with atomic_file(directory / name, per_process=True) as file:
        for example in examples:
            for part in frame_record(example):
                file.write(part)
                digest.update(part)
                num_bytes += len(part)
            num_examples += 1
    return Shard(name, num_examples, num_bytes, digest.hexdigest())
