"""The files of a split: found, and checked to be complete, before anything is read."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import DataError, MissingSplitError
from common.files import why_no_directory
from download_and_convert_imagenet.records.manifest import (
    Manifest,
    Shard,
    read_manifest,
)

SUBSETS = ("train", "validation", "test")
_SHARD_NAME = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})")
_NUM_NAMED = 3


@dataclass(frozen=True)
class ShardSet:
    """All shards of one split in the order of their numbers, with the manifest of the split.

    With `max_corrupt_records` above 0, damaged records are skipped instead of raising errors.
    """

    directory: Path
    subset: str
    paths: tuple[Path, ...]
    manifest: Manifest | None
    max_corrupt_records: int = 0

    @property
    def tolerant(self) -> bool:
        """Whether damaged records are skipped."""
        return self.max_corrupt_records > 0

    @property
    def listed(self) -> dict[str, Shard]:
        """The manifest's entries of the split by file name; empty without a manifest."""
        listed = self.manifest.splits.get(self.subset, ()) if self.manifest else ()
        return {shard.file: shard for shard in listed}


def find_shards(data_dir: Path, subset: str, *, max_corrupt_records: int = 0) -> ShardSet:
    """Finds the shards of a split in `data_dir`, or in its sub-folder of the split's name.

    In a tolerant set a shard may be shorter than the manifest says: its missing records are counted
    when it is read.

    Raises:
        DataError: the directory or a shard is missing, a shard is empty or not of the size that the
            manifest says, the conversion was not finished, or there is no such split.
    """
    shards = replace(list_shards(data_dir, subset), max_corrupt_records=max_corrupt_records)
    listed = shards.listed
    for path in shards.paths:
        if problem := size_problem(path, listed.get(path.name), tolerant=shards.tolerant):
            raise DataError(problem)
    return shards


def list_shards(data_dir: Path, subset: str) -> ShardSet:
    """Finds the shards of a split as `find_shards` does, without looking at any file.

    Raises:
        DataError: the directory or a shard is missing, the conversion was not finished, or there is
            no such split.
    """
    if subset not in SUBSETS:
        raise DataError(f"unknown data subset '{subset}': choose from {', '.join(SUBSETS)}")
    check_directory(data_dir)
    refuse_unfinished(data_dir, subset)
    for directory in (data_dir, data_dir / subset):
        found = _shards_in(directory, subset)
        if found:
            _refuse_other_split(data_dir, directory, subset)
            paths = _complete_set(directory, subset, found)
            return ShardSet(directory, subset, paths, _manifest_for(data_dir, directory, subset))
    if message := _describe_missing_split(data_dir, subset):
        raise MissingSplitError(message)
    raise DataError(describe_absence(data_dir, subset))


def check_directory(data_dir: Path) -> None:
    """Refuses a data directory that does not exist, or is a file.

    Raises:
        DataError: it is so.
    """
    if not data_dir.is_dir():
        raise DataError(f"data directory {data_dir} {why_no_directory(data_dir)}")


def size_problem(path: Path, listed: Shard | None, *, tolerant: bool = False) -> str:
    """Describes what is wrong with the size of a shard, "" if nothing is; see `find_shards`.

    Args:
        listed: the manifest's entry of the shard.
    """
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if num_bytes == 0:
        return f"{path} is empty (0 bytes): copy or convert it again"
    if listed is None or num_bytes == listed.num_bytes:
        return ""
    if tolerant and num_bytes < listed.num_bytes:
        return ""
    # It imports NumPy, which --help does not need.
    from preprocessing.records.foreign_files import foreign_file

    return foreign_file(path) or (
        f"{path} has {num_bytes} bytes, its manifest says {listed.num_bytes}: "
        "copy or convert it again"
    )


def refuse_unfinished(data_dir: Path, split: str) -> None:
    """Refuses a split whose conversion was started in this directory and is not finished.

    The converter removes a split from the manifest before it replaces the first shard, and lists it
    again after the last one is written and its images are accepted. Other converters keep no
    journal.

    Raises:
        DataError: the conversion was stopped or rejected, or its journal cannot be read.
    """
    directories = [folder for folder in (data_dir, data_dir / split) if folder.is_dir()]
    manifests = [read_manifest(directory) for directory in directories]
    if any(manifest and split in manifest.splits for manifest in manifests):
        return

    # It imports NumPy, which --help does not need.
    from download_and_convert_imagenet.journal import ConversionJournal

    for directory in directories:
        try:
            begun = ConversionJournal.splits_begun(directory)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
        if split in begun:
            raise DataError(
                f"the conversion of {split} in {directory} is not complete: repeat the converter's "
                "command, and see how it ends"
            )


