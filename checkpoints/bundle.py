"""Reads checkpoints of named tensors: TF1's tensor bundle, and the single file before it (V1).

A bundle is `<prefix>.index` with its data files; TF-Slim's checkpoints of 2016 are one file each,
whose name is the prefix.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from common.errors import DataError

INDEX_SUFFIX = ".index"
# Beside checkpoints: a text that names the newest.
STATE_FILE = "checkpoint"
# What V1 checkpoints are usually called; any other name can be one too.
V1_NAME = re.compile(r".+\.ckpt(-\d+)?")
# What TensorFlow's reader raises for damaged files: DataLoss is an OpError, a short read an
# IndexError.
READ_ERRORS = (tf.errors.OpError, IndexError, ValueError, TypeError, RuntimeError, OSError)
# The reader's words for a plain file that was never a checkpoint.
_FOREIGN = ("sstable", "saved tensor slices")


def prefix_of(path: str | os.PathLike[str]) -> str:
    """The prefix that a prefix or one of a checkpoint's files stands for."""
    return re.sub(r"\.(index|json|meta|data-\d{5}-of-\d{5})$", "", os.fspath(path))


def exists(prefix: str | os.PathLike[str]) -> bool:
    """Whether there is a bundle of this prefix, or a plain file that may be a V1 checkpoint."""
    prefix = os.fspath(prefix)
    if os.path.exists(prefix + INDEX_SUFFIX):
        return True
    return os.path.isfile(prefix) and os.path.basename(prefix) != STATE_FILE


def v1_files(directory: str | os.PathLike[str]) -> list[Path]:
    """The files of a directory that are named as V1 checkpoints are, sorted.

    Raises:
      OSError: it cannot be read.
    """
    paths = Path(directory).iterdir()
    return sorted(path for path in paths if V1_NAME.fullmatch(path.name) and path.is_file())


def shapes(prefix: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, sorted by name.

    Raises:
      DataError: it cannot be read.
    """
    with _reader(prefix) as reader:
        return {n: tuple(s) for n, s in sorted(reader.get_variable_to_shape_map().items())}


def read(
    prefix: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Name -> value of the tensors `names`, or of all.

    Raises:
      DataError: a name that it does not have, or it cannot be read.
    """
    with _reader(prefix) as reader:
        present = sorted(reader.get_variable_to_shape_map())
        wanted = present if names is None else list(names)
        absent = sorted(set(wanted) - set(present))
        if not absent:
            return {name: _as_array(reader.get_tensor(name)) for name in wanted}
    near = difflib.get_close_matches(absent[0], present, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if len(absent) == 1 and near else ""
    raise DataError(f"{os.fspath(prefix)} has no tensor {', '.join(absent[:10])}{hint}")


def first_line(error: Exception) -> str:
    """The reason in TensorFlow's "{{node ...}} <file>; No space left on device [Op:SaveV2]"."""
    text = str(getattr(error, "strerror", None) or getattr(error, "message", None) or error)
    text = (text.strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\s*\[Op:\w+\].*", "", text).rpartition("; ")[2]


@contextlib.contextmanager
def _reader(prefix: str | os.PathLike[str]) -> Iterator[Any]:
    prefix = os.fspath(prefix)
    try:
        yield tf.train.load_checkpoint(prefix)
    except READ_ERRORS as error:
        is_bundle = os.path.exists(prefix + INDEX_SUFFIX)
        if not is_bundle and any(words in str(error) for words in _FOREIGN):
            raise DataError(f"{prefix} is not a checkpoint, or a damaged one") from error
        raise DataError(f"checkpoint {prefix} cannot be read: {first_line(error)}") from error


def _as_array(value: np.ndarray | bytes) -> np.ndarray:
    # NumPy's own string type would drop trailing zero bytes.
    return np.asarray(value, dtype=object if isinstance(value, bytes) else None)
