"""Which files hold a split, and whether the set is complete: checked before anything is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from download_and_convert_imagenet.manifest import Manifest, ManifestError, Shard, read_manifest
from preprocessing.errors import DataError

SUBSETS = ("train", "validation")
_SHARD_NAME = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})")
_NUM_NAMED = 3


@dataclass(frozen=True)
class ShardSet:
    """All shards of one split in the order of their numbers, and the manifest beside them."""

    directory: Path
    subset: str
    paths: tuple[Path, ...]
    manifest: Manifest | None

    @property
    def listed(self) -> dict[str, Shard]:
        """What the manifest says of the split, by file name; empty without a manifest."""
        return _listed(self.manifest, self.subset)


def find_shards(data_dir: Path, subset: str) -> ShardSet:
    """Find the shards of a split in `data_dir`, or in its sub-folder of the split's name.

    Raises:
        DataError: the directory or a shard is missing, a shard is empty, or there is no such split.
    """
    if subset not in SUBSETS:
        raise DataError(f"unknown data subset '{subset}': choose from {', '.join(SUBSETS)}")
    if not data_dir.exists():
        raise DataError(f"data directory {data_dir} does not exist")
    if not data_dir.is_dir():
        raise DataError(f"data directory {data_dir} is not a directory")
    for directory in (data_dir, data_dir / subset):
        found = _shards_in(directory, subset)
        if found:
            _refuse_strangers(data_dir, directory, subset)
            paths = _complete_set(directory, subset, found)
            manifest = _manifest_beside(data_dir, directory)
            _check_sizes(paths, subset, manifest)
            return ShardSet(directory, subset, paths, manifest)
    raise DataError(_describe_absence(data_dir, subset))


def _shards_in(directory: Path, split: str) -> dict[tuple[int, int], Path]:
    """(shard count, shard index) -> file, for the files named like shards of the split."""
    found = {}
    for path in directory.glob(f"{split}-*-of-*"):
        match = _SHARD_NAME.fullmatch(path.name)
        if match and match["split"] == split:
            found[int(match["count"]), int(match["index"])] = path
    return found


def _complete_set(
    directory: Path, split: str, found: dict[tuple[int, int], Path]
) -> tuple[Path, ...]:
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


def _refuse_strangers(data_dir: Path, directory: Path, subset: str) -> None:
    """A folder that is one split's own holds no other."""
    if directory == data_dir:
        return
    for other in SUBSETS:
        if other != subset and (strangers := _shards_in(directory, other)):
            name = strangers[min(strangers)].name
            raise DataError(f"{directory} holds {name} among its {subset} shards: move it away")


def _manifest_beside(*directories: Path) -> Manifest | None:
    try:
        found = [read_manifest(directory) for directory in directories]
    except ManifestError as error:
        raise DataError(str(error)) from error
    return next((manifest for manifest in found if manifest is not None), None)


def _check_sizes(paths: tuple[Path, ...], split: str, manifest: Manifest | None) -> None:
    listed = _listed(manifest, split)
    for path in paths:
        try:
            num_bytes = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        if num_bytes == 0:
            raise DataError(f"{path} is empty (0 bytes): copy or convert it again")
        if path.name in listed and num_bytes != listed[path.name].num_bytes:
            raise DataError(
                f"{path} has {num_bytes} bytes, its manifest says {listed[path.name].num_bytes}: "
                "copy or convert it again"
            )


def _listed(manifest: Manifest | None, split: str) -> dict[str, Shard]:
    return {shard.file: shard for shard in manifest.splits.get(split, ())} if manifest else {}


def _describe_absence(data_dir: Path, subset: str) -> str:
    if not any(data_dir.iterdir()):
        return f"data directory {data_dir} is empty"
    others = [
        other
        for other in SUBSETS
        if other != subset and (_shards_in(data_dir, other) or _shards_in(data_dir / other, other))
    ]
    if others:
        return (
            f"{data_dir} holds {others[0]} shards but no {subset} shards "
            f"({subset}-00000-of-...): convert that split too, or choose another --data_subset"
        )
    return (
        f"{data_dir} holds no TFRecord shards ({subset}-00000-of-...): "
        "convert raw images with download_and_convert_imagenet first"
    )
