"""Which files an export writes, and whether they can be written where they are wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from common.errors import UsageError
from common.files import why_no_directory

FLOAT32, FLOAT16, DYNAMIC, INT8 = "none", "float16", "dynamic", "int8"
QUANTIZATIONS = (FLOAT32, FLOAT16, DYNAMIC, INT8)
TYPES = ("uint8", "int8", "float32")
DEFAULT_CALIBRATION_IMAGES = 500
_TFLITE_SUFFIX, _ONNX_SUFFIX, _REPORT_SUFFIX = ".tflite", ".onnx", ".csv"
_FOR_TFLITE = ("ai_edge_litert",)
_FOR_ONNX = ("tf2onnx", "onnx", "onnxruntime")
_FILE_SUFFIXES = (_TFLITE_SUFFIX, _ONNX_SUFFIX, ".pb", ".h5", ".keras")
_OF_A_SAVED_MODEL = frozenset(
    ("assets", "assets.extra", "variables", "saved_model.pb", "fingerprint.pb", "keras_metadata.pb")
)


@dataclass(frozen=True)
class Plan:
    """The files to write, and their properties.

    Attributes:
        saved_model_dir: None for no SavedModel; likewise `tflite` and `onnx`.
        logits: Whether the files return logits instead of probabilities.
        batch_size: None for any number of images, which a TFLite file makes 1.
        quantize: Of the TFLite file, one of QUANTIZATIONS, as all that follow.
        check_images: A directory of photos; None for images found by `exporters.check`.
        max_difference: To the network's outputs; None for that of the format.
        calibration_data: None for the training images of the run.
        report: Where the error of each layer is written.
        float_layers: Matches the names of layers that compute in float.
    """

    saved_model_dir: Path | None = None
    tflite: Path | None = None
    onnx: Path | None = None
    logits: bool = False
    batch_size: int | None = None
    quantize: str = FLOAT32
    check_images: Path | None = None
    max_difference: float | None = None
    calibration_data: Path | None = None
    calibration_images: int = DEFAULT_CALIBRATION_IMAGES
    input_type: str = "uint8"
    output_type: str = "uint8"
    report: Path | None = None
    float_layers: str | None = None

    def check(self) -> None:
        """Checks that something is written, under names that fit and are free.

        Raises:
            UsageError: Otherwise, or a library is missing.
        """
        if not (self.saved_model_dir or self.tflite or self.onnx):
            raise UsageError(
                "give an output: --output_tflite=FILE, --output_onnx=FILE or "
                "--output_saved_model_dir=DIR"
            )
        _check_file("--output_tflite", self.tflite, _TFLITE_SUFFIX)
        _check_file("--output_onnx", self.onnx, _ONNX_SUFFIX)
        _check_file("--report", self.report, _REPORT_SUFFIX)
        if self.saved_model_dir is not None:
            _check_directory(self.saved_model_dir)
            files = {"output_tflite": self.tflite, "output_onnx": self.onnx, "report": self.report}
            for flag, path in files.items():
                _check_outside(f"--{flag}={path}", path, self.saved_model_dir)
        _check_libraries(_FOR_TFLITE if self.tflite else (), _FOR_ONNX if self.onnx else ())


def _check_libraries(*needed: Sequence[str]) -> None:
    """Refuses a format before any work if a library of the extra `export` is not installed."""
    missing = [name for names in needed for name in names if util.find_spec(name) is None]
    if missing:
        packages = [name.replace("_", "-") for name in missing]
        raise UsageError(
            f"not installed: {', '.join(packages)}. Run: pip install {' '.join(packages)}"
        )


def _check_file(flag: str, path: Path | None, suffix: str) -> None:
    if path is None:
        return
    if path.suffix != suffix:
        raise UsageError(f"{flag}={path}: a name that ends in {suffix} is needed")
    if path.is_dir():
        raise UsageError(f"{flag}={path} is a directory: give a file")


def _check_outside(flag: str, path: Path | None, directory: Path) -> None:
    """Refuses a file that the SavedModel, which replaces its directory, would remove."""
    if path is not None and Path(os.path.realpath(directory)) in path.resolve().parents:
        raise UsageError(
            f"{flag} is in --output_saved_model_dir={directory}, which holds nothing but the "
            "SavedModel: give another directory"
        )


def _check_directory(path: Path) -> None:
    """Refuses a directory that holds anything but a SavedModel, which would be replaced."""
    flag = f"--output_saved_model_dir={path}"
    if path.suffix in _FILE_SUFFIXES:
        raise UsageError(f"{flag}: a SavedModel is a directory; a name without a suffix is needed")
    if not path.exists():
        if path.is_symlink():
            raise UsageError(f"{flag} {why_no_directory(path)}: give a directory, or remove it")
        return
    if not path.is_dir():
        raise UsageError(f"{flag} is a file: give a directory")
    if path.resolve() == Path.cwd():
        raise UsageError(f"{flag} is the working directory: give one that can be replaced")
    held = set(os.listdir(path))
    if held and (held - _OF_A_SAVED_MODEL or "saved_model.pb" not in held):
        raise UsageError(f"{flag} holds other files than a SavedModel: give a new directory")
