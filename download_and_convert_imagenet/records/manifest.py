"""`manifest.json`, which lists the shards of a converted data set, and the names of shards.

`train-00007-of-01024` is shard 7 of the 1024 shards of a split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.errors import DataError
from common.files import write_text
from common.paths import one_line

FILE_NAME = "manifest.json"
CONVERSION_DIRECTORY = ".conversion"  # next to it, with what the converter remembers
CORRUPT_IMAGES_FILE = "corrupt_images.txt"
REENCODED_IMAGES_FILE = "reencoded_images.txt"
LEFT_OUT_FILE = "not_used.txt"
_FORMAT = 1
_SHARD = re.compile(r"(?P<split>\w+)-\d{5,}-of-\d{5,}")


@dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split, by its name inside the data directory."""

    file: str
    num_examples: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A data set: its name, its classes in label order (label 1 first), and its shards by split.

    With `multi_label`, an image has any number of classes.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]
    multi_label: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def num_examples(self, split: str) -> int:
        """Returns the number of examples in a split; KeyError if there is no such split."""
        return sum(shard.num_examples for shard in self.splits[split])


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    r"""Writes the manifest, after the shards: every split that it lists is complete.

    The file is always UTF-8: invalid bytes in folder names, which Python represents as lone
    surrogates, are written as JSON escapes ("\udce9").

    Raises:
        OSError: the directory cannot be written; an older manifest stays.
    """
    path = directory / FILE_NAME
    content = {"format": _FORMAT, **asdict(manifest)}
    if not manifest.multi_label:  # most files are what they were before there were several labels
        del content["multi_label"]
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_manifest(directory: Path) -> Manifest | None:
    """Reads the manifest of a data directory; None if there is none.

    Raises:
        DataError: the file is not a valid manifest.
    """
    path = directory / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    problem = _problem(content)
    if problem:
        raise DataError(f"{path} is not a manifest of converted shards: {problem}")
    splits = {
        split: tuple(Shard(**shard) for shard in shards)
        for split, shards in content["splits"].items()
    }
    # An earlier version kept line breaks in names of folders.
    class_names = tuple(map(one_line, content["class_names"]))
    multi_label = content.get("multi_label", False)
    return Manifest(one_line(content["name"]), class_names, splits, multi_label)


def _problem(content: object) -> str:
    """Describes what the content of a manifest lacks; "" if it is complete."""
    if not isinstance(content, dict) or "format" not in content:
        return "it has no format"
    if content["format"] != _FORMAT:
        return f"it has format {content['format']}; this reads {_FORMAT}"
    if not isinstance(content.get("name"), str):
        return "its name is no text"
    names = content.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "its class_names are no list of names"
    if not isinstance(content.get("multi_label", False), bool):
        return "its multi_label is neither true nor false"
    splits = content.get("splits")
    if not isinstance(splits, dict):
        return "it has no splits"
    kinds = {field.name: str if field.type == "str" else int for field in fields(Shard)}
    for split, shards in splits.items():
        for number, shard in enumerate(shards if isinstance(shards, list) else [None]):
            if not isinstance(shard, dict) or shard.keys() != kinds.keys():
                return f"entry {number} of its split {split} is no shard with {', '.join(kinds)}"
            for name, kind in kinds.items():
                if type(shard[name]) is not kind or (kind is int and shard[name] < 0):
                    return f"{name} of entry {number} of its split {split} is {shard[name]!r}"
    return ""


def shard_name(split: str, index: int, num_shards: int) -> str:
    """Returns the file name of shard `index`, from 0, of `num_shards`."""
    return f"{split}-{index:05d}-of-{num_shards:05d}"


def split_of(file_name: str) -> str | None:
    """Returns the split of a file that is named like a shard, None for other files."""
    match = _SHARD.fullmatch(file_name)
    return match["split"] if match else None
