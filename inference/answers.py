"""Classifies photos and prints their classes, in the published form or as JSON."""

from __future__ import annotations

import codecs
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import process
from common.errors import DataError, UsageError
from common.paths import one_line
from download_and_convert_imagenet.sources.folders.tree import counted
from download_and_convert_imagenet.sources.image_source import LeftOut
from inference.predictions.table import DEFAULT_TOP
from inference.signature import INDEPENDENT

if TYPE_CHECKING:
    import numpy as np

    from inference.network import Network

_BATCH_SIZE = 16
DEFAULT_THRESHOLD = 0.5


def classify(
    network: Network,
    paths: Sequence[Path],
    top: int | None,
    tta: str | None = None,
    threshold: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields `image` and `predictions` (best first), or `error`, of each photo in order.

    Args:
        top: the most predictions of a photo; None for 5, or for all above the threshold.
        tta: the views of a photo, see preprocessing.images.tta; None for the network's own.
        threshold: the least probability of a label, where a photo has several; None for 0.5.

    Raises:
        UsageError: a threshold for a network whose photos have one label.
    """
    has_several = network.signature.output == INDEPENDENT
    if threshold is not None and not has_several:
        raise UsageError(
            "--threshold has no effect on a network whose photos have one label; give --top"
        )
    if has_several:
        threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    elif top is None:
        top = DEFAULT_TOP
    from preprocessing.images import photos

    left_out: list[LeftOut] = []
    files = photos.find(paths, left_out)
    if left_out:
        reasons = counted(Counter(entry.reason for entry in left_out))
        print(f"not used: {reasons}", file=sys.stderr, flush=True)
    for start in range(0, len(files), _BATCH_SIZE):
        for answer, row in _probabilities(network, files[start : start + _BATCH_SIZE], tta):
            if row is not None:
                answer["predictions"] = _best(network, row, top, threshold)
                if threshold is not None:
                    answer["threshold"] = threshold
            yield answer


def report(answers: Iterable[dict[str, Any]], as_json: bool) -> bool:
    """Prints each answer as it comes, or all as one JSON list. Returns whether none is an error."""
    reported = []
    for answer in answers:
        reported.append(answer)
        if not as_json:
            _print(answer)
    if as_json:
        # The stream escapes what it cannot write; in JSON these escapes need not be valid.
        is_utf_8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
        print(json.dumps(reported, indent=2, ensure_ascii=not is_utf_8), flush=True)
    return not any("error" in answer for answer in reported)


def _print(answer: dict[str, Any]) -> None:
    """Prints the published lines on stdout, or the error on stderr."""
    if "error" in answer:
        print(f"error: {one_line(answer['error'])}", file=sys.stderr, flush=True)
        return
    print(f"predicted class for image {one_line(answer['image'])}: ")
    if not answer["predictions"]:
        print(f"  -> no label with a probability of {answer['threshold']:.0%} or more", flush=True)
    for rank, prediction in enumerate(answer["predictions"]):
        percent = 100 * prediction["probability"]
        print(f"  -> top_{rank} ({percent:.2f}%): {prediction['label']}  ", flush=True)


def _best(
    network: Network, row: np.ndarray, top: int | None, threshold: float | None
) -> list[dict[str, Any]]:
    """Returns the predictions of a photo, best first.

    Args:
        row: float32 [num_classes].
    """
    import numpy as np

    names = network.signature.class_names
    best = np.argsort(-row, kind="stable")[:top]
    return [
        {"class": int(k), "label": names[k], "probability": float(row[k])}
        for k in best
        if threshold is None or row[k] >= threshold
    ]


def _probabilities(
    network: Network, files: Sequence[Path], tta: str | None
) -> list[tuple[dict[str, Any], np.ndarray | None]]:
    """Returns `image` of each photo with its probabilities, or with `error` and None."""
    import numpy as np

    process.start_tensorflow()  # LiteRT and ONNX Runtime have not done so
    import tensorflow as tf

    from preprocessing.images import photos
    from preprocessing.images.tta import views

    size = network.classifier.image_size
    make_views = views(tta, size, network.signature.view.maker(size))
    answers: list[dict[str, Any]] = []
    pixels = []
    for file in files:
        answers.append({"image": str(file)})
        try:
            encoded = tf.constant(photos.load(file))
            with photos.naming(file):
                pixels.append(make_views(encoded, tf.constant(0, tf.int64)).numpy())
        except DataError as error:
            answers[-1]["error"] = str(error)
    found = network.classifier.probabilities(np.concatenate(pixels)) if pixels else np.zeros([0, 1])
    rows = iter(found.reshape(len(pixels), -1, found.shape[1]).mean(axis=1) if pixels else ())
    return [(answer, None if "error" in answer else next(rows)) for answer in answers]
