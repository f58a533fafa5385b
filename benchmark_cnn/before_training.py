"""What a run will need later, opened before its first step: data, disk, memory, outputs."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import logging

from benchmark_cnn.interfaces import Dataset
from benchmark_cnn.params.params import Params
from benchmark_cnn.run import TrainingRun
from benchmark_cnn.run_directory import RunDirectory
from checkpoints import store
from common import files, process
from common.errors import DataError, MissingSplitError, UsageError

# Measured on CPUs, a step takes up to 1.4 times the activations that are counted (docs/models.md).
MEMORY_FACTOR = 1.4
# More than any of the networks keeps (nasnetlarge: 7,800). Below, nothing needs to be counted.
_MOST_BYTES_PER_PIXEL = 8000

# Network, image size in pixels -> the bytes that one image adds to a step.
ImageBytes = Callable[[Any, int], int]


def open_validation(params: Params, dataset: Dataset) -> None:
    """Raises DataError for a validation set that the run will need and that is not complete."""
    run = params.run
    if run.eval_every_epochs is not None or run.eval_every_steps is not None:
        every = "steps" if run.eval_every_epochs is None else "epochs"
        try:
            dataset.num_examples("validation")
        except MissingSplitError as error:
            raise DataError(f"{error}, or train without --eval_every_{every}") from error


def check(run: TrainingRun, directory: RunDirectory | None, image_bytes: ImageBytes | None) -> None:
    """Checks memory, disk and outputs once the network is built and a checkpoint is resumed.

    Args:
        image_bytes: None checks no memory.

    Raises:
        UsageError: the memory cannot hold a step, or an output cannot be written.
        DataError: the disk cannot hold the checkpoints.
    """
    if image_bytes is not None:
        _check_memory(run, image_bytes)
    if directory is None:
        _warn_of_nothing_saved(run)
    else:
        warn_of_place("train_dir", directory.path, run.params)
        _check_disk(run, directory)
        _check_outputs(run, directory)


def warn_of_place(flag: str, path: Path, params: Params) -> None:
    """Warns of an output in the directory of the data: who replaces the data loses the output."""
    data_dir = params.data.data_dir
    if data_dir is None or not path.resolve().is_relative_to(Path(data_dir).resolve()):
        return
    logging.warning(
        "--%s=%s lies in --data_dir=%s: when the data are deleted or moved, so is this; give a "
        "directory outside",
        flag, path, data_dir,
    )  # fmt: skip


def _check_memory(run: TrainingRun, image_bytes: ImageBytes) -> None:
    """A GPU's allocator reports what is missing; the kernel kills a process without a word."""
    available = process.available_memory_bytes()
    towers = run.manager.num_local_towers
    images = run.settings.batch_size * towers
    if run.devices.kind == "gpu" or run.params.run.forward_only or available is None:
        return
    # A frozen network keeps no activations, and the count is of all.
    phases = [phase for phase in run.phases.values() if not phase.tower.frozen]
    if not phases:
        return
    largest = max(phases, key=lambda phase: phase.image_size)
    size = largest.image_size
    if images * size * size * _MOST_BYTES_PER_PIXEL < available:
        return
    per_image = image_bytes(largest.tower.network, size)
    if images * per_image <= available:
        return
    fitting = images_that_fit(available, per_image, towers)
    advice = "use a smaller --image_size or another --model"
    if run.params.network.image_size_schedule is not None:
        advice = "use smaller sizes in --image_size_schedule, or another --model"
    if fitting:
        micro_batches = math.ceil(run.settings.batch_size * run.plan.micro_batches / fitting)
        advice = (
            f"--batch_size={fitting} fits, and --gradient_accumulation_steps={micro_batches} "
            "keeps the global batch"
        )
    raise UsageError(
        f"a step of {images} images needs {images * per_image / 2**30:.1f} GiB or more "
        f"({per_image / 2**20:.1f} MiB each), and {available / 2**30:.1f} GiB are free: {advice}"
    )


def images_that_fit(available: int, bytes_per_image: int, towers: int) -> int:
    """Returns the images per tower of the largest step that the memory of a machine holds.

    Args:
        available: bytes that are free.
        bytes_per_image: activations of one image.
    """
    return int(available / (MEMORY_FACTOR * bytes_per_image * towers))


def _warn_of_nothing_saved(run: TrainingRun) -> None:
    if run.dataset.synthetic or run.params.run.forward_only or run.plan.num_epochs < 2:
        return
    if run.manager.cluster is not None and not run.manager.cluster.is_chief:
        return  # the chief saves, and warns where it does not
    logging.warning(
        "nothing of these %.4g epochs will be saved: there is no --train_dir", run.plan.num_epochs
    )


def _check_disk(run: TrainingRun, directory: RunDirectory) -> None:
    """A checkpoint is written before the oldest one is removed."""
    tensors = run.state.tensors().values()
    size = sum((tensor.shape.num_elements() or 0) * tensor.dtype.size for tensor in tensors)
    missing = max(1, 2 - len(store.all_checkpoints(directory.path)))
    free = shutil.disk_usage(directory.path).free
    if missing * size > free:
        raise DataError(
            f"{directory.path} has {free / 1e6:,.1f} MB of free space, and the run's checkpoints "
            f"need {missing * size / 1e6:,.1f} MB or more: make room, or give another --train_dir"
        )


def _check_outputs(run: TrainingRun, directory: RunDirectory) -> None:
    advice = "remove what is in its place, or give a directory that you may write to"
    folders = [directory.best, directory.path / "eval"] if run.settings.evaluates else []
    for path in filter(os.path.lexists, folders):
        with files.write_errors(path, advice, UsageError):
            files.make_writable(path)
    for path in (directory.curves, directory.metrics, directory.run_info, directory.parameters):
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a directory; {advice}")
