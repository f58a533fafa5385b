"""Splits that the converter has begun and not finished: some of their shards may be older ones."""

from __future__ import annotations

from pathlib import Path

from preprocessing.errors import DataError
from preprocessing.manifest_check import manifest_of


def refuse_unfinished(data_dir: Path, split: str) -> None:
    """Refuse a split that was begun in this directory, or its folder, and is in no manifest.

    The converter takes a split out of the manifest before it replaces its first shard, and lists it
    when the last one is there and its images are accepted. Sets of others have no such record.

    Raises:
        DataError: the conversion was stopped or rejected; or its record cannot be read.
    """
    directories = [folder for folder in (data_dir, data_dir / split) if folder.is_dir()]
    manifests = [manifest_of(directory) for directory in directories]
    if any(manifest and split in manifest.splits for manifest in manifests):
        return

    # With NumPy, which --help can do without.
    from download_and_convert_imagenet.conversion_journal import ConversionJournal

    for directory in directories:
        try:
            begun = ConversionJournal.splits_begun(directory)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
        if split in begun:
            raise DataError(
                f"the conversion of {split} in {directory} is not complete: repeat the command"
            )
