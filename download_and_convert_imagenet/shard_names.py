"""How shards are called: `train-00007-of-01024` is shard 7 of the 1024 of a split."""

from __future__ import annotations

import re

_SHARD = re.compile(r"(?P<split>\w+)-\d{5,}-of-\d{5,}")


def shard_name(split: str, index: int, num_shards: int) -> str:
    """The name by which readers know shard `index`, from 0, of `num_shards`."""
    return f"{split}-{index:05d}-of-{num_shards:05d}"


def split_of(file_name: str) -> str | None:
    """The split of a file that is named like a shard, None for other files."""
    match = _SHARD.fullmatch(file_name)
    return match["split"] if match else None
