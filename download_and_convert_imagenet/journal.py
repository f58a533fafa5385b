"""Finished shards, recorded one by one: an interrupted conversion goes on from there.

Lists beside the shards: images that were encoded anew, and images that were left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.files import file_size, naming
from download_and_convert_imagenet.plan import ShardTask
from download_and_convert_imagenet.records.manifest import Shard

DIRECTORY = ".conversion"
_FILE = "finished_shards.jsonl"
_BEGUN, _REPLACED = "begun", "replaced"


@dataclass(frozen=True)
class ImageNote:
    """What happened to one image, in words that follow its name."""

    name: str
    text: str


@dataclass(frozen=True)
class FinishedShard:
    """A shard that is written, and what its images were like.

    Attributes:
        fingerprint: of the task that it fulfils.
        num_boxes: bounding boxes in its records.
        repaired, corrupt: images that were encoded anew, and those that were left out.
    """

    split: str
    shard: Shard
    fingerprint: str
    num_boxes: int
    repaired: tuple[ImageNote, ...]
    corrupt: tuple[ImageNote, ...]


class ConversionJournal:
    """The record of finished shards in a data directory: a line of JSON each, only appended to.

    Before the first shard of a split is written, a line says that the split is begun; before a
    shard is written in the place of a recorded one, a line says that its record holds no more.
    """

    @staticmethod
    def splits_begun(data_dir: Path) -> set[str]:
        """The splits whose conversion into this directory was begun."""
        contents = _lines(data_dir / DIRECTORY / _FILE)
        begun = (content.get(_BEGUN) or content.get("split") for content in contents)
        return {split for split in begun if isinstance(split, str)}

    def __init__(self, data_dir: Path) -> None:
        """Open the journal of a directory, an empty one where there is none.

        Raises:
            OSError: the directory cannot be written.
        """
        self._data_dir = data_dir
        self._path = data_dir / DIRECTORY / _FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def split_finished(self, tasks: Iterable[ShardTask]) -> tuple[list[FinishedShard], list[str]]:
        """Tasks that are done already, and files whose task has changed since they were written.

        A shard is done when it was recorded with the fingerprint of its task and its file is still
        there in the recorded size.
        """
        recorded = self.recorded()
        finished, outdated = [], []
        for task in tasks:
            entry = recorded.get(task.file)
            if entry is None:
                continue
            if entry.fingerprint != task.fingerprint:
                outdated.append(task.file)
            elif self._is_there(entry):
                finished.append(entry)
        return finished, outdated

    def finished_besides(self, splits: Container[str]) -> list[FinishedShard]:
        """Shards of other splits than these that are still there in the recorded size."""
        entries = self.recorded().values()
        return [entry for entry in entries if entry.split not in splits and self._is_there(entry)]

    def begin(self, splits: Iterable[str]) -> None:
        """Record that shards of these splits are going to be written.

        Raises:
            OSError: as of `append`.
        """
        for split in sorted(set(splits) - self.splits_begun(self._data_dir)):
            self._append({_BEGUN: split})

    def append(self, finished: FinishedShard) -> None:
        """Record a shard whose file is complete; on return the record is on the disk.

        Raises:
            OSError: the disk is full, for example.
        """
        self._append(asdict(finished))

    def void(self, file: str) -> None:
        """Record that a finished shard is going to be replaced by another one.

        Otherwise, a run that is killed between the renaming of the new shard and its recording
        leaves it under the record of the old one, whose size it may have.

        Raises:
            OSError: as of `append`.
        """
        self._append({_REPLACED: file})

    def _append(self, content: dict) -> None:
        line = json.dumps(content).encode() + b"\n"
        with naming(self._path), self._path.open("ab") as file:
            # The line break in front ends a line that was cut off when the power failed.
            file.write(b"\n" + line)
            file.flush()
            os.fsync(file.fileno())

    def recorded(self) -> dict[str, FinishedShard]:
        """Everything that is finished, by file name, the last record of each.

        A line that was cut off is no record, nor is one that says something else.
        """
        recorded = {}
        for content in _lines(self._path):
            recorded.pop(str(content.get(_REPLACED)), None)
            if (entry := _parse(content)) is not None:
                recorded[entry.shard.file] = entry
        return recorded

    def written(self) -> set[str]:
        """Every file that was ever finished, also where another was to replace it."""
        entries = map(_parse, _lines(self._path))
        return {entry.shard.file for entry in entries if entry is not None}

    def _is_there(self, entry: FinishedShard) -> bool:
        return file_size(self._data_dir / entry.shard.file) == entry.shard.num_bytes


def _lines(path: Path) -> Iterator[dict]:
    """What the lines of a journal say, one that was cut off excepted; nothing without a file."""
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
    """A record, None of another line; what other versions of this program note is passed over."""
    try:
        known = {field.name: content[field.name] for field in fields(FinishedShard)}
        known["shard"] = Shard(**known["shard"])
        for key in ("repaired", "corrupt"):
            known[key] = tuple(ImageNote(**note) for note in known[key])
        return FinishedShard(**known)
    except (KeyError, TypeError):
        return None


CORRUPT_IMAGES_FILE = "corrupt_images.txt"
REPAIRED_IMAGES_FILE = "repaired_images.txt"


def write_image_lists(data_dir: Path, shards: Iterable[FinishedShard]) -> None:
    """Write one line an image: its split, its name, what happened to it.

    Args:
        shards: of all splits that are in the directory; a list without a line is removed.

    Raises:
        OSError: the directory cannot be written.
    """
    ordered = sorted(shards, key=lambda entry: entry.shard.file)
    _write(data_dir / REPAIRED_IMAGES_FILE, [(entry.split, entry.repaired) for entry in ordered])
    _write(data_dir / CORRUPT_IMAGES_FILE, [(entry.split, entry.corrupt) for entry in ordered])


def _write(path: Path, notes: Sequence[tuple[str, tuple[ImageNote, ...]]]) -> None:
    lines = [f"{split} {note.name} {note.text}\n" for split, found in notes for note in found]
    if lines:
        with naming(path):
            path.write_text("".join(lines), "utf-8", "surrogateescape")
    else:
        path.unlink(missing_ok=True)
