"""TensorBoard events of a training run and of its evaluations.

A resumed run goes back to the step of its checkpoint, and repeats the steps that the interrupted
run made after it. TensorBoard 2.21 shows each step once: its default loader drops a tag's events
from a newly written step on, the loader of --load_fast=false those from the step of a SessionLog
START on, which a run writes when it opens its file.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from checkpoints.bundle import first_line
from common import files
from common.errors import DataError

TAGS = {
    "cross_entropy": "losses/cross_entropy",
    "aux_cross_entropy": "losses/aux_cross_entropy",
    "weight_decay": "losses/weight_decay",
    "top_1": "metrics/accuracy_at_1",
    "top_5": "metrics/recall_at_5",
    "learning_rate": "learning_rate",
    "total_loss": "total_loss",
    "epoch": "epoch_step",
    "gradient_norm": "gradient_norm",
    "loss_scale": "loss_scale",
    "skipped_steps": "skipped_steps",
    "images_per_sec": "images_per_sec",
    "data_wait_share": "data_wait_share",
    "image_size": "image_size",
    "staleness_mean": "asynchronous/staleness_mean",
    "staleness_max": "asynchronous/staleness_max",
}
_EVALUATION_TAGS = {"top_1": "eval/Accuracy@1", "top_5": "eval/Accuracy@5", "loss": "eval/loss"}
# The same under the tags of training: TensorBoard draws both in one chart.
_SHARED_TAGS = {"top_1": TAGS["top_1"], "top_5": TAGS["top_5"], "loss": TAGS["cross_entropy"]}
# NaN before the first timed step; these NaN are not written.
_MEASURED = ("images_per_sec", "data_wait_share")
_EVALUATION_DIRECTORY = "eval"
_MAX_IMAGES = 8


class Summaries(contextlib.AbstractContextManager):
    """A context that writes the training events of a run to `train_dir`.

    Args:
        train_dir: None writes nothing.
        verbosity: 0 writes nothing; 1 scalars; 2 also the histogram of all gradients; 3 also
            histograms of each variable, and images.
        start_step: global step at which the run starts or resumes.
    """

    def __init__(
        self, train_dir: str | os.PathLike[str] | None, verbosity: int = 1, start_step: int = 0
    ):
        self.verbosity = verbosity if train_dir is not None else 0
        self._train_dir = train_dir
        self._start_step = start_step
        self._has_warned = False
        self._writer: Any = None
        self._evaluations: EvaluationSummaries | None = None
        if train_dir is not None and verbosity > 0:
            self._writer = open_writer(train_dir, start_step)

    def __exit__(self, *_) -> None:
        self.close()

    def scalars(self, global_step: int, **values: float | None) -> None:
        """Writes the values named in TAGS, except those that are None.

        Raises:
            ValueError: a value has no tag.
        """
        unknown = set(values) - set(TAGS)
        if unknown:
            raise ValueError(f"no TensorBoard tag for {', '.join(sorted(unknown))}")
        if self.verbosity >= 1:
            shown = {n: v for n, v in values.items() if n not in _MEASURED or _is_number(v)}
            with self._or_warned():
                _write_scalars(self._writer, TAGS, shown, global_step)

    def parameters(self, values: Mapping[str, object]) -> None:
        """Writes the parameters of this start as a table, which TensorBoard shows under Text."""
        if self.verbosity < 1:
            return
        rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
        with self._or_warned():
            with self._writer.as_default(step=self._start_step):
                tf.summary.text("parameters", f"| parameter | value |\n|---|---|\n{rows}")
            self._writer.flush()

    def evaluation(self, global_step: int, result: Mapping[str, float]) -> None:
        """Writes an evaluation made by the training itself to `train_dir`/eval.

        The directory is opened here: if the training never evaluates, it belongs to eval.py.
        """
        if self._train_dir is None or self.verbosity < 1:
            return
        with self._or_warned():
            if self._evaluations is None:
                directory = Path(self._train_dir) / _EVALUATION_DIRECTORY
                self._evaluations = EvaluationSummaries(directory, self._start_step)
            self._evaluations.write(global_step, result)

    def gradients(self, global_step: int, gradients: Mapping[str, tf.Tensor]) -> None:
        """Writes histograms of the gradients, given by variable name.

        From verbosity 2: `log_gradients`, log|g| over all entries that are not zero. From 3: also
        `<name>/gradients`.
        """
        if self.verbosity < 2:
            return
        with _own_tags(), self._writer.as_default(step=global_step):
            tf.summary.histogram("log_gradients", _log_of_nonzero(gradients.values()))
            if self.verbosity >= 3:
                for name, gradient in gradients.items():
                    tf.summary.histogram(f"{name}/gradients", gradient)
        self._writer.flush()

    def variables(self, global_step: int, variables: Mapping[str, tf.Tensor]) -> None:
        """Writes a histogram of each variable, from verbosity 3."""
        if self.verbosity < 3:
            return
        with self._or_warned():
            with self._writer.as_default(step=global_step):
                for name, value in variables.items():
                    tf.summary.histogram(name, value)
            self._writer.flush()

    def images(self, global_step: int, images: tf.Tensor) -> None:
        """Writes the first images of a batch [B, H, W, 3], 0..255, from verbosity 3."""
        if self.verbosity < 3:
            return
        # The summary would take floats to be in 0..1.
        shown = tf.saturate_cast(tf.round(tf.cast(images[:_MAX_IMAGES], tf.float32)), tf.uint8)
        with _own_tags(), self._writer.as_default(step=global_step):
            tf.summary.image("train_images", shown, max_outputs=_MAX_IMAGES)
        self._writer.flush()

    def rewind(self, global_step: int) -> None:
        """Has the events from now on replace those after `global_step`."""
        with self._or_warned():
            if self._writer is not None:
                _write_start(self._writer, global_step + 1)
        with self._or_warned():
            if self._evaluations is not None:
                self._evaluations.close()
        self._evaluations, self._start_step = None, global_step

    def close(self) -> None:
        for writer in (self._writer, self._evaluations):
            with self._or_warned():
                if writer is not None:
                    writer.close()

    @contextlib.contextmanager
    def _or_warned(self) -> Iterator[None]:
        """Warns, once, of events that cannot be written: a run needs none of them."""
        try:
            with _write_errors(self._train_dir):
                yield
        except DataError as error:
            if not self._has_warned:
                logging.warning("%s; training continues, and TensorBoard lacks what follows", error)
            self._has_warned = True


class EvaluationSummaries(contextlib.AbstractContextManager):
    """A context that writes results of evaluations to `eval_dir`, at their checkpoints' steps.

    Args:
        eval_dir: None writes nothing.
        start_step: global step at which a training that evaluates starts or resumes. None keeps
            all earlier results, since eval.py evaluates checkpoints in any order.
    """

    def __init__(self, eval_dir: str | os.PathLike[str] | None, start_step: int | None = None):
        self._writer: Any = None
        self._directory = eval_dir
        if eval_dir is not None:
            self._writer = open_writer(eval_dir, start_step)

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, global_step: int, result: Mapping[str, float]) -> None:
        """Writes `top_1` and `top_5` (fractions) and `loss` (nats) of a result."""
        if self._writer is not None:
            values = {name: result[name] for name in _EVALUATION_TAGS}
            with _write_errors(self._directory):
                for tags in (_EVALUATION_TAGS, _SHARED_TAGS):
                    _write_scalars(self._writer, tags, values, global_step)

    def close(self) -> None:
        if self._writer is not None:
            with _write_errors(self._directory):
                self._writer.close()


@contextlib.contextmanager
def _write_errors(directory: str | os.PathLike[str] | None) -> Iterator[None]:
    """Turns TensorFlow's error, as on a full disk, into one line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise DataError(f"cannot write events to {directory}: {first_line(error)}") from error


