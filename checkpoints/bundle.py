"""Checkpoints in TF1's tensor-bundle format: whole or not at all, and read back by name."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from checkpoints.errors import WeightsError

INDEX_SUFFIX = ".index"


def write(prefix: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write `<prefix>.index` and its data file; the index comes last and makes it a checkpoint.

    Raises:
      WeightsError: the disk is full or the directory unwritable.
    """
    prefix = Path(prefix)
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=".writing-") as folder:
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=os.path.join(folder, prefix.name),
                    tensor_names=list(tensors),
                    shape_and_slices=[""] * len(tensors),
                    tensors=[tf.convert_to_tensor(value) for value in tensors.values()],
                )
            written = sorted(Path(folder).iterdir(), key=lambda path: path.suffix == INDEX_SUFFIX)
            prefix.with_name(prefix.name + INDEX_SUFFIX).unlink(missing_ok=True)
            for path in written:
                path.replace(prefix.parent / path.name)
    except (OSError, tf.errors.OpError) as error:
        raise WeightsError(f"cannot write {prefix}: {_reason(error)}") from error


def shapes(prefix: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a checkpoint, sorted by name, by its prefix or index file.

    Raises:
      WeightsError: there is none, or it is damaged.
    """
    with _open(prefix) as reader:
        return {n: tuple(s) for n, s in sorted(reader.get_variable_to_shape_map().items())}


def read(
    prefix: str | os.PathLike[str], names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Name -> value of the tensors `names`, or of all.

    Raises:
      WeightsError: no checkpoint, a name that it does not have, or it is damaged.
    """
    with _open(prefix) as reader:
        present = sorted(reader.get_variable_to_shape_map())
        wanted = present if names is None else list(names)
        absent = [name for name in wanted if name not in present]
        if not absent:
            return {name: _as_array(reader.get_tensor(name)) for name in wanted}
    near = difflib.get_close_matches(absent[0], present, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise WeightsError(f"{os.fspath(prefix)} has no tensor {absent[0]}{hint}")


@contextlib.contextmanager
def _open(prefix: str | os.PathLike[str]) -> Iterator[Any]:
    prefix = os.fspath(prefix).removesuffix(INDEX_SUFFIX)
    if not os.path.exists(prefix + INDEX_SUFFIX):
        raise WeightsError(f"no checkpoint {prefix} ({prefix}{INDEX_SUFFIX} does not exist)")
    try:
        yield tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, IndexError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise WeightsError(f"checkpoint {prefix} cannot be read: {_reason(error)}") from error


def _as_array(value: np.ndarray | bytes) -> np.ndarray:
    # NumPy's own string type would drop trailing zero bytes.
    return np.asarray(value, dtype=object if isinstance(value, bytes) else None)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or getattr(error, "message", None) or error)
    return (text.strip() or type(error).__name__).splitlines()[0]
