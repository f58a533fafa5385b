"""The journal of finished shards, from which an interrupted conversion resumes.

From it the lists of re-encoded and of corrupt images are written next to the shards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common import paths
from common.files import file_size, naming
from download_and_convert_imagenet.plan import ShardTask
from download_and_convert_imagenet.records.manifest import (
    CONVERSION_DIRECTORY,
    CORRUPT_IMAGES_FILE,
    LEFT_OUT_FILE,
    REENCODED_IMAGES_FILE,
    Shard,
)
from download_and_convert_imagenet.sources.image_source import LeftOut

_FILE = "finished_shards.jsonl"
_EARLIER_NAME = "repaired_images.txt"
_BEGUN, _REPLACED = "begun", "replaced"


@dataclass(frozen=True)
class ImageNote:
    """What was done to one image; the text follows its name in messages."""

    name: str
    text: str


@dataclass(frozen=True)
class FinishedShard:
    """A shard that is complete, and what was found in its images.

    Attributes:
        fingerprint: of its task.
        num_boxes: bounding boxes in its records.
        repaired, corrupt: images that were re-encoded for whatever reason, and images that were
            left out. The names are those in the journals of earlier conversions.
    """

    split: str
    shard: Shard
    fingerprint: str
    num_boxes: int
    repaired: tuple[ImageNote, ...]
    corrupt: tuple[ImageNote, ...]


class ConversionJournal:
    """The finished shards in a data directory: a line of JSON each, in a file that only grows.

    Before the first shard of a split is written, a line says that the split is begun. Before a
    recorded shard is replaced, a line invalidates its record.
    """

    @staticmethod
    def splits_begun(data_dir: Path) -> set[str]:
        """Returns the splits whose conversion into this directory was begun."""
        contents = _lines(data_dir / CONVERSION_DIRECTORY / _FILE)
        begun = (content.get(_BEGUN) or content.get("split") for content in contents)
        return {split for split in begun if isinstance(split, str)}

    def __init__(self, data_dir: Path) -> None:
        """Opens the journal of a directory, or creates an empty one."""
        self._data_dir = data_dir
        self._path = data_dir / CONVERSION_DIRECTORY / _FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def split_finished(self, tasks: Iterable[ShardTask]) -> tuple[list[FinishedShard], list[str]]:
        """Returns the finished shards, and the files whose task has changed since.

        A shard is finished if it was recorded with the fingerprint of its task and its file still
        has the recorded size.
        """
        recorded = self.recorded()
        finished, outdated = [], []
        for task in tasks:
            entry = recorded.get(task.file)
            if entry is None:
                continue
            if entry.fingerprint != task.fingerprint:
                outdated.append(task.file)
            elif self._is_intact(entry):
                finished.append(entry)
        return finished, outdated

    def finished_of_other_splits(self, splits: Container[str]) -> list[FinishedShard]:
        """Returns the recorded shards of all other splits whose files have the recorded size."""
        entries = self.recorded().values()
        return [entry for entry in entries if entry.split not in splits and self._is_intact(entry)]

    def begin(self, splits: Iterable[str]) -> None:
        """Records that shards of these splits will be written."""
        for split in sorted(set(splits) - self.splits_begun(self._data_dir)):
            self._append({_BEGUN: split})

    def append(self, finished: FinishedShard) -> None:
        """Records a shard whose file is complete; on return the record is on the disk."""
        self._append(asdict(finished))

    def invalidate(self, file: str) -> None:
        """Records that a finished shard will be replaced.

        Otherwise, a process that is killed after renaming the new shard and before recording it
        would leave the new shard under the record of the old one, and both may have the same size.
        """
        self._append({_REPLACED: file})

    def _append(self, content: dict) -> None:
        line = json.dumps(content).encode() + b"\n"
        with naming(self._path), self._path.open("ab") as file:
            # The first line break ends a line that was cut off by a power failure.
            file.write(b"\n" + line)
            file.flush()
            os.fsync(file.fileno())

    def recorded(self) -> dict[str, FinishedShard]:
        """Returns the last valid record of every file, by file name."""
        recorded = {}
        for content in _lines(self._path):
            recorded.pop(str(content.get(_REPLACED)), None)
            if (entry := _parse(content)) is not None:
                recorded[entry.shard.file] = entry
        return recorded

    def written(self) -> set[str]:
        """Returns every file that was ever finished, invalidated ones included."""
        entries = map(_parse, _lines(self._path))
        return {entry.shard.file for entry in entries if entry is not None}

    def _is_intact(self, entry: FinishedShard) -> bool:
        return file_size(self._data_dir / entry.shard.file) == entry.shard.num_bytes


def _lines(path: Path) -> Iterator[dict]:
    """Yields the lines of a journal, except ones that were cut off; nothing without a file."""
    try:
        with naming(path):
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            yield content


def _parse(content: dict) -> FinishedShard | None:
    """Returns a record, None for other lines. Keys of other versions are ignored."""
    try:
        known = {field.name: content[field.name] for field in fields(FinishedShard)}
        known["shard"] = Shard(**known["shard"])
        for key in ("repaired", "corrupt"):
            known[key] = tuple(ImageNote(**note) for note in known[key])
        return FinishedShard(**known)
    except (KeyError, TypeError):
        return None


def write_image_lists(data_dir: Path, shards: Iterable[FinishedShard]) -> None:
    """Writes one line per image: its split, its name, what was done to it.

    Args:
        shards: of all splits in the directory. An empty list is not written but removed.
    """
    ordered = sorted(shards, key=lambda entry: entry.shard.file)
    (data_dir / _EARLIER_NAME).unlink(missing_ok=True)
    _write(data_dir / REENCODED_IMAGES_FILE, [(entry.split, entry.repaired) for entry in ordered])
    _write(data_dir / CORRUPT_IMAGES_FILE, [(entry.split, entry.corrupt) for entry in ordered])


def write_left_out(data_dir: Path, left_out: Iterable[LeftOut]) -> None:
    """Writes one line per file or folder that was given and not used: its path and the reason."""
    lines = [f"{paths.one_line(path)}: {reason}\n" for path, reason, _ in left_out]
    _write_lines(data_dir / LEFT_OUT_FILE, lines)


def _write(path: Path, notes: Sequence[tuple[str, tuple[ImageNote, ...]]]) -> None:
    lines = [
        f"{split} {paths.one_line(note.name)} {note.text}\n"
        for split, found in notes
        for note in found
    ]
    _write_lines(path, lines)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    if lines:
        with naming(path):
            path.write_text("".join(lines), "utf-8", "surrogateescape")
    else:
        path.unlink(missing_ok=True)
