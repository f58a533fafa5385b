"""TFLite files, for LiteRT on Android, iOS, the web and Linux boards."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from common.errors import UsageError
from exporters.plan import FLOAT16, FLOAT32
from exporters.servable import Servable


def convert(servable: Servable, quantize: str = FLOAT32) -> bytes:
    """Returns the content of a TFLite file; `exporters.int8` makes those of int8.

    Args:
        servable: With a fixed batch; a free one keeps phones from planning memory.
        quantize: Another of plan.QUANTIZATIONS. float16 and dynamic (int8 weights, float32
            activations) store smaller weights.

    Raises:
        UsageError: The network has an operation that TFLite lacks.
    """
    made = converter(servable)
    if quantize != FLOAT32:
        made.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == FLOAT16:
        made.target_spec.supported_types = [tf.float16]
    return converted(made, servable)


def converted(made: Any, servable: Servable) -> bytes:
    """Returns what the converter `made` makes; raises UsageError as `convert`."""
    try:
        with quiet():
            return made.convert()
    # The converter's own error is not part of its interface.
    except Exception as error:
        if type(error).__name__ != "ConverterError":
            raise
        model, reason = servable.signature.model, _reason(error)
        raise UsageError(f"{model} cannot become a TFLite file: {reason}") from error


def converter(servable: Servable) -> Any:
    """Returns TensorFlow's converter; the file will name its input and output."""
    return tf.lite.TFLiteConverter.from_concrete_functions([servable.function], servable.module())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TensorFlow's notes on its own deprecations and on files that it writes between."""
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[0] if lines else "")
