"""TensorBoard's event files of a run that is resumed: each step shows once.

A resumed run goes back to the step of its checkpoint; what the interrupted run wrote after it would
show beside the new events. Readers differ in what they do about that (TensorBoard 2.21):

- the default, fast loader drops, per tag, what is not before a newly written step;
- the loader of --load_fast=false goes by SessionLog START, whose step says from where to drop; it
  ignores the first START of a directory, which merely begins it;
- `event_accumulator.EventAccumulator`, used in scripts, drops no event of TF 2 at all.

So what came after the checkpoint is taken out of the files, and START is written for a TensorBoard
that is running and has read it already.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from benchmark_cnn.errors import DataError

_PATTERN = "events.out.tfevents.*"


def open_writer(
    directory: str | os.PathLike[str], start_step: int | None
) -> tf.summary.SummaryWriter:
    """A writer in `directory` for the events after `start_step`; those there already are dropped.

    Args:
      start_step: global step from which the run goes on, 0 for one that starts; None drops nothing.

    Raises:
      DataError: the directory cannot be made or written to.
    """
    directory = Path(directory)
    _make_writable(directory)
    if start_step is not None:
        for path in sorted(directory.glob(_PATTERN)):
            _drop_events_after(path, start_step)
    _wait_until_a_new_name_sorts_last(directory)
    writer = tf.summary.create_file_writer(str(directory))
    if start_step is not None:
        _write_start(writer, start_step + 1)
    return writer


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise DataError(
            f"cannot write events to {directory}: {error.strerror}; make it writable, or give "
            "eval.py another directory with --eval_dir=DIR"
        ) from error


def _write_start(writer: tf.summary.SummaryWriter, step: int) -> None:
    start = tf.compat.v1.Event(
        wall_time=time.time(),
        step=step,
        session_log=tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START),
    )
    # tf.summary has no public way to write an event that is not a summary.
    tf.raw_ops.ImportEvent(writer=writer._resource, event=start.SerializeToString())
    writer.flush()


def _drop_events_after(path: Path, step: int) -> None:
    """Rewrite the file without its later events and without what a kill left of its last one."""
    # TensorBoard reads any file with "tfevents" in its name.
    temporary = path.with_name(".events.rewriting")
    keeps_all = True
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        try:
            for record in map(bytes, tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
                if tf.compat.v1.Event.FromString(record).step <= step:
                    writer.write(record)
                else:
                    keeps_all = False
        except tf.errors.DataLossError:
            keeps_all = False
    if keeps_all:
        temporary.unlink()
    else:
        os.replace(temporary, path)


def _wait_until_a_new_name_sorts_last(directory: Path) -> None:
    """Readers take the files in the order of their names, which hold seconds since 1970."""
    newest = max((path.name.split(".")[3] for path in directory.glob(_PATTERN)), default="0")
    # Longer waits would mean clocks that disagree, and no wait helps there.
    for _ in range(20):
        if not newest.isdecimal() or time.time() >= int(newest) + 1:
            return
        time.sleep(0.1)
