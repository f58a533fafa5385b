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
from common.errors import DataError
from common.paths import one_line
from download_and_convert_imagenet.sources.folders.tree import counted
from download_and_convert_imagenet.sources.image_source import LeftOut

if TYPE_CHECKING:
    from inference.network import Network

_BATCH_SIZE = 16


def classify(
    network: Network, paths: Sequence[Path], top: int, tta: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yields `image` and `predictions` (best first), or `error`, of each photo in order.

    Args:
        tta: the views of a photo, see predictions.tta; None for the network's own.
    """
    from preprocessing.images import photos

    left_out: list[LeftOut] = []
    files = photos.find(paths, left_out)
    if left_out:
        reasons = counted(Counter(entry.reason for entry in left_out))
        print(f"not used: {reasons}", file=sys.stderr, flush=True)
    for start in range(0, len(files), _BATCH_SIZE):
        yield from _classify_batch(network, files[start : start + _BATCH_SIZE], top, tta)


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
    for rank, prediction in enumerate(answer["predictions"]):
        percent = 100 * prediction["probability"]
        print(f"  -> top_{rank} ({percent:.2f}%): {prediction['label']}  ", flush=True)


def _classify_batch(
    network: Network, files: Sequence[Path], top: int, tta: str | None
) -> list[dict[str, Any]]:
    import numpy as np

    process.start_tensorflow()  # LiteRT and ONNX Runtime have not done so
    import tensorflow as tf

    from inference.predictions.tta import views
    from preprocessing.images import photos

    make_views = views(tta, network.classifier.image_size, network.signature.view)
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
    names = network.signature.class_names
    for answer in answers:
        if "error" not in answer:
            row = next(rows)
            best = np.argsort(-row, kind="stable")[:top]
            answer["predictions"] = [
                {"class": int(k), "label": names[k], "probability": float(row[k])} for k in best
            ]
    return answers
