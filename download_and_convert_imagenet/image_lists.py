"""Lists beside the shards: images that were encoded anew, and images that were left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from download_and_convert_imagenet.conversion_journal import FinishedShard, ImageNote
from download_and_convert_imagenet.file_errors import naming

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
