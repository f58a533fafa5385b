"""The directory that shards are written to, and protection of what it holds already."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from common.files import file_size, lock, make_directory
from download_and_convert_imagenet.journal import ConversionJournal, FinishedShard
from download_and_convert_imagenet.plan import ShardTask
from download_and_convert_imagenet.records.manifest import (
    CONVERSION_DIRECTORY,
    FILE_NAME,
    Manifest,
    Shard,
    read_manifest,
    split_of,
    write_manifest,
)
from download_and_convert_imagenet.sources.image_source import ImageSource

# A shard or the manifest as `common.files.partial_of` names it, with or without a process id.
_PARTIAL = re.compile(r"\.(?P<file>.+?)(\.\d+)?\.partial")
# Records have keys, and re-encoded images can grow.
_SIZE_FACTOR = 1.01


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Reserves a data directory, which is created if missing, while the block runs.

    A block that fails before anything was converted leaves nothing here: the directory may be the
    user's folder of photos.

    Raises:
        DataError: another process converts there.
        OSError: the directory cannot be written.
    """
    make_directory(data_dir)  # first: an error names what the user named
    (data_dir / CONVERSION_DIRECTORY).mkdir(exist_ok=True)
    busy = f"another conversion is writing to {data_dir}"
    advice = "wait for it, or stop it first"
    path = data_dir / CONVERSION_DIRECTORY / "lock"
    with lock(path, busy=busy, advice=advice, warn=print):
        try:
            yield
        except BaseException:
            if list(path.parent.iterdir()) == [path]:
                path.unlink()
                with contextlib.suppress(OSError):  # they hold other files
                    path.parent.rmdir()
                    data_dir.rmdir()
            raise


Splits = Mapping[str, tuple[Shard, ...]]


class DataDirectory:
    """The data directory of a conversion."""

    def __init__(self, path: Path) -> None:
        """Creates the directory if it is missing."""
        make_directory(path)
        self._path = path

    def check_no_foreign_shards(self, source: ImageSource) -> None:
        """Protects shards that this converter did not write.

        Raises:
            DataError: there are shards of a split, but no record of its conversion.
        """
        begun = ConversionJournal.splits_begun(self._path)
        foreign = self._shards(source.splits.keys() - begun)
        if foreign:
            raise DataError(
                f"{self._path} holds {foreign[0].name}, but no record of a conversion of "
                f"the {split_of(foreign[0].name)} split: choose another directory, or remove these "
                "shards"
            )

    def other_splits(self, source: ImageSource) -> Splits:
        """Returns the splits in the manifest that are not converted now.

        Raises:
            DataError: they are of another data set, or the manifest is damaged.
        """
        try:
            manifest = read_manifest(self._path)
        except DataError as error:
            raise DataError(f"{error}; remove it") from error
        if manifest is None:
            return {}
        others = {
            split: shards for split, shards in manifest.splits.items() if split not in source.splits
        }
        if others and _manifest(source, manifest.splits) != manifest:
            raise DataError(
                f"{self._path} holds '{manifest.name}' with {manifest.num_classes} classes, this "
                f"is '{source.name}' with {len(source.class_names)}: choose another directory"
            )
        return others

    def forget_splits(self, source: ImageSource, other_splits: Splits) -> None:
        """Removes the splits of `source` from the manifest."""
        if other_splits:
            write_manifest(self._path, _manifest(source, other_splits))
        else:
            (self._path / FILE_NAME).unlink(missing_ok=True)

    def write_manifest(
        self, source: ImageSource, finished: Sequence[FinishedShard], other_splits: Splits
    ) -> None:
        """Writes the manifest of the finished shards and of the other splits."""
        splits = dict(other_splits)
        for split in source.splits:
            splits[split] = tuple(entry.shard for entry in finished if entry.split == split)
        write_manifest(self._path, _manifest(source, splits))

    def remove_partial_files(self) -> None:
        """Removes files that an interrupted conversion left."""
        for path in self._path.iterdir():
            match = _PARTIAL.fullmatch(path.name)
            if match and (match["file"] == FILE_NAME or split_of(match["file"])):
                path.unlink(missing_ok=True)

    def surplus_shards(self, tasks: Sequence[ShardTask], journal: ConversionJournal) -> list[Path]:
        """Returns the shards of an earlier conversion of these splits into another shard count.

        Raises:
            DataError: a shard is neither planned nor recorded. A conversion that was killed between
                the renaming and the recording of a shard can leave one as well.
        """
        expected = {task.file for task in tasks}
        written = journal.written()
        splits = {task.split for task in tasks}
        surplus = [path for path in self._shards(splits) if path.name not in expected]
        for path in surplus:
            if path.name not in written:
                raise DataError(
                    f"{path} is of another set of shards and not among those that are recorded as "
                    "finished: remove it, or choose another directory"
                )
        return surplus

    def check_free_space(self, pending: Sequence[ShardTask], surplus: Sequence[Path]) -> None:
        """Checks that the disk can hold the shards.

        Args:
            pending: shards to write; older ones under their names are replaced.
            surplus: files that will be removed first.

        Raises:
            DataError: it cannot; the message has both figures.
        """
        needed = sum(task.num_source_bytes for task in pending) * _SIZE_FACTOR
        replaced = [*(self._path / task.file for task in pending), *surplus]
        reused = sum(file_size(path) or 0 for path in replaced)
        free = shutil.disk_usage(self._path).free
        if needed > free + reused:
            raise DataError(
                f"the shards need about {needed / 1e9:,.1f} GB in {self._path}, where "
                f"{free / 1e9:,.1f} GB are free"
            )

    def _shards(self, splits: Container[str]) -> list[Path]:
        """Returns the files that are named like shards of the splits."""
        return [
            path
            for path in sorted(self._path.iterdir())
            if (split := split_of(path.name)) is not None and split in splits
        ]


def _manifest(source: ImageSource, splits: Splits) -> Manifest:
    return Manifest(source.name, source.class_names, splits, source.multi_label)
