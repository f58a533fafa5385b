"""Reads the weights of a TF1 checkpoint, given its prefix or the .tar.gz it was published in."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

from checkpoints import bundle, store, tensor_roles
from common.errors import DataError

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_CHUNK_BYTES = 1 << 20
_CHECKPOINT_FILE = re.compile(rf".+\.(index|data-\d{{5}}-of-\d{{5}})|{bundle.V1_NAME.pattern}")


def read(path: str | os.PathLike[str], weights: str | None = None) -> dict[str, np.ndarray]:
    """Returns variable name -> value, without optimizer slots and the run's counters.

    Args:
        path: Prefix, one of its files, directory with one checkpoint, or archive with one.
        weights: "raw", "ema", or None for the moving averages if there are any.

    Raises:
        DataError: There is no checkpoint or more than one, it is damaged, or it does not have the
            requested weights.
    """
    path = Path(path)
    if path.name.endswith(ARCHIVE_SUFFIXES):
        with tempfile.TemporaryDirectory() as folder:
            _extract(path, Path(folder))
            return _read_prefix(only_prefix(folder, path), weights)
    return _read_prefix(only_prefix(path) if path.is_dir() else path, weights)


def only_prefix(
    folder: str | os.PathLike[str], named: str | os.PathLike[str] | None = None
) -> Path:
    """Returns the prefix of the only checkpoint in a directory.

    Args:
        folder: The directory.
        named: What error messages name instead, if given.

    Raises:
        DataError: It holds none or several, or cannot be read.
    """
    try:
        files = [path for path in Path(folder).iterdir() if path.is_file()]
        one_file = bundle.v1_files(folder)
    except OSError as error:
        raise DataError(f"{os.fspath(named or folder)} cannot be read: {error.strerror}") from error
    bundles = {path.with_suffix("") for path in files if path.suffix == bundle.INDEX_SUFFIX}
    found = sorted(bundles.union(one_file))
    if len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"{os.fspath(named or folder)} must hold one checkpoint, and holds {what}: "
            "name the prefix"
        )
    return found[0]


def _read_prefix(prefix: Path, weights: str | None) -> dict[str, np.ndarray]:
    plan = tensor_roles.choose(bundle.shapes(prefix), weights, prefix)
    return store.read_variables(prefix, plan)


def _extract(archive: Path, folder: Path) -> None:
    """Copies the checkpoint's files out of an archive, into `folder` whatever their path is.

    Links are not followed.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                if member.isfile() and _CHECKPOINT_FILE.fullmatch(name):
                    content = tar.extractfile(member)
                    if content is not None:
                        with content, open(folder / name, "xb") as file:
                            shutil.copyfileobj(content, file)
            _read_to_the_end(tar)
    except FileExistsError as error:
        raise DataError(f"{archive} holds several checkpoints of one name") from error
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive} cannot be read as an archive: {error}") from error


def _read_to_the_end(tar: tarfile.TarFile) -> None:
    """Makes the decompressor compare its checksum, which comes after the last member."""
    while tar.fileobj is not None and tar.fileobj.read(_CHUNK_BYTES):
        pass
