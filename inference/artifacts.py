"""Opens exported files in their own runtimes: SavedModel, TFLite (LiteRT) and ONNX."""

from __future__ import annotations

import importlib
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError, UsageError
from inference import signature as signatures
from inference.signature import LOGITS, Signature

SAVED_MODEL, TFLITE, ONNX = "saved_model", "tflite", "onnx"
BACKENDS = (SAVED_MODEL, TFLITE, ONNX)
_TFLITE_MAGIC = b"TFL3"
_OUTPUTS_RANK = 2
# Of several outputs of a foreign file, the one with such a name is the classifier's.
_PROBABILITIES = ("probabilities", "probability", "predictions", "softmax", "prob")
_SLACK = 1e-2  # of a probability in 8 bits
_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class Artifact:
    """A network in an exported file, with the interface of a `Classifier`.

    Attributes:
        path: Of the file, or of the directory of a SavedModel.
        backend: One of BACKENDS.
        signature: What the file says about itself; None in a foreign file.
        image_size: In pixels.
        num_classes: Number of outputs.
        batch_size: The one the file is made for; None if it takes any.
    """

    def __init__(
        self,
        path: Path,
        backend: str,
        signature: Signature | None,
        run: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int | None, int],
    ):
        """Takes a function from pixels [B, S, S, 3] to outputs [B, K], and (B or None, S)."""
        self.path, self.backend, self.signature = path, backend, signature
        self.batch_size, self.image_size = shape
        self._run = run
        try:
            found = self.outputs(np.zeros([1, self.image_size, self.image_size, 3], np.float32))
        # Each runtime has its own errors, some of which derive from Exception alone.
        except Exception as error:
            raise _damaged(path, error, "run") from error
        if found.ndim != _OUTPUTS_RANK:
            raise DataError(
                f"{path} returns values of shape {list(found.shape)} for one image; a classifier "
                "returns [1, classes]"
            )
        self.num_classes = found.shape[1]

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Returns what the file computes, float32 [B, K], for images [B, S, S, 3] in 0..255."""
        if self.batch_size is None:
            return self._run(images)
        rows = []
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            missing = self.batch_size - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            rows.append(self._run(padded)[: len(part)])
        return np.concatenate(rows)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities, float32 [B, K], for images [B, S, S, 3], RGB in 0..255.

        Raises:
            DataError: A foreign file returns something else. Values that are not finite stay.
        """
        outputs = self.outputs(images)
        if self.signature is None:
            _check_probabilities(outputs, self.path)
        if self.signature is None or self.signature.output != LOGITS:
            return outputs
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def backend_of(path: str | os.PathLike[str]) -> str | None:
    """Returns the backend for a file or directory, by its content; None if it has none."""
    path = Path(path)
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").exists() else None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(8)[4:] == _TFLITE_MAGIC:
            return TFLITE
    return ONNX if path.suffix == ".onnx" else None


def open_artifact(path: str | os.PathLike[str], num_threads: int | None = None) -> Artifact:
    """Opens an exported file.

    Args:
        path: A .tflite or .onnx file, or the directory of a SavedModel.
        num_threads: Of TFLite and ONNX; None for the runtime's default.

    Raises:
        DataError: The file is missing, damaged, or of no known format.
        UsageError: Its runtime is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    backend = backend_of(path)
    if backend is None:
        raise DataError(f"{path} is not a SavedModel, a TFLite file or an .onnx file")
    opener = {SAVED_MODEL: _saved_model, TFLITE: _tflite, ONNX: _onnx}[backend]
    return opener(path, num_threads)


def _tflite(path: Path, num_threads: int | None) -> Artifact:
    litert = runtime("ai_edge_litert.interpreter", "ai-edge-litert")
    try:
        interpreter = litert.Interpreter(str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    given = _only_input(path, interpreter.get_input_details())
    results = {details["name"]: details for details in interpreter.get_output_details()}
    result = results[_output(path, list(results))]

    def run(images: np.ndarray) -> np.ndarray:
        if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
            interpreter.resize_tensor_input(given["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], _quantized(images, given))
        interpreter.invoke()
        return _dequantized(interpreter.get_tensor(result["index"]), result)

    free = given["shape_signature"][0] == -1
    shape = (None if free else int(given["shape"][0]), _side(path, given["shape_signature"]))
    return Artifact(path, TFLITE, _signature_in_zip(path), run, shape)


def _quantized(images: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Returns images as the input's type: value = scale * (quantized - zero_point)."""
    scale, zero_point = details["quantization"]
    # Without quantization the scale is 0, and the values stand for themselves.
    return _cast(images / (scale or 1.0) + zero_point, details["dtype"])


