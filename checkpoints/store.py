"""Saves, verifies, finds and reads the checkpoints of a directory.

The format is TF1's tensor bundle: `tf.train.load_checkpoint` and `tf.compat.v1.train.Saver` read
what is written here, and theirs are read here, also in the one-file format before it. Keys are the
names the network gives its variables, whatever mode or number of towers wrote them. Nothing in a
directory holds an absolute path, so it may be moved or copied.

Local file systems only: object stores have neither rename nor hard links. `remote_run.py` uploads
from one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from absl import logging

from checkpoints import bundle, checksums, commit
from checkpoints.bundle import STATE_FILE, Tensors
from common.errors import DataError

GLOBAL_STEP = "global_step"
_BASENAME = "model.ckpt"


def save(directory: str | os.PathLike[str], step: int, tensors: Tensors, *, keep: int = 5) -> str:
    """Writes `model.ckpt-<step>`, all of it or nothing, and drops the oldest beyond `keep`.

    It is read back from the disk and compared before it counts and before any other is deleted.

    Args:
        directory: Created when missing. The caller holds its lock
            (`run_directory.open_for_training`).
        step: Number of finished updates; also written as the int64 tensor `global_step`.
        tensors: Checkpoint key -> value of any shape and type.
        keep: How many of the newest checkpoints stay, this one included; 0 keeps all. Only
            checkpoints written by this function are ever deleted, and never the one just written;
            `best/` (best.py) is not counted.

    Returns:
        The prefix, `<directory>/model.ckpt-<step>`.

    Raises:
        DataError: The disk is full or the directory unwritable, or reads back other values than
            were written. Earlier checkpoints are unchanged.
    """
    tensors = {GLOBAL_STEP: np.asarray(step, np.int64), **tensors}
    if int(np.asarray(tensors[GLOBAL_STEP])) != step:
        raise ValueError(f"tensors say global_step {tensors[GLOBAL_STEP]}, the file name {step}")
    prefix = Path(prefix_of(directory, step))
    directory = prefix.parent
    with commit.staged(directory, prefix.name) as folder:
        earlier = _own_checkpoints_before(directory, step)
        surplus = earlier[: max(0, len(earlier) + 1 - keep)] if keep else []
        kept = [name for name in earlier if name not in surplus]
        bundle.write(folder / prefix.name, tensors)
        commit.flush_uncached(folder)
        bundle.check(folder / prefix.name, tensors)
        checksums.write(folder / prefix.name, step)
        write_state(folder, [*kept, prefix.name])
    for name in surplus:
        commit.remove(directory, name)
    return str(prefix)


def prefix_of(directory: str | os.PathLike[str], step: int) -> str:
    """Returns the prefix that `save` gives the checkpoint of `step`."""
    return str(Path(directory) / f"{_BASENAME}-{step}")


def write_state(directory: Path, names: list[str]) -> None:
    """Writes the file that names the newest checkpoint to TensorFlow: the last of `names`."""
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    (directory / STATE_FILE).write_text("\n".join(lines) + "\n")


def all_checkpoints(directory: str | os.PathLike[str]) -> list[str]:
    """Returns the prefixes in `directory`, oldest step first; damaged checkpoints are included."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    names = [path.stem for path in directory.iterdir() if path.suffix == ".index"]
    return [str(directory / name) for name in sorted(names, key=_by_step)]


def latest(directory: str | os.PathLike[str]) -> str | None:
    """Returns the prefix of the newest intact checkpoint; None if the directory holds none at all.

    Damaged ones are skipped, each with a warning that names it and says what is wrong.

    Raises:
        DataError: There are checkpoints, and all are damaged. (A run must not silently start again
            from zero.)
    """
    directory = Path(directory)
    candidates = all_checkpoints(directory) + _without_index(directory)
    damaged = []
    for prefix in sorted(candidates, key=lambda prefix: _by_step(Path(prefix).name), reverse=True):
        reason = verify(prefix)
        if reason is None:
            return prefix
        logging.warning("checkpoint %s is damaged and skipped: %s", prefix, reason)
        damaged.append(reason)
    if damaged:
        raise DataError(
            f"every checkpoint in {directory} is damaged ({'; '.join(damaged)}): "
            "restore one from a copy, or move these away to start from zero"
        )
    return None


