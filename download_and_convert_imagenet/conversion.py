"""A whole conversion: finished shards are kept, the others written, and the manifest comes last."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.data_directory import DataDirectory, Splits
from download_and_convert_imagenet.journal import (
    CORRUPT_IMAGES_FILE,
    ConversionJournal,
    FinishedShard,
    write_image_lists,
)
from download_and_convert_imagenet.plan import ShardTask, plan_conversion
from download_and_convert_imagenet.progress import ConversionProgress
from download_and_convert_imagenet.sources.image_source import TRAIN, VALIDATION, ImageSource
from download_and_convert_imagenet.workers import Event, ImagesRead, run_tasks


@dataclass(frozen=True)
class ConversionResult:
    """The outcome of a conversion.

    Attributes:
        shards: all shards, including those kept from an earlier run.
        num_images_now: images read in this run, in `seconds`.
        is_accepted: whether few enough images are corrupt, so that the manifest was written.
    """

    shards: tuple[FinishedShard, ...]
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
    progress: ConversionProgress,
) -> ConversionResult:
    """Writes the shards of all splits of a source, and then the manifest.

    The caller holds the lock of the directory, see `data_directory.locked`.

    Args:
        num_shards: of every split of the source.
        max_corrupt_images: with more, all shards are written, but the manifest does not list these
            splits.

    Raises:
        DataError: there are fewer images than shards, the directory holds other data, or the
            conversion cannot continue.
        OSError: the directory cannot be written.
    """
    tasks = plan_conversion(source, num_shards)
    directory = DataDirectory(data_dir)
    directory.check_no_foreign_shards(source)
    started = time.monotonic()
    other_splits = directory.other_splits(source)
    directory.remove_partial_files()
    journal = ConversionJournal(data_dir)
    finished, pending = _prepare(directory, journal, tasks, source, other_splits, progress)
    try:
        finished += _write(pending, data_dir, journal, num_processes, progress)
    finally:
        directory.remove_partial_files()
    write_image_lists(data_dir, [*journal.finished_of_other_splits(source.splits), *finished])
    result = ConversionResult(
        shards=tuple(sorted(finished, key=lambda entry: entry.shard.file)),
        num_images_now=sum(len(task.images) for task in pending),
        seconds=time.monotonic() - started,
        is_accepted=sum(len(entry.corrupt) for entry in finished) <= max_corrupt_images,
    )
    _finish(directory, source, result, other_splits)
    return result


def _prepare(
    directory: DataDirectory,
    journal: ConversionJournal,
    tasks: Sequence[ShardTask],
    source: ImageSource,
    other_splits: Splits,
    progress: ConversionProgress,
) -> tuple[list[FinishedShard], list[ShardTask]]:
    """Returns the finished shards and the pending tasks.

    Removes pending splits from the manifest and deletes surplus shards. The order matters: an error
    changes nothing, and no manifest ever lists a shard that has been deleted.
    """
    finished, outdated = journal.split_finished(tasks)
    done = {entry.shard.file for entry in finished}
    pending = [task for task in tasks if task.file not in done]
    surplus = directory.surplus_shards(tasks, journal)
    if pending or surplus:
        directory.check_free_space(pending, surplus)
        directory.forget_splits(source, other_splits)
        journal.begin(task.split for task in pending)
    for path in surplus:
        path.unlink()
    if outdated or surplus:
        progress.log(
            "the images or the options have changed since the last conversion; "
            f"finished shards that are converted again: {len(outdated) + len(surplus)}"
        )
    if done:
        progress.log(f"{len(done)} of {len(tasks)} shards are finished already and kept")
    return finished, pending


def _finish(
    directory: DataDirectory, source: ImageSource, result: ConversionResult, other_splits: Splits
) -> None:
    """Writes the manifest, or removes rejected splits from it.

    Raises:
        DataError: a shard has no examples, which readers would report as damage; or a class has no
            training image that can be decoded.
    """
    lost = _describe_lost_class(source, result)
    empty = [entry for entry in result.shards if entry.shard.num_examples == 0]
    if result.is_accepted and not empty and not lost:
        directory.write_manifest(source, result.shards, other_splits)
        return
    directory.forget_splits(source, other_splits)
    if empty and result.is_accepted:
        raise DataError(_describe_empty_shard(source, result, empty[0]))
    if lost and result.is_accepted:
        raise DataError(lost)


def _describe_empty_shard(
    source: ImageSource, result: ConversionResult, empty: FinishedShard
) -> str:
    split = empty.split
    if any(entry.shard.num_examples for entry in result.shards if entry.split == split):
        return (
            f"{empty.shard.file} is empty because none of its images can be decoded (see "
            f"{CORRUPT_IMAGES_FILE}): use fewer --{split}_shards (1 is enough)"
        )
    advice = "get them again"
    if source.is_held_out and split == VALIDATION:
        advice += ", or choose another --validation_fraction (0 holds none out)"
    return (
        f"no {split} image is left: none of the {len(source.splits[split]):,} can be decoded (see "
        f"{CORRUPT_IMAGES_FILE}): {advice}"
    )


def _describe_lost_class(source: ImageSource, result: ConversionResult) -> str:
    """Names a class whose training images are all left out, "" if there is none."""
    images = source.splits.get(TRAIN, ())
    corrupt = {
        note.name for entry in result.shards if entry.split == TRAIN for note in entry.corrupt
    }
    if not corrupt:
        return ""
    left = {image.label for image in images if image.name not in corrupt}
    name = next((image.synset for image in images if image.label not in left), None)
    if name is None:
        return ""
    return (
        f"the class {name} has no {TRAIN} image left: none can be decoded (see "
        f"{CORRUPT_IMAGES_FILE}): get them again, or remove the class"
    )


def _write(
    pending: Sequence[ShardTask],
    data_dir: Path,
    journal: ConversionJournal,
    num_processes: int,
    progress: ConversionProgress,
) -> list[FinishedShard]:
    """Writes shards; records each as soon as it is complete, and invalidates what it replaces."""
    finished = []
    recorded = journal.recorded().keys()

    def on_event(event: Event) -> None:
        if isinstance(event, ShardTask):
            if event.file in recorded:
                journal.invalidate(event.file)
        elif isinstance(event, ImagesRead):
            progress.advance(event.num_images, event.num_bytes)
        else:
            journal.append(event)
            finished.append(event)

    if pending:
        num_images = sum(len(task.images) for task in pending)
        progress.start(num_images, sum(task.num_source_bytes for task in pending))
        run_tasks(pending, data_dir, num_processes, on_event)
    return finished
