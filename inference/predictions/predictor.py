"""Answers a part of a data set: reads its images, makes their views, asks the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmark_cnn.params.output_params import NUM_VIEWS
from common import process
from common.errors import DataError, NonFiniteError, RunError
from inference.network import Choice, Network, open_network
from inference.predictions.sources.dataset import Image, PixelRule, encoded
from inference.predictions.table import Rows
from preprocessing.images import photos

_VIEWS_PER_BATCH = 32
_BATCHES_AHEAD = 2
_MOST_LETTERS = 300  # of the message of a runtime


@dataclass(frozen=True)
class Task:
    """How every image of a data set is answered.

    Equal tasks give equal answers, bit by bit where as many threads compute.

    Attributes:
        tta: see `tta`; None for the network's own view.
        top: number of classes in an answer.
        competing: the network's classes that compete, sorted; None for all.
        rule: of the data set.
    """

    choice: Choice
    tta: str | None
    top: int
    competing: tuple[int, ...] | None
    rule: PixelRule | None

    @property
    def batch_size(self) -> int:
        """The number of images that the network sees at once, whatever the number of processes."""
        return max(1, _VIEWS_PER_BATCH // NUM_VIEWS.get(self.tta or "", 1))


class Answer(NamedTuple):
    """The answers to a part, and a line for each image that could not be read."""

    rows: Rows
    unreadable: tuple[str, ...]


class Predictor:
    """A network that answers parts of a data set; a context that holds the threads of reading."""

    def __init__(self, task: Task, num_threads: int, network: Network | None = None):
        """Opens the network, unless it is given.

        Args:
            num_threads: that read images; TFLite and ONNX compute with as many.
        """
        self._task = task
        self.network = network or open_network(task.choice, num_threads)
        self._view = _view_maker(task, self.network)
        self._num_threads = num_threads
        self._threads = ThreadPoolExecutor(num_threads)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_) -> None:
        self._threads.shutdown(cancel_futures=True)

    def answer(
        self,
        first: int,
        images: Sequence[Image],
        on_batch: Callable[[int], None] = lambda number: None,
    ) -> Answer:
        """Answers consecutive images.

        Args:
            first: the position of the first one in the data set.
            on_batch: called with the number of images after each batch.

        Raises:
            NonFiniteError: the network gives a value that is not finite.
            RunError: the network fails.
        """
        names, classes, probabilities, unreadable = [], [], [], []
        for batch in self._batches(first, images):
            good = [(name, views) for name, views in batch if not isinstance(views, DataError)]
            unreadable += [str(error) for _, error in batch if isinstance(error, DataError)]
            if good:
                answers = self._probabilities([views for _, views in good], good[0][0])
                best = np.argsort(-answers, axis=1, kind="stable")[:, : self._task.top]
                probabilities.append(np.take_along_axis(answers, best, axis=1))
                classes.append(self._numbers(best))
                names += [name for name, _ in good]
            on_batch(len(batch))
        rows = Rows(
            np.array(names, np.str_),
            np.concatenate(classes or [np.zeros([0, self._task.top], np.int32)]),
            np.concatenate(probabilities or [np.zeros([0, self._task.top], np.float32)]),
        )
        return Answer(rows, tuple(unreadable))

    def _batches(
        self, first: int, images: Sequence[Image]
    ) -> Iterator[list[tuple[str, np.ndarray | DataError]]]:
        """Yields the views of each batch; the next ones are read while the network computes."""
        size = self._task.batch_size
        ahead = _BATCHES_AHEAD * size
        waiting: list[Future] = []
        remaining = enumerate(images, start=first)

        def fill() -> None:
            while len(waiting) < ahead and (item := next(remaining, None)) is not None:
                waiting.append(self._threads.submit(self._read, *item))

        fill()
        while waiting:
            batch = [future.result() for future in waiting[:size]]
            del waiting[:size]
            fill()
            yield batch

    def _read(self, position: int, image: Image) -> tuple[str, np.ndarray | DataError]:
        try:
            content = encoded(image, self._task.rule)
            with photos.naming(image.name):
                return image.name, self._view(content, position)
        except DataError as error:
            return image.name, error

    def _probabilities(self, views: list[np.ndarray], first_name: str) -> np.ndarray:
        """Returns float32 [B, classes that compete], the mean over the views of each image."""
        name = self.network.signature.model
        num_views = len(views[0])
        try:
            answers = self.network.classifier.probabilities(np.concatenate(views))
        except (RunError, KeyboardInterrupt):
            raise
        # Each runtime has its own errors, some of which derive from Exception alone.
        except Exception as error:
            reason = " ".join(str(error).split())[:_MOST_LETTERS] or type(error).__name__
            raise RunError(
                f"{name} fails on the batch that begins with {first_name}: {reason}"
            ) from error
        if not np.isfinite(answers).all():
            raise NonFiniteError(
                f"{name} gives a value that is not finite in the batch that begins with "
                f"{first_name}"
            )
        if self._task.competing is not None:
            answers = answers[:, list(self._task.competing)]
            total = answers.sum(axis=1, keepdims=True)
            answers = np.divide(answers, total, out=np.zeros_like(answers), where=total > 0)
        return answers.reshape(len(views), num_views, -1).mean(axis=1, dtype=np.float32)

    def _numbers(self, best: np.ndarray) -> np.ndarray:
        """Returns the network's numbers of classes that are numbered among those that compete."""
        competing = self._task.competing
        return (best if competing is None else np.array(competing)[best]).astype(np.int32)


def _view_maker(task: Task, network: Network) -> Callable[[bytes, int], np.ndarray]:
    """Returns a function from the bytes of an image and its position to float32 [V, S, S, 3]."""
    process.start_tensorflow()  # LiteRT and ONNX Runtime have not done so
    import tensorflow as tf

    from preprocessing.images.tta import views

    size = network.classifier.image_size
    function = tf.function(
        views(task.tta, size, network.signature.view.maker(size)),
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)],
        autograph=False,
    )

    def make(content: bytes, position: int) -> np.ndarray:
        # On the CPU, even where the network computes on a GPU.
        with tf.device("/CPU:0"):
            return function(tf.constant(content), tf.constant(position, tf.int64)).numpy()

    return make
