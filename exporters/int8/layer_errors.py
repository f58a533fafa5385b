"""Measures what 8 bits cost each layer.

Each layer runs twice on equal inputs, those that the quantized layers before it computed: in 8 bits
and in float. The difference is the layer's own error, not one that it was handed.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporters.int8 import quantizer
from exporters.int8.calibration import ImageSet
from exporters.tflite import quiet

NUM_IMAGES = 50
_COLUMNS = ("layer", "operation", "relative_error", "error_in_steps", "largest_error", "step")
# The error of rounding alone is evenly spread over one step.
ROUNDING = 1 / math.sqrt(12)
# What rounding and 8-bit weights leave is below this multiple of it.
_CUT_OFF = 4


@dataclass(frozen=True)
class LayerError:
    """What 8 bits cost one layer.

    Attributes:
        layer: Its name in the file.
        operation: In capitals: "CONV_2D".
        relative_error: The root mean square of the error over that of the layer's values.
        error_in_steps: The root mean square of the error over the step. Rounding alone makes it
            ROUNDING.
        largest_error: Of one value.
        step: From one 8-bit value to the next. It is the calibrated range over 255.
    """

    layer: str
    operation: str
    relative_error: float
    error_in_steps: float
    largest_error: float
    step: float

    @property
    def is_cut_off(self) -> bool:
        """Whether most of the error is of values beyond the calibrated range."""
        return self.error_in_steps > _CUT_OFF * ROUNDING

    def __str__(self) -> str:
        reason = ", values beyond the calibrated range" if self.is_cut_off else ""
        return f"{100 * self.relative_error:.1f}%{reason}: {self.layer.split(';')[0]}"


def layer_errors(
    calibrated: bytes, images: ImageSet, float_layers: Sequence[str] = (), batch_size: int = 1
) -> list[LayerError]:
    """Returns the error of each layer that computes in 8 bits, the largest relative error first.

    Images that calibrated cannot show what calibration missed: others tell more.

    Args:
        calibrated: Of `quantizer.calibrate`.
        images: The first NUM_IMAGES are used.
        float_layers: Names of layers that compute in float.
        batch_size: Of the file.
    """
    from tensorflow import lite

    # Of the debugger's runtime, whose successor has no debugger.
    warnings.filterwarnings("ignore", module="tensorflow.lite.python.interpreter")
    some = images.first(NUM_IMAGES)
    metrics = {"signal": _mean_square_of_float, "noise": _mean_square_of_error}
    options = lite.experimental.QuantizationDebugOptions(layer_direct_compare_metrics=metrics)
    with quiet():
        debugger = lite.experimental.QuantizationDebugger(
            quant_debug_model_content=quantizer.with_float_twins(calibrated, float_layers),
            debug_dataset=lambda: some.representative(batch_size),
            debug_options=options,
        )
        debugger.run()
        table = io.StringIO()
        debugger.layer_statistics_dump(table)
    rows = csv.DictReader(io.StringIO(table.getvalue()))
    return sorted(map(_layer_error, rows), key=lambda error: -error.relative_error)


def table(errors: Sequence[LayerError]) -> str:
    """Returns the report as CSV, one line for each layer in the given order."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for error in errors:
        values = (getattr(error, column) for column in _COLUMNS)
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return stream.getvalue()


def _layer_error(row: dict[str, Any]) -> LayerError:
    signal, noise, step = (float(row[name]) for name in ("signal", "noise", "scale"))
    return LayerError(
        layer=row["tensor_name"],
        operation=row["op_name"],
        # A layer whose values are all zero has no error either.
        relative_error=math.sqrt(noise / signal) if signal else 0.0,
        error_in_steps=math.sqrt(noise) / step,
        largest_error=float(row["max_abs_error"]),
        step=step,
    )


def _mean_square_of_float(
    values: np.ndarray, quantized: np.ndarray, step: float, zero: int
) -> float:
    del quantized, step, zero
    return float(np.mean(np.square(values, dtype=np.float64)))


def _mean_square_of_error(
    values: np.ndarray, quantized: np.ndarray, step: float, zero: int
) -> float:
    restored = step * (quantized.astype(np.float64) - zero)
    return float(np.mean(np.square(values - restored)))
