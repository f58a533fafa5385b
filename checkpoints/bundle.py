"""Reads and writes checkpoints of named tensors, in the format of TF1's Saver: the tensor bundle.

A bundle is `<prefix>.index` and its data files. The one-file format before it (V1) is read as well:
TF-Slim's checkpoints of 2016 are one file each, whose name is the prefix. Wherever a checkpoint is
read, a path may be its prefix or any of its files.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from common.commands import did_you_mean
from common.errors import DataError

INDEX_SUFFIX = ".index"
# The text file in a directory of checkpoints that names the newest.
STATE_FILE = "checkpoint"
# What V1 checkpoints are usually called; any other name is possible.
V1_NAME = re.compile(r".+\.ckpt(-\d+)?")
# TensorFlow's reader raises these for damaged files: DataLoss is an OpError, a short read an
# IndexError.
READ_ERRORS = (tf.errors.OpError, IndexError, ValueError, TypeError, RuntimeError, OSError)
# What TensorFlow's file system takes for a pattern, and bytes that are no text.
_PATTERN = re.compile(r"[*?\[\\\udc80-\udcff]")
# The reader's words for a plain file that was never a checkpoint.
_FOREIGN = ("sstable", "saved tensor slices")

Tensors = Mapping[str, tf.Tensor | np.ndarray]


def write(prefix: str | os.PathLike[str], tensors: Tensors) -> None:
    """Writes `<prefix>.index` and its data file, in place (`commit.staged`: all or nothing).

    Raises:
        OSError: The disk is full or the directory unwritable; `strerror` says why.
    """
    try:
        with tf.device("CPU:0"):
            values = [tf.convert_to_tensor(value) for value in tensors.values()]
            tf.raw_ops.SaveV2(
                prefix=os.fsencode(prefix),
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=values,
            )
    except tf.errors.OpError as error:
        raise OSError(None, first_line(error)) from error
    # A full disk may go unnoticed, and the checksums would then describe the truncated file.
    expected_bytes = sum(
        value.dtype.size * value.shape.num_elements()
        for value in values
        if value.dtype != tf.string
    )
    written_bytes = files(Path(prefix))[".data-00000-of-00001"].stat().st_size
    if written_bytes < expected_bytes:
        raise OSError(None, f"{written_bytes} of {expected_bytes} bytes were written")


def check(prefix: str | os.PathLike[str], tensors: Tensors) -> None:
    """Reads a bundle and compares every byte with what `write` was given.

    Raises:
        OSError: It differs, or cannot be read; `strerror` says which tensor.
    """
    try:
        with open_reader(prefix) as reader:
            for name, value in tensors.items():
                got, expected = _as_array(reader.get_tensor(name)), np.asarray(value)
                if got.dtype == object:
                    is_equal = got.tolist() == expected.tolist()
                else:
                    is_equal = got.shape == expected.shape and got.tobytes() == expected.tobytes()
                if not is_equal:
                    raise OSError(None, f"the disk returns another {name} than was written")
    except READ_ERRORS as error:
        raise OSError(None, first_line(error)) from error


def shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of every tensor, sorted by name.

    Raises:
        DataError: There is no checkpoint, or it is damaged.
    """
    with _reader(path) as reader:
        return {n: tuple(s) for n, s in sorted(reader.get_variable_to_shape_map().items())}


def read(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns name -> value of the tensors `names`, or of all.

    Raises:
        DataError: There is no checkpoint or no tensor of that name, or it is damaged.
    """
    with _reader(path) as reader:
        present = sorted(reader.get_variable_to_shape_map())
        wanted = present if names is None else list(names)
        absent = sorted(set(wanted) - set(present))
        if not absent:
            return {name: _as_array(reader.get_tensor(name)) for name in wanted}
    hint = did_you_mean(absent[0], present, cutoff=0.4) if len(absent) == 1 else ""
    raise DataError(f"{os.fspath(path)} has no tensor {', '.join(absent[:10])}{hint}")


def prefix_of(path: str | os.PathLike[str]) -> str:
    """Returns the prefix of a checkpoint, given the prefix or one of its files.

    Raises:
        DataError: There is no such checkpoint; the message names those in its directory.
    """
    prefix = re.sub(r"\.(index|json|meta|data-\d{5}-of-\d{5})$", "", os.fspath(path))
    if exists(prefix):
        return prefix
    directory = Path(prefix).parent
    if not directory.is_dir():
        raise DataError(f"no checkpoint {prefix}: {directory} does not exist")
    names = sorted((path.stem for path in directory.glob("*.index")), key=lambda n: (len(n), n))
    if not names:
        raise DataError(f"no checkpoint {prefix}: neither a run's directory nor a file is there")
    raise DataError(f"no checkpoint {prefix}: {directory} holds {', '.join(names[-10:])}")


def exists(prefix: str | os.PathLike[str]) -> bool:
    """Returns whether there is a bundle of this prefix, or a plain file that may be a V1 one."""
    prefix = os.fspath(prefix)
    if os.path.exists(prefix + INDEX_SUFFIX):
        return True
    return os.path.isfile(prefix) and os.path.basename(prefix) != STATE_FILE


def files(prefix: Path) -> dict[str, Path]:
    """Returns suffix -> path of the index and the data files of a bundle that exist."""
    pattern = re.compile(re.escape(prefix.name) + r"(\.index|\.data-\d{5}-of-\d{5})")
    matches = ((pattern.fullmatch(path.name), path) for path in prefix.parent.iterdir())
    return {match.group(1): path for match, path in matches if match}


def v1_files(directory: str | os.PathLike[str]) -> list[Path]:
    """Returns the files of a directory that are named as V1 checkpoints usually are, sorted.

    Raises:
        OSError: The directory cannot be read.
    """
    paths = Path(directory).iterdir()
    return sorted(path for path in paths if V1_NAME.fullmatch(path.name) and path.is_file())


def first_line(error: Exception) -> str:
    """Returns the reason in TensorFlow's "{{node ...}} <file>; No space left on device [Op:X]"."""
    text = str(getattr(error, "strerror", None) or getattr(error, "message", None) or error)
    text = (text.strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\s*\[Op:\w+\].*", "", text).rpartition("; ")[2]


@contextlib.contextmanager
def open_reader(prefix: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens TensorFlow's reader of a checkpoint, which may raise any of READ_ERRORS.

    It looks for a checkpoint by a pattern but reads it by its name, so no spelling finds a path
    with the characters of patterns, or one that is no text: such files are read through
    links in a temporary directory.
    """
    prefix = Path(prefix)
    if not _PATTERN.search(os.fspath(prefix)):
        yield tf.train.load_checkpoint(str(prefix))
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "model.ckpt")
        parts = files(prefix) or {"": prefix}
        for suffix, path in parts.items():
            link.with_name(link.name + suffix).symlink_to(path.absolute())
        yield tf.train.load_checkpoint(str(link))


@contextlib.contextmanager
def _reader(path: str | os.PathLike[str]) -> Iterator[Any]:
    prefix = prefix_of(path)
    try:
        with open_reader(prefix) as reader:
            yield reader
    except READ_ERRORS as error:
        is_bundle = os.path.exists(prefix + INDEX_SUFFIX)
        if not is_bundle and any(words in str(error) for words in _FOREIGN):
            raise DataError(f"{prefix} is not a checkpoint, or it is damaged") from error
        raise DataError(f"checkpoint {prefix} cannot be read: {first_line(error)}") from error


def _as_array(value: np.ndarray | bytes) -> np.ndarray:
    # NumPy's own string type would drop trailing zero bytes.
    return np.asarray(value, dtype=object if isinstance(value, bytes) else None)
