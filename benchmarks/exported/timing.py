"""One exported file in its own runtime: what the process of `benchmarks.latency` does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.version import installed
from inference.artifacts import TFLITE, backend_of, runtime

_KIB = 1024


@dataclass(frozen=True)
class Timing:
    """Some runs of one file, one image each.

    Attributes:
        runtime: Its name and version.
        input: The type and shape of the image.
        seconds: Of each run.
        peak_bytes: The largest memory of the process so far, above that of the bare runtime.
    """

    runtime: str
    input: str
    seconds: tuple[float, ...]
    peak_bytes: int


def make(path: Path, threads: int, image_size: int | None, warmup: int) -> Callable[[], Timing]:
    """Opens a file, runs it `warmup` times, and returns a function that times the next run.

    Only the runtime's own call is timed: the image lies ready in the input's type.
    """
    start = _start_tflite if backend_of(path) == TFLITE else _start_onnx
    before: list[int] = []
    name, about, run = start(path, threads, image_size, lambda: before.append(_reset_peak()))
    for _ in range(warmup):
        run()

    def timing() -> Timing:
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
        return Timing(name, about, (seconds,), _peak_bytes() - before[0])

    return timing


def _start_tflite(
    path: Path, threads: int, image_size: int | None, on_runtime: Callable[[], None]
) -> tuple[str, str, Callable[[], Any]]:
    litert = runtime("ai_edge_litert.interpreter", "ai-edge-litert")
    on_runtime()
    interpreter = litert.Interpreter(str(path), num_threads=threads)
    details = interpreter.get_input_details()[0]
    shape = _shape(path, details["shape_signature"], image_size)
    if tuple(details["shape"]) != shape:
        interpreter.resize_tensor_input(details["index"], shape)
    interpreter.allocate_tensors()
    image = _noise(shape, np.dtype(details["dtype"]))
    interpreter.set_tensor(details["index"], image)
    return f"LiteRT {installed('ai-edge-litert')}", _about(image), interpreter.invoke


def _start_onnx(
    path: Path, threads: int, image_size: int | None, on_runtime: Callable[[], None]
) -> tuple[str, str, Callable[[], Any]]:
    onnxruntime = runtime("onnxruntime", "onnxruntime")
    on_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    dtype = np.dtype("float32" if given.type == "tensor(float)" else given.type[7:-1])
    image = _noise(_shape(path, given.shape, image_size), dtype)
    feed = {given.name: image}
    name = f"onnxruntime {installed('onnxruntime')}"
    return name, _about(image), lambda: session.run(None, feed)


def _shape(path: Path, declared: Any, image_size: int | None) -> tuple[int, ...]:
    """Returns the shape of one image; free sides (-1, or a name) become `image_size`."""
    sides = [side if isinstance(side, int | np.integer) and side > 0 else None for side in declared]
    if len(sides) != 4:
        raise DataError(f"{path} takes no images: its input has the shape {list(declared)}")
    if None in sides[1:] and image_size is None:
        raise DataError(f"{path} takes images of any size: give --image_size")
    return (int(sides[0] or 1), *(int(side or image_size or 0) for side in sides[1:]))


def _noise(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    random = np.random.default_rng(1)
    if dtype.kind == "f":
        return random.uniform(0, 255, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def _about(image: np.ndarray) -> str:
    return f"{image.dtype} {'x'.join(map(str, image.shape))}"


def _reset_peak() -> int:
    """Sets the process' peak of memory to what it uses now, and returns that."""
    with contextlib.suppress(OSError):  # without it, the peak of the imports counts, too
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS:")


def _peak_bytes() -> int:
    return _status_bytes("VmHWM:")


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith(key))
