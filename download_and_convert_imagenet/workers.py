"""Shards on several processes: which process writes a shard changes nothing in it.

Workers are started afresh, not forked: nothing of the parent, such as the thread of a progress
display, is copied half-way. A worker whose parent is gone stops at its next report.

From the images of one shard to the shard: read, checked, repaired where needed, written.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from download_and_convert_imagenet.journal import FinishedShard, ImageNote
from download_and_convert_imagenet.plan import ShardTask
from download_and_convert_imagenet.records.image_repair import (
    CorruptImageError,
    PreparedImage,
    prepare_image,
)
from download_and_convert_imagenet.records.shard_writer import write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image
from download_and_convert_imagenet.sources.image_source import SourceImage

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_TO_END = 5.0
_FEWER_PROCESSES = "use fewer --num_processes"


class ConversionError(DataError):
    """The conversion cannot continue; the message is one line."""


class ImagesRead(NamedTuple):
    """How much was read since the last report."""

    num_images: int
    num_bytes: int


class _Failure(NamedTuple):
    message: str
    is_for_memory: bool = False


Event = ShardTask | ImagesRead | FinishedShard
"""A shard that is going to be written, images that were read, a shard that is there."""


def run_tasks(
    tasks: Sequence[ShardTask],
    data_dir: Path,
    num_processes: int,
    on_event: Callable[[Event], None],
) -> None:
    """Write the shards; `on_event` is called in this process, soon after each thing happened.

    Of a shard that is going to be written it is called before that. With one process, everything
    runs in this one.

    Raises:
        ConversionError: an image cannot be read, a shard cannot be written, a worker was killed.
    """
    if num_processes == 1:
        for task in tasks:
            on_event(task)
            result = _run_task(task, data_dir, on_event)
            if isinstance(result, _Failure):
                advice = ": free some memory" if result.is_for_memory else ""
                raise ConversionError(result.message + advice)
            on_event(result)
        return
    processes = multiprocessing.get_context("spawn")
    workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    try:
        with _interrupts_ignored():
            for _ in range(min(num_processes, len(tasks))):
                ours, theirs = processes.Pipe()
                worker = processes.Process(target=_serve, args=(theirs, data_dir), daemon=True)
                worker.start()
                theirs.close()
                workers[ours] = worker
        _distribute(tasks, workers, on_event)
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.terminate()
        for worker in workers.values():
            worker.join(_SECONDS_TO_END)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """What is started within ignores Ctrl-C: the parent gets it too, and ends its workers."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _distribute(
    tasks: Sequence[ShardTask],
    workers: dict[Connection, multiprocessing.process.BaseProcess],
    on_event: Callable[[Event], None],
) -> None:
    """Give every worker a task as soon as it has none, until all are done."""
    remaining = iter(tasks)
    busy: dict[Connection, ShardTask] = {}

    def give_task(connection: Connection) -> None:
        busy.pop(connection, None)
        task = next(remaining, None)
        if task is not None:
            busy[connection] = task
            on_event(task)
            connection.send(task)

    try:
        for connection in workers:
            give_task(connection)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                event = connection.recv()
                if isinstance(event, _Failure):
                    advice = f": {_FEWER_PROCESSES}" if event.is_for_memory else ""
                    raise ConversionError(event.message + advice)
                on_event(event)
                if isinstance(event, FinishedShard):
                    give_task(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise ConversionError(
            "a worker process was ended from outside (by the system, if memory ran out: "
            f"{_FEWER_PROCESSES})"
        ) from error


def _serve(connection: Connection, data_dir: Path) -> None:
    """A worker: one task after the other, until the parent closes the pipe or is gone."""
    try:
        while True:
            task = connection.recv()
            connection.send(_run_task(task, data_dir, connection.send))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _run_task(
    task: ShardTask,
    data_dir: Path,
    send: Callable[[Event], None],
) -> FinishedShard | _Failure:
    num_images = num_bytes = 0
    last_sent = time.monotonic()

    def report(image_bytes: int) -> None:
        nonlocal num_images, num_bytes, last_sent
        num_images, num_bytes = num_images + 1, num_bytes + image_bytes
        if time.monotonic() - last_sent > _SECONDS_BETWEEN_REPORTS:
            send(ImagesRead(num_images, num_bytes))
            num_images, num_bytes, last_sent = 0, 0, time.monotonic()

    try:
        finished = convert_shard(task, data_dir, report)
    except (BrokenPipeError, ConnectionResetError):  # the parent is gone
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else f"{data_dir / task.file}: "
        return _Failure(f"{where}{error.strerror or error}")
    except MemoryError:
        message = f"{data_dir / task.file}: memory ran out over one of its images"
        return _Failure(message, is_for_memory=True)
    send(ImagesRead(num_images, num_bytes))
    return finished


ImageReport = Callable[[int], None]
"""Called after every image with the number of bytes that were read for it."""


def convert_shard(task: ShardTask, data_dir: Path, report: ImageReport) -> FinishedShard:
    """Write a shard; images that cannot be decoded are left out and noted.

    Raises:
        OSError: an image cannot be read at all, the directory cannot be written, the disk is full.
    """
    repaired: list[ImageNote] = []
    corrupt: list[ImageNote] = []
    num_boxes = 0

    def examples() -> Iterator[bytes]:
        nonlocal num_boxes
        for image in task.images:
            encoded = image.location.read()
            try:
                prepared = prepare_image(encoded, keep_png=task.keep_png)
            except CorruptImageError as error:
                corrupt.append(ImageNote(image.name, str(error)))
            else:
                if prepared.repair:
                    note = f"{prepared.repair} encoded anew as {prepared.image_format}"
                    repaired.append(ImageNote(image.name, note))
                num_boxes += len(image.boxes)
                yield _encode(image, prepared)
            report(len(encoded))

    shard = write_shard(data_dir, task.split, task.index, task.num_shards, examples())
    return FinishedShard(
        split=task.split,
        shard=shard,
        fingerprint=task.fingerprint,
        num_boxes=num_boxes,
        repaired=tuple(repaired),
        corrupt=tuple(corrupt),
    )


def _encode(image: SourceImage, prepared: PreparedImage) -> bytes:
    return encode_image(
        LabeledImage(
            encoded=prepared.encoded,
            height=prepared.height,
            width=prepared.width,
            label=image.label,
            filename=image.name,
            synset=image.synset,
            text=image.text,
            boxes=image.boxes,
            image_format=prepared.image_format,
        )
    )
