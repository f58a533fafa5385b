"""The same crops with Pillow in Python processes, as timm and torchvision make them.

Each process is a worker of their data loaders: open, convert to RGB, crop, resize (bilinear, which
in Pillow averages where it reduces), flip, to an array, stack the arrays of a batch. Images come
from memory or from a file each. What a loader does beyond that, shuffling and handing batches over
to the training process, is left out here, in Pillow's favor. Nothing imports TensorFlow, or every
process would.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from benchmarks.pipeline_turns import Speed, speed_of
from common.errors import DataError


@dataclass(frozen=True)
class View:
    """One image and what is to be seen of it.

    Attributes:
        encoded: a JPEG file's bytes, or its path.
        window: y, x, height and width of the part to cut out, in pixels.
        size: height and width that it is resized to; beyond the view's own size, the center of it.
        flipped: mirrored left to right.
    """

    encoded: bytes | Path
    window: tuple[int, int, int, int]
    size: tuple[int, int]
    flipped: bool


def in_files(views: Sequence[View], directory: Path) -> list[View]:
    """The same views of images in a file each, which are written for it."""
    written = []
    for number, view in enumerate(views):
        path = directory / f"{number}.jpg"
        with _opened(view.encoded) as file:
            path.write_bytes(file.read())
        written.append(replace(view, encoded=path))
    return written


def make(view: View, image_size: int) -> np.ndarray:
    """uint8 [image_size, image_size, 3]."""
    y, x, height, width = view.window
    with _opened(view.encoded) as file:
        image = Image.open(file).convert("RGB")
    image = image.crop((x, y, x + width, y + height))
    image = image.resize((view.size[1], view.size[0]), Image.Resampling.BILINEAR)
    top, left = ((side - image_size) // 2 for side in view.size)
    if (top, left) != (0, 0):
        image = image.crop((left, top, left + image_size, top + image_size))
    if view.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def _opened(encoded: bytes | Path) -> IO[bytes]:
    return io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded.open("rb")


class Workers:
    """Processes that make views without end; a context, which ends them.

    Args:
        views: made over and over again; every process begins at another place.
    """

    def __init__(self, views: Sequence[View], image_size: int, batch_size: int, num_workers: int):
        processes = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for number in range(num_workers):
            ours, theirs = processes.Pipe()
            start = len(views) * number // num_workers
            own = [*views[start:], *views[:start]]
            process = processes.Process(
                target=_serve, args=(theirs, own, image_size, batch_size), daemon=True
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_) -> None:
        for connection, process in zip(self._connections, self._processes, strict=True):
            connection.close()
            process.join()

    def turn(self, secs: float) -> Speed:
        """Let all of them work for about `secs`, at the same time.

        Raises:
            DataError: a process has ended, for an image that Pillow cannot read.
        """
        try:
            for connection in self._connections:
                connection.send(secs)
            speeds = [connection.recv() for connection in self._connections]
        except (EOFError, OSError) as error:
            raise DataError("Pillow cannot decode an image of the sample, see above") from error
        return Speed(
            per_sec=sum(speed.per_sec for speed in speeds),
            per_core=statistics.fmean(speed.per_core for speed in speeds),
        )


def _serve(connection: Connection, views: list[View], image_size: int, batch_size: int) -> None:
    endless = itertools.cycle(views)
    with contextlib.suppress(EOFError):  # the parent has closed the pipe: it is done
        while True:
            secs = connection.recv()
            num_views, started, before = 0, time.perf_counter(), time.process_time()
            while (seconds := time.perf_counter() - started) < secs:
                batch = [make(view, image_size) for view in itertools.islice(endless, batch_size)]
                num_views += len(np.stack(batch))
            connection.send(speed_of(num_views, seconds, time.process_time() - before))