def check_manifest(data_dir: Path, name: str, num_classes: int) -> None:
    """Refuses a directory whose manifest, if there is one, has another number of classes.

    Raises:
        DataError: the number differs, or the manifest cannot be read.
    """
    manifest = read_manifest(data_dir)
    if manifest is not None and manifest.num_classes != num_classes:
        raise DataError(
            f"{data_dir} holds '{manifest.name}' with {manifest.num_classes} classes, not {name} "
            f"with {num_classes}: give --data_name=folder, which takes any number"
        )


def _shards_in(directory: Path, split: str) -> dict[tuple[int, int], Path]:
    """Maps (shard count, shard index) to the file, for files named like shards of the split."""
    found = {}
    for path in directory.glob(f"{split}-*-of-*"):
        match = _SHARD_NAME.fullmatch(path.name)
        if match and match["split"] == split:
            found[int(match["count"]), int(match["index"])] = path
    return found


def _complete_set(
    directory: Path, split: str, found: dict[tuple[int, int], Path]
) -> tuple[Path, ...]:
    """Returns the files in order; raises DataError if one is missing or there are several sets."""
    counts = sorted({count for count, _ in found})
    if len(counts) > 1:
        names = " and ".join(f"-of-{count:05d}" for count in counts)
        raise DataError(f"{directory} holds {split} shards of several sets, {names}: remove one")
    count = counts[0]
    missing = [index for index in range(count) if (count, index) not in found]
    if missing:
        names = ", ".join(f"{split}-{i:05d}-of-{count:05d}" for i in missing[:_NUM_NAMED])
        more = ", ..." if len(missing) > _NUM_NAMED else ""
        raise DataError(
            f"{directory} lacks {len(missing)} of {count} {split} shards: {names}{more}"
        )
    if len(found) > count:
        surplus = found[max(found)].name
        raise DataError(f"{directory} holds {surplus}, whose number is beyond its set: remove it")
    return tuple(found[count, index] for index in range(count))


def _refuse_other_split(data_dir: Path, directory: Path, subset: str) -> None:
    """Refuses a split's own sub-folder that also holds shards of another split."""
    if directory == data_dir:
        return
    for other in SUBSETS:
        if other != subset and (found := _shards_in(directory, other)):
            name = found[min(found)].name
            raise DataError(f"{directory} holds {name} among its {subset} shards: move it away")


def _manifest_for(data_dir: Path, directory: Path, split: str) -> Manifest | None:
    """Returns the manifest of either directory, preferably one that lists the split."""
    manifests = [read_manifest(folder) for folder in (data_dir, directory)]
    found = [manifest for manifest in manifests if manifest is not None]
    return min(found, key=lambda manifest: split not in manifest.splits, default=None)


@functools.cache
def is_multi_label(path: Path) -> bool:
    """Returns whether the manifest of a shard, next to it or above, allows several labels."""
    manifests = (read_manifest(folder) for folder in (path.parent, path.parent.parent))
    return any(manifest is not None and manifest.multi_label for manifest in manifests)


def is_present(data_dir: Path, subset: str) -> bool:
    """Returns whether a directory, or its sub-folder of the split's name, holds a shard."""
    return bool(_shards_in(data_dir, subset) or _shards_in(data_dir / subset, subset))


def _describe_missing_split(data_dir: Path, subset: str) -> str:
    """Returns the message for a split that lacks next to another one; "" if there is none."""
    others = [other for other in SUBSETS if other != subset and is_present(data_dir, other)]
    if not others:
        return ""
    folders = ""
    if subset == "validation" and _manifest_for(data_dir, data_dir, subset) is not None:
        folders = " (of class folders, a larger --validation_fraction holds images out)"
    if subset == "test":
        return (
            f"{data_dir} holds {others[0]} shards but no test shards: train.py makes a test part "
            "of a folder of photos, given as its --data_dir"
        )
    return (
        f"{data_dir} holds {others[0]} shards but no {subset} shards ({subset}-00000-of-...): "
        f"convert that split too{folders}"
    )


def describe_absence(data_dir: Path, subset: str) -> str:
    """Returns the message for a directory without any shard of any split."""
    if not any(data_dir.iterdir()):
        return f"data directory {data_dir} is empty"
    named = f"{data_dir} holds no TFRecord shards ({subset}-00000-of-...)"
    other = next((path.name for path in sorted(data_dir.iterdir()) if _like(path)), None)
    if other is not None:
        return f"{named}, but {other}, a name that is not read: rename or decompress these files"
    return (
        f"{named}: convert raw images with download_and_convert_imagenet first, or put photos into "
        f"{data_dir}/CLASS"
    )


def _like(path: Path) -> bool:
    """Returns whether a file seems to be a shard under a name of other programs."""
    return bool(re.search(r"-of-\d+|tfrec", path.name.lower())) and path.is_file()
