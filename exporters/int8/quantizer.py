"""Full-integer TFLite files: 8-bit weights, per channel, and 8-bit activations.

A network is calibrated once. From that, TensorFlow's quantizer makes the file, with any layers kept
in float, and the one that reports the error of each layer.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flatbuffers

from common.errors import UsageError
from exporters.servable import Servable
from exporters.tflite import converted, converter, quiet

Representative = Callable[[], Iterator[list[Any]]]
"""Yields the images of calibration, each as a list of one array float32 [B, S, S, 3] in 0..255."""

# What uint8 and int8 inputs stand for: a camera's pixel, as it is, and the pixel less 128.
_PIXEL_RANGE = (0.0, 255.0)


def calibrate(servable: Servable, representative: Representative) -> bytes:
    """Returns a float TFLite file that knows the smallest and largest value of each tensor.

    Raises:
        UsageError: The network has an operation that TFLite lacks.
    """
    import tensorflow as tf

    made = converter(servable)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = representative
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    # As tf.lite.experimental.QuantizationDebugger does it.
    made._experimental_calibrate_only = True
    return _with_pixel_range(converted(made, servable))


def quantize(
    calibrated: bytes, input_type: str, output_type: str, float_layers: Sequence[str] = ()
) -> bytes:
    """Returns the content of an INT8 file.

    Args:
        calibrated: Of `calibrate`.
        input_type, output_type: "uint8", "int8" or "float32".
        float_layers: Names of the layers, as in the error report, that compute in float.
    """
    import tensorflow as tf

    return _quantized(
        calibrated,
        input_data_type=tf.dtypes.as_dtype(input_type),
        output_data_type=tf.dtypes.as_dtype(output_type),
        denylisted_nodes=list(float_layers),
    )


def convert_rounding(servable: Servable, input_type: str, output_type: str) -> bytes:
    """Returns the content of an INT8 file of a network whose graph rounds to 8 bits.

    Raises:
        UsageError: The network has an operation that TFLite lacks.
    """
    import tensorflow as tf

    made = converter(servable)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.inference_input_type = tf.dtypes.as_dtype(input_type)
    made.inference_output_type = tf.dtypes.as_dtype(output_type)
    with _without_stderr():
        return converted(made, servable)


def with_float_twins(calibrated: bytes, float_layers: Sequence[str] = ()) -> bytes:
    """Returns a file that computes each layer twice, in 8 bits and in float, from equal inputs."""
    return _quantized(calibrated, enable_numeric_verify=True, denylisted_nodes=list(float_layers))


def layers_matching(calibrated: bytes, pattern: str) -> tuple[str, ...]:
    """Returns the layers whose names contain a match, and those that read their values.

    A layer that reads in 8 bits would round these values to the calibrated range after all.

    Raises:
        UsageError: The pattern is no regular expression, or matches no layer.
    """
    graph = _parsed(calibrated).subgraphs[0]
    names = [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]
    try:
        matches = [re.search(pattern, name) is not None for name in names]
    except re.error as error:
        raise UsageError(f"--float_layers={pattern} is no regular expression: {error}") from error
    if not any(matches):
        raise UsageError(
            f"--float_layers={pattern} matches no layer; their names are like "
            f"{names[0].split(';')[0]} (--report=FILE lists them)"
        )
    pairs = list(zip(graph.operators, matches, strict=True))
    values = {place for operator, matches in pairs if matches for place in operator.outputs}
    return tuple(
        name
        for name, (operator, matches) in zip(names, pairs, strict=True)
        if matches or values & set(operator.inputs)
    )


def float_operations(model: bytes) -> list[str]:
    """Returns the kinds of operations that compute in float, apart from conversions."""
    from ai_edge_litert import schema_py_generated as schema

    parsed = _parsed(model)
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    graph, found = parsed.subgraphs[0], []
    for operator in graph.operators:
        code = parsed.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        types = {graph.tensors[place].type for place in operator.outputs}
        if schema.TensorType.FLOAT32 in types and kind != "DEQUANTIZE":
            found.append(kind)
    return found


def _quantized(calibrated: bytes, **options: Any) -> bytes:
    from tensorflow.lite.python import convert

    quantize: Any = convert.mlir_quantize
    with quiet(), _without_stderr():
        return quantize(calibrated, **options)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Drops what the quantizer prints, its options, which no log level silences."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _with_pixel_range(calibrated: bytes) -> bytes:
    """Sets the input's range to that of pixels, whatever images calibrated.

    A uint8 input then holds pixels as they are, at scale 1: MediaPipe and most code for phones
    copy them without a look at the scale.
    """
    parsed = _parsed(calibrated)
    graph = parsed.subgraphs[0]
    statistics = graph.tensors[graph.inputs[0]].quantization
    statistics.min, statistics.max = ([value] for value in _PIXEL_RANGE)
    builder = flatbuffers.Builder(len(calibrated))
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _parsed(model: bytes) -> Any:
    """Returns a file's tables as objects, whose generated annotations are wrong."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(model, 0)
