"""Lists all that a folder holds: its images, and all else with the reason why it is left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import (
    CONVERSION_DIRECTORY,
    FILE_NAME,
    split_of,
)
from download_and_convert_imagenet.sources.image_source import (
    IMAGE_SUFFIXES,
    ImageFile,
    LeftOut,
)

# What systems and programs leave in folders that they show, copy, pack or share.
_SYSTEM_NAMES = frozenset(
    (
        *("__macosx", ".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found"),
        *("system volume information", ".ipynb_checkpoints", "__pycache__"),
    )
)
SYSTEM, HIDDEN, CONVERTED = "left by a system", "hidden", "of converted data"
OF_A_RUN = "of a training run"
# What train.py writes; its curves.png is no photo.
_RUN_FILES = ("parameters.json", "run.json")
CIRCLE, TWICE = "linked in a circle", "linked twice"
SPECIAL, NO_SUFFIX = "neither file nor folder", "without a suffix"


@dataclass(eq=False)
class Folder:
    """A folder without what is left out.

    Attributes:
        name: of the folder itself.
        parent: None for the folder that was scanned.
        folders, images: in it, sorted by name.
        num_images: in it and below.
        other_files: how many of its files are left out, by the reason.
        holds_output: whether there are converted data or a run in it or below.
    """

    path: str
    name: str
    parent: Folder | None
    identity: tuple[int, int]
    folders: list[Folder] = field(default_factory=list)
    images: list[ImageFile] = field(default_factory=list)
    num_images: int = 0
    other_files: Counter[str] = field(default_factory=Counter)
    text_files: list[str] = field(default_factory=list)
    holds_output: bool = False

    @property
    def full_folders(self) -> list[Folder]:
        """The folders in it that hold images, themselves or below."""
        return [folder for folder in self.folders if folder.num_images]

    def walk(self) -> Iterator[Folder]:
        """Yields this folder and all below: a folder before those in it."""
        waiting: list[Folder] = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(reversed(folder.folders))

    def describe_files(self) -> str:
        """Returns "holds no images", and what it and the folders below hold instead."""
        found: Counter[str] = Counter()
        for folder in self.walk():
            found += folder.other_files
        if not found:
            return "holds no images"
        return f"holds no images (but {counted(found)})"


def scan(root: Path, output: Path | None = None) -> tuple[Folder, list[LeftOut]]:
    """Lists a directory and everything below; links are followed, but not in circles.

    Args:
        output: the directory that the command writes; it is left out.

    Raises:
        DataError: the link of an image leads nowhere.
        OSError: a folder cannot be listed.
    """
    own = _identity(output) if output is not None and output.is_dir() else None
    left_out: list[LeftOut] = []
    top = Folder(str(root), root.resolve().name, None, _identity(root))
    found, waiting = [], [top]
    while waiting:
        folder = waiting.pop()
        found.append(folder)
        with os.scandir(folder.path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                reason = _add(folder, entry, own)
                if reason is not None:
                    folder.holds_output |= reason in (CONVERTED, OF_A_RUN)
                    left_out.append(LeftOut(entry.path, reason))
        waiting += reversed(folder.folders)
    for folder in reversed(found):
        folder.num_images = len(folder.images) + sum(part.num_images for part in folder.folders)
        folder.holds_output |= any(part.holds_output for part in folder.folders)
    return top, left_out


def reason_of_name(name: str) -> str | None:
    """Returns why a file or folder of this name is never used; None for other names."""
    if name.lower() in _SYSTEM_NAMES or name.startswith("._"):
        return SYSTEM
    if name == CONVERSION_DIRECTORY:
        return CONVERTED
    return HIDDEN if name.startswith(".") else None


def counted(reasons: Counter[str]) -> str:
    """Returns "10 .txt, 1 hidden", the most frequent first."""
    return ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())


def _add(folder: Folder, entry: os.DirEntry[str], own: tuple[int, int] | None) -> str | None:
    """Adds a file or folder; returns the reason if it is left out."""
    reason = reason_of_name(entry.name)
    if reason is not None:
        return reason
    suffix = os.path.splitext(entry.name)[1].lower()
    try:
        if entry.is_dir():
            return _add_folder(folder, entry, own)
        status = entry.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        if suffix in IMAGE_SUFFIXES:
            fault = "does not exist" if error.errno == errno.ENOENT else "leads back to itself"
            raise DataError(
                f"{entry.path} is a link to {os.readlink(entry.path)}, which {fault}: "
                "get the image, or remove the link"
            ) from None
        return "linked to nothing" if error.errno == errno.ENOENT else CIRCLE
    if not stat.S_ISREG(status.st_mode):
        return SPECIAL
    if suffix in IMAGE_SUFFIXES:
        folder.images.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
        return None
    folder.text_files.append(entry.name)
    is_converted = entry.name == FILE_NAME or split_of(entry.name)
    reason = CONVERTED if is_converted else suffix or NO_SUFFIX
    folder.other_files[reason] += 1
    return reason


def _add_folder(folder: Folder, entry: os.DirEntry[str], own: tuple[int, int] | None) -> str | None:
    identity = _identity(entry.path)
    if identity == own or _is_converted(entry.path):
        return CONVERTED
    if all(os.path.exists(os.path.join(entry.path, name)) for name in _RUN_FILES):
        return OF_A_RUN
    above: Folder | None = folder
    while above is not None:
        if above.identity == identity:
            return CIRCLE
        above = above.parent
    folder.folders.append(Folder(entry.path, entry.name, folder, identity))
    return None


def _is_converted(path: str) -> bool:
    """Returns whether a folder holds converted data, or what a failed conversion left, alone."""
    if not any(os.path.exists(os.path.join(path, n)) for n in (CONVERSION_DIRECTORY, FILE_NAME)):
        return False
    with os.scandir(path) as entries:
        return not any(
            (entry.is_dir() and entry.name != CONVERSION_DIRECTORY)
            or os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
            for entry in entries
        )


def _identity(directory: str | os.PathLike[str]) -> tuple[int, int]:
    """Returns what all paths to a directory have in common."""
    status = os.stat(directory)
    return status.st_dev, status.st_ino
