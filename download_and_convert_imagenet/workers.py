"""Converts shards in several processes. Which process writes a shard does not change its bytes.

Workers are spawned, not forked: they do not inherit half of the parent's state. A worker whose
parent has gone stops at its next report.
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
from common.files import lacks_room
from download_and_convert_imagenet.journal import FinishedShard, ImageNote
from download_and_convert_imagenet.plan import ShardTask
from download_and_convert_imagenet.records.image_headers import CorruptImageError
from download_and_convert_imagenet.records.image_repair import prepare_image
from download_and_convert_imagenet.records.shard_writer import write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_TO_END = 5.0
_MAKE_ROOM = "make room, and repeat the command, which keeps the shards that are finished"
_FEWER_PROCESSES = "use fewer --num_processes"
# A pipe whose other end has closed.
_HUNG_UP = (EOFError, BrokenPipeError, ConnectionResetError)


class ImagesRead(NamedTuple):
    """How much was read since the last report."""

    num_images: int
    num_bytes: int


class _Failure(NamedTuple):
    message: str
    is_out_of_memory: bool = False


Event = ShardTask | ImagesRead | FinishedShard
"""A shard that is about to be written, images that were read, a shard that is complete."""


def run_tasks(
    tasks: Sequence[ShardTask],
    data_dir: Path,
    num_processes: int,
    on_event: Callable[[Event], None],
) -> None:
    """Writes the shards; with one process, in this one.

    Args:
        on_event: called in this process soon after each event, but before a shard is written.

    Raises:
        DataError: an image cannot be read, a shard cannot be written, or a worker was killed.
    """
    if num_processes == 1:
        for task in tasks:
            on_event(task)
            result = _run_task(task, data_dir, on_event)
            if isinstance(result, _Failure):
                advice = ": free some memory" if result.is_out_of_memory else ""
                raise DataError(result.message + advice)
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
        _distribute(tasks, list(workers), on_event)
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.terminate()
        for worker in workers.values():
            worker.join(_SECONDS_TO_END)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Makes processes started inside ignore Ctrl-C: the parent receives it and ends them."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _distribute(
    tasks: Sequence[ShardTask], connections: list[Connection], on_event: Callable[[Event], None]
) -> None:
    """Gives every worker a task as soon as it is idle, until all tasks are done."""
    remaining = iter(tasks)
    busy: set[Connection] = set()

    def give_task(connection: Connection) -> None:
        busy.discard(connection)
        task = next(remaining, None)
        if task is not None:
            busy.add(connection)
            on_event(task)
            connection.send(task)

    try:
        for connection in connections:
            give_task(connection)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                event = connection.recv()
                if isinstance(event, _Failure):
                    advice = f": {_FEWER_PROCESSES}" if event.is_out_of_memory else ""
                    raise DataError(event.message + advice)
                on_event(event)
                if isinstance(event, FinishedShard):
                    give_task(connection)
    except _HUNG_UP as error:
        raise DataError(
            f"a worker process was killed (by the system, if memory ran out: {_FEWER_PROCESSES})"
        ) from error


def _serve(connection: Connection, data_dir: Path) -> None:
    """Runs in a worker: takes tasks until the parent closes the pipe or has gone."""
    with contextlib.suppress(*_HUNG_UP):
        while True:
            connection.send(_run_task(connection.recv(), data_dir, connection.send))


def _run_task(
    task: ShardTask, data_dir: Path, send: Callable[[Event], None]
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
        finished = _convert_shard(task, data_dir, report)
    except _HUNG_UP:  # the parent, or whoever reads the progress, has gone
        raise
    except OSError as error:
        advice = f": {_MAKE_ROOM}" if lacks_room(error) else ""
        reason = error.strerror or error
        return _Failure(f"{error.filename or data_dir / task.file}: {reason}{advice}")
    except MemoryError:
        message = f"{data_dir / task.file}: memory ran out over one of its images"
        return _Failure(message, is_out_of_memory=True)
    send(ImagesRead(num_images, num_bytes))
    return finished


def _convert_shard(task: ShardTask, data_dir: Path, report: Callable[[int], None]) -> FinishedShard:
    """Writes a shard: its images are read, checked, encoded again if needed, or left out.

    Args:
        report: called after every image with the number of bytes that were read for it.

    Raises:
        OSError: an image cannot be read, the directory cannot be written, or the disk is full.
    """
    repaired: list[ImageNote] = []
    corrupt: list[ImageNote] = []
    num_boxes = 0

    def examples() -> Iterator[bytes]:
        nonlocal num_boxes
        for image in task.images:
            encoded = image.location.read()
            try:
                prepared = prepare_image(encoded, keep_png=task.keep_png, upright=task.upright)
            except CorruptImageError as error:
                corrupt.append(ImageNote(image.name, str(error)))
            else:
                if prepared.repair:
                    note = f"{prepared.repair} encoded again as {prepared.image_format}"
                    repaired.append(ImageNote(image.name, note))
                num_boxes += len(image.boxes)
                yield encode_image(
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
                        labels=image.labels,
                    )
                )
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
