"""A Pillow data loader, as timm and torchvision have it: the baseline.

Each process does the work of one of their workers: open, convert to RGB, crop, resize (bilinear;
Pillow averages when it reduces), flip, convert to an array, stack the arrays of a batch. Images
come from memory or from one file each. Shuffling and the transfer of batches to the training
process are left out, in Pillow's favor. TensorFlow is not imported here, because every process
would import it too.
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

from benchmarks.rounds import Speed, speed_of
from common.errors import DataError


@dataclass(frozen=True)
class View:
    """One image and the view to make of it.

    Attributes:
        encoded: a JPEG file's bytes, or its path.
        window: y, x, height and width of the part to cut out, in pixels.
        size: height and width to resize the window to, before the view's center crop.
        flipped: mirrored left to right.
    """

    encoded: bytes | Path
    window: tuple[int, int, int, int]
    size: tuple[int, int]
    flipped: bool


def in_files(views: Sequence[View], directory: Path) -> list[View]:
    """Writes every image to a file in `directory`; returns the same views of these files."""
    written = []
    for number, view in enumerate(views):
        path = directory / f"{number}.jpg"
        with _opened(view.encoded) as file:
            path.write_bytes(file.read())
        written.append(replace(view, encoded=path))
    return written


def make(view: View, image_size: int) -> np.ndarray:
    """Returns a view: uint8 [image_size, image_size, 3]."""
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
    """A context with processes that make `views` again and again, each from another start."""

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

    def run(self, secs: float) -> Speed:
        """Lets all processes work for about `secs` at the same time; returns their joint speed.

        Raises:
            DataError: a process has ended, because Pillow cannot read an image.
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
    with contextlib.suppress(EOFError):  # the parent has closed the pipe
        while True:
            secs = connection.recv()
            num_views, started, before = 0, time.perf_counter(), time.process_time()
            while (seconds := time.perf_counter() - started) < secs:
                batch = [make(view, image_size) for view in itertools.islice(endless, batch_size)]
                num_views += len(np.stack(batch))
            connection.send(speed_of(num_views, seconds, time.process_time() - before))
