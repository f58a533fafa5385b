"""Other ways to predict a folder of photos: `tf.keras` predict, and one image after the other."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.rounds import Speed, speed_of

_TOP = 5
_KERAS_BATCH = 32


def make_ours(arguments: list[str], num_images: int, output: Path) -> Callable[[], Speed]:
    """Returns a run of prediction.py with these arguments, which opens its network every time."""
    import prediction

    def run() -> None:
        shutil.rmtree(output, ignore_errors=True)
        with redirect_stdout(io.StringIO()):
            code = prediction.main([*arguments, f"--output_dir={output}"])
        if code != 0:
            raise RuntimeError(f"prediction.py ended with exit code {code}")

    return _timed(run, num_images)


def make_keras(model: str, images: Path, num_images: int) -> Callable[[], Speed]:
    """Returns `predict` of the same network as a Keras model, on Keras' own reader of folders.

    The images are resized whole, and nothing is written: both in the baseline's favor.
    """
    import keras

    from models import registry

    spec = registry.get(model)
    size = spec.image_size
    network = spec.build(num_classes=1000, image_size=size).keras_model

    def run() -> None:
        batches = keras.utils.image_dataset_from_directory(
            str(images),
            labels=cast(str, None),  # no labels; its annotation does not say so
            shuffle=False,
            image_size=(size, size),
            batch_size=_KERAS_BATCH,
            verbose=False,
        )
        logits = network.predict(batches, verbose=0)
        assert len(np.argsort(-logits, axis=1)[:, :_TOP]) == num_images

    return _timed(run, num_images)


def make_one_by_one(
    file: Path, threads: int | None, images: Path, num_images: int, output: Path
) -> Callable[[], Speed]:
    """Returns the way of ailia-models-measurement: a loop of batch 1, and a text file an image.

    Args:
        threads: of TFLite; None for its default, which that tool leaves.
    """
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    height, width = given["shape"][1:3]

    def run() -> None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        paths = sorted(images.rglob("*.jpg"))
        for path in paths:
            photo = (
                Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            )
            interpreter.set_tensor(given["index"], np.asarray(photo, np.float32)[np.newaxis])
            interpreter.invoke()
            answer = interpreter.get_tensor(result["index"])[0]
            best = np.argsort(-answer)[:_TOP]
            lines = [f"class_{k} {k} {answer[k]:f}\n" for k in best]
            (output / f"{path.stem}.txt").write_text("".join(lines))
        assert len(paths) == num_images

    return _timed(run, num_images)


def _timed(run: Callable[[], None], num_images: int) -> Callable[[], Speed]:
    def timed() -> Speed:
        started, before = time.perf_counter(), time.process_time()
        run()
        return speed_of(num_images, time.perf_counter() - started, time.process_time() - before)

    return timed
