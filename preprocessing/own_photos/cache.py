"""The records that were made of a folder of photos, and which photos these were.

HOME/my_photos-1a2b3c4d5e6f/   named by the folder and by a hash of its contents
    train-00000-of-00008 ...   what the converter writes, manifest.json included
    split.csv                  the class and the part of each photo
    photos.json                the folder, and how it was divided; written last
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from common import files, paths
from common.errors import DataError
from download_and_convert_imagenet.records.manifest import FILE_NAME, read_manifest

SPLIT_FILE, ABOUT_FILE = "split.csv", "photos.json"
_HOME = "photo_cache"
_FORMAT = 1  # part of every key; increase it when a cache of an earlier version is of no use
_LETTERS_OF_KEY = 12


@dataclass(frozen=True)
class Row:
    """A photo in split.csv.

    Attributes:
        file: its path below the folder.
        class_name: the folder of its class.
        split: the part of the data that it belongs to, or "not used".
        sha256: of its bytes.
        num_bytes, mtime_ns: of the file, by which a change is noticed.
    """

    file: str
    class_name: str
    split: str
    sha256: str
    num_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Division:
    """How photos are divided.

    Attributes:
        validation_fraction, test_fraction: of each class; 0 makes no such part.
        folds: the number of equal parts for a cross-validation; None for no such.
    """

    validation_fraction: float
    test_fraction: float
    folds: int | None = None


class File(NamedTuple):
    """What a look at a file tells: all that is compared before its contents are read."""

    num_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Cache:
    """A directory of records; creating this accesses no file."""

    path: Path

    def is_complete(self) -> bool:
        """Returns whether the conversion came to its end."""
        return (self.path / ABOUT_FILE).is_file()

    def is_whole(self) -> bool:
        """Returns whether it is complete, and no file of records is missing or cut off since."""
        if not self.is_complete():
            return False
        with contextlib.suppress(DataError):  # a damaged manifest
            manifest = read_manifest(self.path)
            return manifest is not None and all(
                files.file_size(self.path / shard.file) == shard.num_bytes
                for shards in manifest.splits.values()
                for shard in shards
            )
        return False

    def source(self) -> Path:
        """Returns the folder of the photos when they were last seen."""
        return Path(self._about()["source"])

    def division(self) -> Division:
        """Returns how the photos are divided."""
        return Division(**self._about()["division"])

    def rows(self) -> list[Row]:
        """Returns the photos.

        Raises:
            DataError: split.csv is missing or damaged.
        """
        path = self.path / SPLIT_FILE
        try:
            # Names of files hold line ends of all kinds, which text mode would replace.
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            lines = csv.DictReader(io.StringIO(text, newline=""))
            if lines.fieldnames is None or {*lines.fieldnames} != {f.name for f in fields(Row)}:
                raise ValueError("its first line is another")
            return [
                Row(
                    line["file"],
                    line["class_name"],
                    line["split"],
                    line["sha256"],
                    int(line["num_bytes"]),
                    int(line["mtime_ns"]),
                )
                for line in lines
            ]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read ({error}): remove {self.path}") from error

    def write(self, source: Path, division: Division, rows: Iterable[Row]) -> None:
        """Writes split.csv and photos.json, in this order."""
        text = io.StringIO(newline="")
        # Python 3.11 quotes no "\r" of its own accord.
        table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        table.writerow(field.name for field in fields(Row))
        table.writerows(astuple(row) for row in rows)
        with files.atomic_file(self.path / SPLIT_FILE) as file:
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))
        about = {"source": str(source), "division": asdict(division)}
        files.write_text(self.path / ABOUT_FILE, json.dumps(about, indent=1) + "\n")

    def forget(self) -> None:
        """Makes it incomplete, without its manifest; the records stay, for the next conversion."""
        for name in (ABOUT_FILE, FILE_NAME):
            (self.path / name).unlink(missing_ok=True)

    def _about(self) -> dict:
        path = self.path / ABOUT_FILE
        try:
            about = json.loads(path.read_text("utf-8"))
            Division(**about["division"])
            return {**about, "source": str(about["source"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read ({error}): remove {self.path}") from error


def home(cache_dir: str | None) -> Path:
    """Returns the directory of all caches."""
    return Path(cache_dir) if cache_dir is not None else paths.home_of(_HOME)


def place(home: Path, root: Path, division: Division, rows: Sequence[Row]) -> Cache:
    """Returns where records of these photos belong, which their contents decide."""
    digest = hashlib.sha256(f"{_FORMAT} {division}\n".encode())
    for row in sorted(rows, key=lambda row: row.file):
        line = f"{row.file}\0{row.class_name}\0{row.split}\0{row.sha256}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return Cache(home / f"{_slug(root)}-{digest.hexdigest()[:_LETTERS_OF_KEY]}")


def of_folder(home: Path, root: Path) -> list[Cache]:
    """Returns the complete caches of a folder, whatever it held then; the newest first."""
    resolved = root.resolve()
    found = [Cache(path.parent) for path in home.glob(f"{_slug(root)}-*/{ABOUT_FILE}")]
    found.sort(key=lambda cache: (cache.path / ABOUT_FILE).stat().st_mtime_ns, reverse=True)
    return [cache for cache in found if cache.source() == resolved]


def differences(rows: Iterable[Row], seen: Mapping[str, File]) -> dict[str, list[str]]:
    """Returns what has happened to the files since: "added", "removed", "changed" -> files.

    Whether a file with another size or time has other contents is not looked at.
    """
    then = {row.file: File(row.num_bytes, row.mtime_ns) for row in rows}
    found = {
        "added": sorted(seen.keys() - then.keys()),
        "removed": sorted(then.keys() - seen.keys()),
        "changed": sorted(f for f in then.keys() & seen.keys() if then[f] != seen[f]),
    }
    return {what: names for what, names in found.items() if names}


def _slug(root: Path) -> str:
    return re.sub(r"[^\w.-]+", "_", root.resolve().name)[:40] or "photos"
