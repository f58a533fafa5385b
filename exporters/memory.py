"""Refuses an export that needs more memory than is free, before the kernel ends it silently."""

from __future__ import annotations

from common import process
from common.errors import UsageError
from exporters.plan import INT8, Plan
from inference.artifacts import ONNX, SAVED_MODEL, TFLITE

# Bytes for each byte of weights, besides the network itself; measured with VGG-A, 515 MB of weights
# (4.1, 11.1 and 0.8), and with one dense layer (6.0, 9.4 and 0.1; 9.0 in int8).
_FACTORS = {TFLITE: 7, ONNX: 12, SAVED_MODEL: 2}
_INT8_FACTOR = 10


def check(model: str, num_weights: int, plan: Plan) -> None:
    """Compares what the conversions need with what is free.

    Raises:
        UsageError: It is more.
    """
    available = process.available_memory_bytes()
    if available is None:
        return
    weight_bytes = 4 * num_weights
    paths = {TFLITE: plan.tflite, ONNX: plan.onnx, SAVED_MODEL: plan.saved_model_dir}
    needed = {backend: factor * weight_bytes for backend, factor in _FACTORS.items()}
    if plan.quantize == INT8:
        needed[TFLITE] = _INT8_FACTOR * weight_bytes
    too_large = [name for name, path in paths.items() if path and needed[name] > available]
    if not too_large:
        return
    fitting = [_flag(name) for name in needed if needed[name] <= available]
    advice = "; there is enough for " + " and ".join(fitting) if fitting else ""
    most = max(too_large, key=needed.__getitem__)
    raise UsageError(
        f"{_flag(most)} of {model} needs {needed[most] / 2**30:.1f} GiB of memory, and "
        f"{available / 2**30:.1f} GiB are free: end other programs{advice}"
    )


def _flag(backend: str) -> str:
    """Returns the flag that asks for the format."""
    return "--output_saved_model_dir" if backend == SAVED_MODEL else f"--output_{backend}"
