"""Answers parts of a data set in this process, or in several that share the cores.

Workers are spawned, not forked: TensorFlow does not survive a fork. A worker whose parent has gone
ends at once.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from common import process
from common.errors import RunError
from inference.network import Network
from inference.predictions.predictor import Answer, Predictor, Task
from inference.predictions.sources.dataset import Image

_SECONDS_BETWEEN_POLLS = 0.2


class Part(NamedTuple):
    """Consecutive images that one process answers; `first` is the position of the first one."""

    number: int
    first: int
    images: Sequence[Image]


def answers(
    task: Task,
    parts: Sequence[Part],
    network: Network,
    num_processes: int,
    on_images: Callable[[int], None],
) -> Generator[tuple[Part, Answer], None, None]:
    """Yields the answers to each part, in any order.

    They are the same bit by bit for one number of processes; another number changes the number of
    threads that compute, and so, on some processors, the last bits.

    Args:
        network: answers where there is one process.
        on_images: called with a number of images that were answered, and with 0 now and then; what
            it raises ends the workers.

    Raises:
        RunError: the network fails, or a worker was killed.
    """
    if num_processes == 1:
        with Predictor(task, process.num_cores(), network) as predictor:
            for part in parts:
                yield part, predictor.answer(part.first, part.images, on_images)
        return
    num_threads = max(1, process.num_cores() // num_processes)
    pool = ProcessPoolExecutor(
        num_processes, multiprocessing.get_context("spawn"), _start, (task, num_threads)
    )
    try:
        yield from _distribute(pool, parts, num_processes, on_images)
    except BaseException as error:
        for worker in multiprocessing.active_children():
            worker.kill()  # what it still computes is not wanted
        if isinstance(error, BrokenProcessPool):
            raise RunError(
                "a worker process was killed (by the system, if memory ran out: use fewer "
                "--num_processes)"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _distribute(
    pool: ProcessPoolExecutor,
    parts: Sequence[Part],
    num_processes: int,
    on_images: Callable[[int], None],
) -> Iterator[tuple[Part, Answer]]:
    remaining = iter(parts)
    running: dict[Future[Answer], Part] = {}

    def submit() -> None:
        part = next(remaining, None)
        if part is not None:
            running[pool.submit(_answer, part)] = part

    for _ in range(2 * num_processes):  # no worker waits for this process
        submit()
    while running:
        finished, _ = wait(running, _SECONDS_BETWEEN_POLLS, FIRST_COMPLETED)
        on_images(0)
        for future in finished:
            part = running.pop(future)
            answer = future.result()
            submit()
            yield part, answer
            on_images(len(part.images))


_predictor: Predictor | None = None  # of a worker


def _start(task: Task, num_threads: int) -> None:
    """Prepares a worker."""
    global _predictor
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several share a GPU
    with process.quiet_startup():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(num_threads)
        _predictor = Predictor(task, num_threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _answer(part: Part) -> Answer:
    assert _predictor is not None
    return _predictor.answer(part.first, part.images)
