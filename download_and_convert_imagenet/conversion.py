"""A whole conversion: plan, finished shards kept, the others written, the manifest last."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from download_and_convert_imagenet.conversion_journal import (
    DIRECTORY,
    ConversionJournal,
    FinishedShard,
    ImageNote,
)
from download_and_convert_imagenet.conversion_plan import ShardTask, plan_conversion
from download_and_convert_imagenet.conversion_workers import Event, ImagesRead, run_tasks
from download_and_convert_imagenet.data_directory import DataDirectory
from download_and_convert_imagenet.directory_lock import locked_directory
from download_and_convert_imagenet.image_source import ImageSource

CORRUPT_IMAGES_FILE = "corrupt_images.txt"
REPAIRED_IMAGES_FILE = "repaired_images.txt"


class ConversionDisplay(Protocol):
    """What a conversion tells while it runs."""

    def notice(self, text: str) -> None:
        """Something to know, in one line."""
        ...

    def start(self, num_images: int, num_bytes: int) -> None:
        """So much is to be read from now on."""
        ...

    def advance(self, num_images: int, num_bytes: int) -> None:
        """So much more was read."""
        ...


@dataclass(frozen=True)
class ConversionResult:
    """A finished conversion.

    Attributes:
        shards: all of them, those that were kept from an earlier run included.
        num_kept: shards that were kept.
        num_images_now: images read in this run, in `seconds`.
        is_accepted: the manifest was written: corrupt images are not too many.
    """

    shards: tuple[FinishedShard, ...]
    num_kept: int
    num_images_now: int
    seconds: float
    is_accepted: bool


def convert(
    source: ImageSource,
    data_dir: Path,
    num_shards: Mapping[str, int],
    *,
    num_processes: int,
    max_corrupt_images: int,
    display: ConversionDisplay,
) -> ConversionResult:
    """Write the shards of all splits of a source, and the manifest when nothing is amiss.

    Args:
        num_shards: of every split of the source.
        max_corrupt_images: with more, all shards are written, but no manifest.

    Raises:
        SourceError: the source does not fit the number of shards.
        ConversionError: the directory holds other data, or the conversion cannot go on.
        DirectoryLockedError: another conversion is writing there.
        OSError: the directory cannot be written.
    """
    tasks = plan_conversion(source, num_shards)
    directory = DataDirectory(data_dir)
    directory.refuse_shards_of_others(source)
    with locked_directory(data_dir, data_dir / DIRECTORY):
        started = time.monotonic()
        other_splits = directory.other_splits(source)
        directory.remove_partial_files()
        journal = ConversionJournal(data_dir)
        finished, outdated = journal.split_finished(tasks)
        surplus = directory.remove_surplus_shards(tasks, journal)
        if outdated or surplus:
            display.notice(
                "the images or the options are not those of the last conversion; "
                f"finished shards that are converted anew: {len(outdated) + len(surplus)}"
            )
        done = {entry.shard.file for entry in finished}
        pending = [task for task in tasks if task.file not in done]
        if pending:
            directory.forget_splits(source, other_splits)
            directory.check_free_space(pending)
        if done:
            display.notice(f"{len(done)} of {len(tasks)} shards are finished already and kept")
        try:
            finished += _write(pending, data_dir, journal, num_processes, display)
        finally:
            directory.remove_partial_files()
        shards = tuple(sorted(finished, key=lambda entry: entry.shard.file))
        _write_notes(data_dir / REPAIRED_IMAGES_FILE, [(s.split, s.repaired) for s in shards])
        corrupt = [(shard.split, shard.corrupt) for shard in shards]
        is_accepted = _write_notes(data_dir / CORRUPT_IMAGES_FILE, corrupt) <= max_corrupt_images
        if is_accepted:
            directory.write_manifest(source, shards, other_splits)
        return ConversionResult(
            shards,
            num_kept=len(done),
            num_images_now=sum(len(task.images) for task in pending),
            seconds=time.monotonic() - started,
            is_accepted=is_accepted,
        )


def _write_notes(path: Path, notes: Sequence[tuple[str, tuple[ImageNote, ...]]]) -> int:
    """Write one line an image, or no file where there is none; return their number."""
    lines = [f"{split} {note.name} {note.text}\n" for split, found in notes for note in found]
    if lines:
        path.write_text("".join(lines), "utf-8", "surrogateescape")
    else:
        path.unlink(missing_ok=True)
    return len(lines)


def _write(
    pending: Sequence[ShardTask],
    data_dir: Path,
    journal: ConversionJournal,
    num_processes: int,
    display: ConversionDisplay,
) -> list[FinishedShard]:
    """Write shards; each is recorded as soon as it is there."""
    finished = []

    def on_event(event: Event) -> None:
        if isinstance(event, ImagesRead):
            display.advance(event.num_images, event.num_bytes)
        else:
            journal.append(event)
            finished.append(event)

    if pending:
        num_images = sum(len(task.images) for task in pending)
        display.start(num_images, sum(task.num_source_bytes for task in pending))
        run_tasks(pending, data_dir, num_processes, on_event)
    return finished