def _cast(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Returns values as another type; integers are rounded and clipped."""
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def _dequantized(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale or 1.0)


def _signature_in_zip(path: Path) -> Signature | None:
    """Returns the signature in a TFLite file, whose associated files are a zip at its end.

    Raises:
        DataError: There was one, and it cannot be read: how to see an image is not known.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return signatures.from_json(archive.read(signatures.FILE_NAME), str(path))
    except KeyError:
        return None
    # Damage of a zip has many errors; names of the files in it are in the metadata, too.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        if signatures.FILE_NAME.encode() not in path.read_bytes():
            return None
        raise DataError(
            f"{path} is damaged: its {signatures.FILE_NAME} cannot be read ({error}): copy or "
            "export it again"
        ) from error


def _onnx(path: Path, num_threads: int | None) -> Artifact:
    onnxruntime = runtime("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    # Its exceptions derive from Exception alone.
    except Exception as error:
        raise _damaged(path, error) from error
    given = _only_input(path, session.get_inputs())
    dtype = _ONNX_TYPES.get(given.type)
    if dtype is None:
        raise DataError(f"{path} takes {given.type}, no image")
    output = _output(path, [result.name for result in session.get_outputs()])
    properties = session.get_modelmeta().custom_metadata_map
    text = properties.get(signatures.PROPERTY)
    signature = None if text is None else signatures.from_json(text, str(path))

    def run(images: np.ndarray) -> np.ndarray:
        return session.run([output], {given.name: _cast(images, dtype)})[0].astype(np.float32)

    batch_size = given.shape[0] if isinstance(given.shape[0], int) else None
    return Artifact(path, ONNX, signature, run, (batch_size, _side(path, given.shape)))


def _saved_model(path: Path, num_threads: int | None) -> Artifact:
    del num_threads  # TensorFlow's threads belong to the process.
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
    # Any of TensorFlow's errors, and those of protobuf.
    except Exception as error:
        raise _damaged(path, error) from error
    serve = model.signatures.get("serving_default")
    if serve is None:
        raise DataError(f"{path} has no signature serving_default")
    name, spec = _only_input(path, list(serve.structured_input_signature[1].items()))
    side = _side(path, spec.shape)
    extra = path / signatures.EXTRAS / signatures.FILE_NAME
    signature = signatures.from_json(extra.read_bytes(), str(path)) if extra.exists() else None
    output = _output(path, list(serve.structured_outputs))

    def run(images: np.ndarray) -> np.ndarray:
        results = serve(**{name: tf.constant(_cast(images, spec.dtype.as_numpy_dtype))})
        return results[output].numpy().astype(np.float32)

    # `serve` belongs to the model, which must live as long as it.
    run.model = model  # pyright: ignore[reportFunctionMemberAccess]
    return Artifact(path, SAVED_MODEL, signature, run, (spec.shape[0], side))


def _only_input(path: Path, inputs: Sequence[Any]) -> Any:
    if len(inputs) != 1:
        raise DataError(f"{path} has {len(inputs)} inputs; a classifier has one, the image")
    return inputs[0]


def _output(path: Path, names: Sequence[str]) -> str:
    """Returns the name of the only output, or of the one that has probabilities by its name."""
    likely = [name for name in names if name.lower() in _PROBABILITIES]
    if len(names) == 1 or len(likely) == 1:
        return (likely or names)[0]
    raise DataError(
        f"{path} has {len(names)} outputs ({', '.join(names)}); a classifier has one, or one of "
        "them has the name probabilities"
    )


def _check_probabilities(outputs: np.ndarray, path: Path) -> None:
    finite = outputs[np.isfinite(outputs)]
    wrong = finite[(finite < -_SLACK) | (finite > 1 + _SLACK)]
    if wrong.size:
        raise DataError(
            f"{path} returns no probabilities, but values like {wrong[0]:.4g}: write it with a "
            "softmax at its end"
        )


def _side(path: Path, shape) -> int:
    """Returns the side of the input in pixels."""
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or not _is_size(shape[1]):
        raise DataError(f"{path} has inputs of shape {list(shape)}, not [B, size, size, 3]")
    return int(shape[1])


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) > 0


def runtime(module: str, package: str) -> Any:
    """Imports the runtime of a format; raises UsageError if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{package} is not installed: pip install {package}") from error


def _damaged(path: Path, error: Exception, what: str = "opened") -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{path} cannot be {what}: {reason}")
