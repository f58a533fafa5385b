"""The manifest of a data directory against the data set that was asked for."""

from __future__ import annotations

from pathlib import Path

from download_and_convert_imagenet.manifest import Manifest, ManifestError, read_manifest
from preprocessing.errors import DataError


def manifest_of(data_dir: Path) -> Manifest | None:
    """The manifest of a directory, None when there is none.

    Raises:
        DataError: the manifest cannot be read.
    """
    try:
        return read_manifest(data_dir)
    except ManifestError as error:
        raise DataError(str(error)) from error


def check_manifest(data_dir: Path, name: str, num_classes: int) -> None:
    """Refuse a directory whose manifest, if it has one, counts other classes.

    Raises:
        DataError: it does, or cannot be read.
    """
    manifest = manifest_of(data_dir)
    if manifest is not None and manifest.num_classes != num_classes:
        raise DataError(
            f"{data_dir} holds '{manifest.name}' with {manifest.num_classes} classes, not {name} "
            f"with {num_classes}: choose another --data_name"
        )