def verify(prefix: str | os.PathLike[str]) -> str | None:
    """Returns what is wrong with a checkpoint, in one line; None if it is intact.

    Its files are compared with their checksums. Without those (a foreign checkpoint) every tensor
    is read, which checks its CRC-32C.
    """
    path = Path(prefix)
    try:
        if not bundle.exists(path):
            return f"{path.name}.index is missing"
        written = checksums.read(path)
        if written is not None:
            return checksums.damage(path, written)
        with bundle.open_reader(path) as reader:
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except bundle.READ_ERRORS as error:
        return f"{path.name} cannot be read ({bundle.first_line(error)})"
    return None


def resolve(path: str | os.PathLike[str]) -> str:
    """Returns the prefix of a checkpoint, given the prefix, one of its files, or a directory.

    Of a directory it is the `latest`.

    Raises:
        DataError: There is no such checkpoint; the message names those that are there.
    """
    if not os.path.isdir(path):
        return bundle.prefix_of(path)
    prefix = latest(path)
    if prefix is None:
        files = ", ".join(map(str, bundle.v1_files(path)))
        hint = f": name the file: {files}" if files else ""
        raise DataError(f"no checkpoint in {os.fspath(path)}{hint}")
    return prefix


def shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Returns key -> shape of every tensor in a checkpoint (prefix, directory or file)."""
    return bundle.shapes(resolve(path))


def read(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns key -> value of the tensors `names`, or of all (prefix, directory or file).

    Raises:
        DataError: There is no checkpoint or no tensor of that name, or it is damaged.
    """
    return bundle.read(resolve(path), names)


def read_variables(path: str | os.PathLike[str], plan: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns variable name -> value, given name -> key in the checkpoint (`restore_plan`)."""
    values = read(path, set(plan.values()))
    return {name: values[key] for name, key in plan.items()}


def global_step(path: str | os.PathLike[str]) -> int:
    """Returns the tensor `global_step`, else the number in the name (`ckpt-1243`), else 0."""
    prefix = resolve(path)
    if GLOBAL_STEP in shapes(prefix):
        return int(read(prefix, [GLOBAL_STEP])[GLOBAL_STEP])
    return max(0, step_in_name(prefix))


def step_in_name(prefix: str) -> int:
    """Returns the number that ends a prefix, -1 without one: `lite0/model.ckpt-1243` -> 1243."""
    match = re.search(r"-(\d+)$", prefix)
    return int(match.group(1)) if match else -1


def _own_checkpoints_before(directory: Path, step: int) -> list[str]:
    """Returns the names that `save` wrote at earlier steps (they have checksums), oldest first."""
    own = re.compile(re.escape(_BASENAME) + r"-\d+")
    names = [Path(prefix).name for prefix in all_checkpoints(directory)]
    return [
        name
        for name in names
        if own.fullmatch(name)
        and step_in_name(name) < step
        and checksums.path_of(directory / name).exists()
    ]


def _without_index(directory: Path) -> list[str]:
    """Returns prefixes of data files without an index, unless a save is just moving it there."""
    if not directory.is_dir():
        return []
    matches = (
        re.fullmatch(r"(.+)\.data-\d{5}-of-\d{5}", path.name) for path in directory.iterdir()
    )
    names = {match.group(1) for match in matches if match}
    return [
        str(directory / name)
        for name in sorted(names)
        if not (directory / f"{name}.index").exists() and not commit.is_being_moved(directory, name)
    ]


def _by_step(name: str) -> tuple[int, str]:
    return step_in_name(name), name
