"""One loader of photos for training: a program that `first_step` starts, ours or a peer's.

    python benchmarks/own_photos/loaders.py NAME DIR IMAGE_SIZE BATCH_SIZE EPOCHS NUM_WORKERS

It reads all photos of DIR/CLASS for some epochs, in random order, each with a random resized crop
(8% to 100% of its area, 3/4 to 4/3 wide as high) and a random flip, and prints a line of JSON:
the number of images, the seconds, and the seconds of processor time, those of its own processes
included. The clock starts when the libraries are imported. The peers' part runs without this
project's libraries.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_SHUFFLED = 1000  # images, as in Keras' tutorials
_AREA, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


class Task(NamedTuple):
    """What a loader does.

    Attributes:
        num_workers: processes of a peer's loader; 0 reads in its own. Ours and Keras' have threads.
    """

    directory: str
    image_size: int
    batch_size: int
    num_epochs: int
    num_workers: int


def main(arguments: list[str]) -> None:
    """Runs the loader that the command line names, and prints its line."""
    name, directory, *numbers = arguments
    task = Task(directory, *map(int, numbers))
    count = LOADERS[name](task)
    started, before = time.perf_counter(), _processor_secs()
    with contextlib.redirect_stdout(io.StringIO()):
        images = count()
    seconds, processor_secs = time.perf_counter() - started, _processor_secs() - before
    print(json.dumps({"images": images, "secs": seconds, "processor_secs": processor_secs}))


def _processor_secs() -> float:
    """Returns the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _ours(task: Task) -> Callable[[], int]:
    """Returns this project's loader: it converts the folder into a new cache, and reads that."""
    from common.process import start_tensorflow

    start_tensorflow()
    from benchmark_cnn.params.data_params import DataParams
    from preprocessing import datasets, registry  # noqa: F401
    from preprocessing.own_photos.photos import Path, Wishes, records_for_training

    def count() -> int:
        with tempfile.TemporaryDirectory() as directory:
            wishes = Wishes(validation_fraction=0.0, test_fraction=0.0, cache_dir=directory)
            cache = records_for_training(Path(task.directory), wishes)
            data = DataParams(data_dir=str(cache.path), train_crop="efficientnet")
            dataset = registry.open_dataset(data)
            batches = dataset.train_batches(
                batch_size=task.batch_size, image_size=task.image_size, seed=1
            )
            num_batches = dataset.num_examples("train") * task.num_epochs // task.batch_size
            return _count(batches.take(num_batches))

    return count


def _keras(task: Task, *, is_cached: bool = False) -> Callable[[], int]:
    """Returns Keras' loader, with the crop and the flip that TensorFlow has for images.

    Its images are whole photos at the size of the network already: the crop enlarges a part of one.

    Args:
        is_cached: keep these images in memory, as Keras' tutorials do.
    """
    from common.process import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def view(image, label):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image), tf.zeros([1, 0, 4]), min_object_covered=0.0, area_range=_AREA,
            aspect_ratio_range=_RATIO, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        crop = tf.image.resize(tf.slice(image, begin, size), [task.image_size] * 2)
        crop = tf.ensure_shape(crop, [task.image_size] * 2 + [3])
        return tf.image.random_flip_left_right(crop), label

    def count() -> int:
        images = tf.keras.utils.image_dataset_from_directory(
            task.directory, image_size=(task.image_size,) * 2, batch_size=None
        )
        if is_cached:
            images = images.cache().shuffle(_SHUFFLED)
        views = images.map(view, num_parallel_calls=tf.data.AUTOTUNE)
        return _count(views.batch(task.batch_size).prefetch(2).repeat(task.num_epochs))

    return count


def _torchvision(task: Task) -> Callable[[], int]:
    """Returns torchvision's ImageFolder under a DataLoader; the pixels stay bytes."""
    import torch  # pyright: ignore
    from torchvision import datasets, transforms  # pyright: ignore

    torch.set_num_threads(1)
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(task.image_size, _AREA, _RATIO, antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )

    def count() -> int:
        loader = torch.utils.data.DataLoader(
            datasets.ImageFolder(task.directory, view),
            task.batch_size,
            shuffle=True,
            num_workers=task.num_workers,
            persistent_workers=task.num_workers > 0,
        )
        return _count_epochs(loader, task.num_epochs)

    return count


def _timm(task: Task) -> Callable[[], int]:
    """Returns timm's loader without a GPU: its pixels are normalized floats."""
    import timm.data  # pyright: ignore
    import torch  # pyright: ignore

    torch.set_num_threads(1)

    def count() -> int:
        loader = timm.data.create_loader(
            timm.data.create_dataset("", task.directory, split="", is_training=True),
            task.image_size,
            task.batch_size,
            is_training=True,
            scale=_AREA,
            ratio=_RATIO,
            color_jitter=0.0,
            num_workers=task.num_workers,
            persistent_workers=task.num_workers > 0,
            use_prefetcher=False,
        )
        return _count_epochs(loader, task.num_epochs)

    return count


def _count(batches: Any) -> int:
    return sum(int(batch[0].shape[0]) for batch in batches)


def _count_epochs(loader: Any, num_epochs: int) -> int:
    """Counts the images of a loader's epochs; its processes have ended then."""

    def epochs() -> Iterator[Any]:
        for _ in range(num_epochs):
            yield from loader

    images = _count(epochs())
    end = getattr(getattr(loader, "_iterator", None), "_shutdown_workers", None)
    if end is not None:
        end()
    return images


LOADERS = {
    "ours": _ours,
    "keras": _keras,
    "keras_cached": functools.partial(_keras, is_cached=True),
    "torchvision": _torchvision,
    "timm": _timm,
}

if __name__ == "__main__":
    main(sys.argv[1:])