def _own_tags() -> contextlib.AbstractContextManager:
    """Resets the name scope: inside a graph, tags would begin with `while/cond_3/`."""
    return tf.name_scope("")


def _write_scalars(
    writer: tf.summary.SummaryWriter,
    tags: Mapping[str, str],
    values: Mapping[str, float | None],
    global_step: int,
) -> None:
    with writer.as_default(step=global_step):
        for name, value in values.items():
            if value is not None:
                tf.summary.scalar(tags[name], value)
    writer.flush()  # a running TensorBoard sees it, and a kill cannot lose it


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _log_of_nonzero(gradients: Iterable[tf.Tensor]) -> tf.Tensor:
    """Returns log|g| of the entries g != 0 of all tensors, as one vector."""
    entries = tf.concat([tf.reshape(tf.cast(g, tf.float32), [-1]) for g in gradients], axis=0)
    magnitudes = tf.abs(entries)
    return tf.math.log(tf.boolean_mask(magnitudes, magnitudes > 0))


def open_writer(
    directory: str | os.PathLike[str], start_step: int | None
) -> tf.summary.SummaryWriter:
    """Opens a writer in `directory` that replaces earlier events after `start_step`.

    Args:
        start_step: global step at which the run starts or resumes; None replaces nothing.

    Raises:
        DataError: the directory cannot be created or written to.
    """
    directory = Path(directory)
    advice = "make it writable, or give eval.py another directory with --eval_dir=DIR"
    with files.write_errors(f"events to {directory}", advice):
        files.make_writable(directory)
    writer = tf.summary.create_file_writer(os.fsencode(directory))
    if start_step is not None:
        _write_start(writer, start_step + 1)
    return writer


def _write_start(writer: tf.summary.SummaryWriter, step: int) -> None:
    start = tf.compat.v1.Event(
        wall_time=time.time(),
        step=step,
        session_log=tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START),
    )
    # tf.summary has no public way to write an event that is not a summary.
    tf.raw_ops.ImportEvent(writer=writer._resource, event=start.SerializeToString())
    writer.flush()
