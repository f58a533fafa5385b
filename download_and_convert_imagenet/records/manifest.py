"""`manifest.json`, written beside the shards: what a converted data set holds, to the byte.

How shards are called: `train-00007-of-01024` is shard 7 of the 1024 of a split.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from common.files import naming

FILE_NAME = "manifest.json"
_FORMAT = 1


class ManifestError(ValueError):
    """A manifest that cannot be read; the message is one line that names the file."""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split, by its name inside the data directory."""

    file: str
    num_examples: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A data set: its name, its classes in label order (label 1 first), its splits' shards."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def num_examples(self, split: str) -> int:
        """Examples of a split; KeyError when the data set has no such split."""
        return sum(shard.num_examples for shard in self.splits[split])


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    """Write the manifest last: a split that it lists was converted to the end.

    The file is UTF-8 whatever the classes are called: a byte of a folder's name that is not, which
    Python has as a lone surrogate, is written as JSON's escape of it ("\\udce9") and read as such.

    Raises:
        OSError: the directory cannot be written; what was there stays.
    """
    path = directory / FILE_NAME
    partial = directory / f".{FILE_NAME}.{os.getpid()}.partial"
    content = {"format": _FORMAT, **asdict(manifest)}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    try:
        with (
            naming(path),
            partial.open("w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before unflushed data does
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a data directory, None when there is none.

    Raises:
        ManifestError: the file is there and is not a manifest.
    """
    path = directory / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    try:
        if content["format"] != _FORMAT:
            raise ManifestError(f"{path} has format {content['format']}; this reads {_FORMAT}")
        splits = {
            split: tuple(Shard(**shard) for shard in shards)
            for split, shards in content["splits"].items()
        }
        return Manifest(content["name"], tuple(content["class_names"]), splits)
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path} is not a manifest of converted shards: {error!r}") from error


_SHARD = re.compile(r"(?P<split>\w+)-\d{5,}-of-\d{5,}")


def shard_name(split: str, index: int, num_shards: int) -> str:
    """The name by which readers know shard `index`, from 0, of `num_shards`."""
    return f"{split}-{index:05d}-of-{num_shards:05d}"


def split_of(file_name: str) -> str | None:
    """The split of a file that is named like a shard, None for other files."""
    match = _SHARD.fullmatch(file_name)
    return match["split"] if match else None
