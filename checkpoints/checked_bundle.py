"""Checkpoints in TF1's tensor-bundle format: whole or not at all, and read back by name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from checkpoints import bundle
from checkpoints.bundle import INDEX_SUFFIX
from common.errors import DataError


def write(
    prefix: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    *,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write `<prefix>.index` and its data file; the index comes last and makes it a checkpoint.

    Args:
      beside: file name -> text of other files of the directory that belong to the checkpoint. Of
        them and it, all are new or all are old whenever there is an index.

    Raises:
      DataError: the disk is full or the directory unwritable.
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
            for name, text in (beside or {}).items():
                Path(folder, name).write_text(text, encoding="utf-8")
            written = sorted(Path(folder).iterdir(), key=lambda path: path.suffix == INDEX_SUFFIX)
            prefix.with_name(prefix.name + INDEX_SUFFIX).unlink(missing_ok=True)
            for path in written:
                path.replace(prefix.parent / path.name)
    except (OSError, tf.errors.OpError) as error:
        raise DataError(f"cannot write {prefix}: {bundle.first_line(error)}") from error


def shapes(prefix: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a checkpoint, sorted by name, by its prefix or a file of it.

    Raises:
      DataError: there is none, or it is damaged.
    """
    with _as_weights_error():
        return bundle.shapes(_existing(prefix))


def read(
    prefix: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Name -> value of the tensors `names`, or of all.

    Raises:
      DataError: no checkpoint, a name that it does not have, or it is damaged.
    """
    with _as_weights_error():
        return bundle.read(_existing(prefix), names)


def _existing(path: str | os.PathLike[str]) -> str:
    prefix = bundle.prefix_of(path)
    if not bundle.exists(prefix):
        raise DataError(
            f"no checkpoint {prefix} (neither {prefix}{INDEX_SUFFIX} nor a one-file checkpoint "
            f"{prefix})"
        )
    return prefix


@contextlib.contextmanager
def _as_weights_error() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(str(error)) from error
