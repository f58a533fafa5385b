"""Converts photos into records, in one process at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from common import files
from common.errors import DataError
from common.paths import one_line
from common.process import num_cores
from download_and_convert_imagenet.sources.image_source import ImageSource, LeftOut, SourceImage
from preprocessing.own_photos.division import NOT_USED, Parts, ordered

_COPY = "a copy of a photo that evaluates"
_POLL_SECS = 0.2
_IMAGES_PER_PROCESS = 2000  # with fewer, starting a process takes longer than it saves
_SHOWN = 3


def convert(source: ImageSource, parts: Parts, directory: Path, max_corrupt: int) -> list[str]:
    """Writes the records of all photos that are used, by the converter and with its checks.

    A conversion that was stopped resumes.

    Args:
        source: the photos, as their folder gives them.
        max_corrupt: photos that may be left out because they cannot be decoded.

    Returns:
        The names of these.

    Raises:
        DataError: there are more of these, or the records cannot be written.
    """
    from download_and_convert_imagenet.command import default_shards
    from download_and_convert_imagenet.conversion import convert as write
    from download_and_convert_imagenet.data_directory import locked
    from download_and_convert_imagenet.journal import write_left_out
    from download_and_convert_imagenet.progress import ConversionProgress

    splits: dict[str, list[SourceImage]] = {}
    images = [image for found in source.splits.values() for image in found]
    for image in images:
        splits.setdefault(parts[image.name], []).append(image)
    unused = splits.pop(NOT_USED, [])
    source = replace(source, splits={part: splits[part] for part in ordered(splits)})
    # No shard may be empty, whichever photos are left out.
    num_shards = {
        split: min(default_shards(source, split), max(1, len(found) // (max_corrupt + 1)))
        for split, found in source.splits.items()
    }
    num_processes = min(num_cores(), 1 + len(images) // _IMAGES_PER_PROCESS)
    with locked(directory), ConversionProgress() as progress:
        result = write(
            source,
            directory,
            num_shards,
            num_processes=num_processes,
            max_corrupt_images=max_corrupt,
            progress=progress,
        )
    left_out = [*source.left_out, *(LeftOut(image.name, _COPY) for image in unused)]
    write_left_out(directory, left_out)
    corrupt = [note for shard in result.shards for note in shard.corrupt]
    if not result.is_accepted:
        shown = ", ".join(f"{one_line(note.name)} {note.text}" for note in corrupt[:_SHOWN])
        more = ", ..." if len(corrupt) > _SHOWN else ""
        raise DataError(
            f"{len(corrupt):,} photo{'' if len(corrupt) == 1 else 's'} cannot be "
            f"decoded: {shown}{more}: replace or remove them, or leave them out with "
            f"--max_corrupt_records={len(corrupt)}"
        )
    return [note.name for note in corrupt]


@contextlib.contextmanager
def alone(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Waits while another process converts the same photos."""
    path = directory.parent / f".{directory.name}.lock"
    with contextlib.ExitStack() as stack:
        is_said = False
        while True:
            try:
                lock = files.lock(path, busy="another process converts", advice="wait", warn=say)
                stack.enter_context(lock)
                break
            except DataError as error:
                if not is_said:
                    say(f"waiting: {error}")
                is_said = True
                time.sleep(_POLL_SECS)
        yield
