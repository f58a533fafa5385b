"""The story of an export: freeze the network, write each file, run it, then name it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from common import commands, files
from common.errors import DataError, UsageError
from common.paths import one_line
from exporters import check, memory, onnx, saved_model, staging, tflite
from exporters.check import CheckImages, Comparison
from exporters.int8 import trained
from exporters.int8.quantized import quantize
from exporters.plan import DYNAMIC, FLOAT16, FLOAT32, INT8, Plan
from exporters.servable import servable
from exporters.tflite_metadata import LABELS_FILE, labels, with_metadata
from inference.artifacts import ONNX, SAVED_MODEL, TFLITE, open_artifact
from inference.classifier import Classifier
from inference.signature import INDEPENDENT, LOGITS, PUBLISHED
from inference.source import Source
from models.pretrained import published

# How far an output may differ from the network's: of probabilities, and of logits in units of the
# largest. Two correct runtimes add float32 numbers in another order: EfficientNet-Lite0 on 96 x 96
# pixels differs from itself by 7e-6 when it is given 1 image instead of 8. None: reported only.
_LIMITS = {FLOAT32: 1e-4, FLOAT16: 5e-3, DYNAMIC: 0.5, INT8: None}
_IN_FLOAT = (
    "it computes in float, with the weights as they are; the training was of the network in 8 bits "
    f"(--quantize={INT8})"
)
_TITLES = {SAVED_MODEL: "SavedModel", TFLITE: "TFLite file", ONNX: "ONNX file"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        backend: One of inference.artifacts.BACKENDS.
        num_bytes: Of the file, or of all files of a SavedModel.
        comparison: With the network, after it was written.
    """

    path: Path
    backend: str
    num_bytes: int
    comparison: Comparison

    def __str__(self) -> str:
        size = f"{self.num_bytes / 1e6:.1f} MB"
        path = one_line(str(self.path))
        return f"{_TITLES[self.backend]} written to {path} ({size}); it {self.comparison}"


def export(
    source: Source, plan: Plan, say: Callable[[str], object] = commands.write_line
) -> list[Exported]:
    """Writes the files of `plan`, each under its name only after it was checked.

    Args:
        say: Is given a line when a file is done.

    Raises:
        DataError: A file differs too much from the network, or cannot be written.
        UsageError: The network cannot be written in that format, or memory or a library is missing.
    """
    if source.signature.output == INDEPENDENT:
        raise UsageError(
            f"{one_line(str(source.prefix))} was trained on images of several labels: its "
            "probabilities are sigmoids, which exported files do not have yet; classify with the "
            "run itself, prediction.py --train_dir"
        )
    if plan.logits:
        signature = dataclasses.replace(source.signature, output=LOGITS)
        source = dataclasses.replace(source, signature=signature)
    variables = source.classifier.network.variables.values()
    num_weights = sum(variable.shape.num_elements() for variable in variables)
    memory.check(source.signature.model, num_weights, plan)
    images = check.images(source.signature, source.data, plan.check_images)
    outputs = {
        TFLITE: (plan.tflite, _write_tflite),
        ONNX: (plan.onnx, _write_onnx),
        SAVED_MODEL: (plan.saved_model_dir, _write_saved_model),
    }
    expected = functools.cache(
        lambda classifier: _outputs(classifier, source.signature.output, images.pixels)
    )
    done = []
    for backend, (path, write) in outputs.items():
        if path is None:
            continue
        its = source
        if source.classifier.rounds and not (backend == TFLITE and plan.quantize == INT8):
            its = dataclasses.replace(source, classifier=source.classifier.in_float)
        wanted = expected(its.classifier)
        with _errors(path), staging.staged(path) as temporary, _named(temporary, path):
            notes = [*(write(its, plan, temporary) or ()), *([] if its is source else [_IN_FLOAT])]
            found = _checked(temporary, wanted, images, plan, backend, its)
            if backend != SAVED_MODEL:
                notes = [*notes, *_write_labels(path, labels(source.signature))]
            done.append(Exported(path, backend, _size(temporary), found))
        gc.collect()  # graphs refer to each other, and each holds all weights
        say(str(done[-1]))
        for note in notes:
            say(note)
    return done


def _write_tflite(source: Source, plan: Plan, path: Path) -> list[str]:
    """Returns lines on what 8 bits cost."""
    network = servable(source.classifier, source.signature, plan.batch_size or 1)
    in_8_bits = trained.quantize if source.classifier.rounds else quantize
    quantized = in_8_bits(network, source.data, plan) if plan.quantize == INT8 else None
    content = tflite.convert(network, plan.quantize) if quantized is None else quantized.content
    path.write_bytes(with_metadata(content, source.signature, _license(source)))
    if quantized is None:
        return []
    wanted = functools.partial(_outputs, source.classifier, source.signature.output)
    return quantized.measured(wanted, open_artifact(path).outputs, plan.report)


def _write_onnx(source: Source, plan: Plan, path: Path) -> None:
    network = servable(source.classifier, source.signature, plan.batch_size)
    path.write_bytes(onnx.content(onnx.convert(network), network))


def _write_saved_model(source: Source, plan: Plan, path: Path) -> None:
    network = servable(source.classifier, source.signature, plan.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, LABELS_FILE)
        names.write_text(labels(source.signature), encoding="utf-8")
        saved_model.write(network, path, names)


def _outputs(classifier: Classifier, output: str, pixels: np.ndarray) -> np.ndarray:
    """Returns what the network itself computes, as its own user would call it."""
    if output != LOGITS:
        return classifier.probabilities(pixels)
    logits = classifier.logits(tf.constant(pixels)).numpy()
    return logits[:, logits.shape[1] - classifier.num_classes :]


def _checked(
    path: Path,
    expected: np.ndarray,
    images: CheckImages,
    plan: Plan,
    backend: str,
    source: Source,
) -> Comparison:
    """Returns the comparison of a file with the network.

    Raises:
        DataError: They differ by more than the limit.
    """
    found = check.compare(path, expected, images)
    if backend == SAVED_MODEL and images.files:
        found = max(
            found,
            check.compare_encoded(path, expected, images, source.signature),
            key=lambda comparison: comparison.difference,
        )
    limit = plan.max_difference
    if limit is None:
        limit = _LIMITS[plan.quantize if backend == TFLITE else FLOAT32]
        if limit is not None and source.signature.output == LOGITS:
            limit *= max(1.0, float(np.abs(expected).max()))
    if limit is not None and not found.difference <= limit:
        raise DataError(
            f"the {_TITLES[backend]} {found}; the limit is {limit:.1e}, and it was not kept "
            "(--max_difference sets the limit)"
        )
    return found


def _license(source: Source) -> str:
    """Returns the license of the weights."""
    entry = published.entries().get(source.signature.model)
    if source.signature.weights != PUBLISHED or entry is None:
        return "not stated: weights of a training run"
    return entry.license


def _write_labels(path: Path, text: str) -> list[str]:
    """Writes the class names next to the file; returns a line if their name is not labels.txt."""
    file = _labels_file(path, text)
    files.write_text(file, text)
    return [] if file.name == LABELS_FILE else [f"class names written to {file}"]


def _labels_file(path: Path, text: str) -> Path:
    """Returns where the class names of the file at `path` are written.

    It is labels.txt, and NAME_labels.txt if labels.txt names the classes of another file there.
    """
    shared, own = path.with_name(LABELS_FILE), _own_labels(path)
    if own.exists():
        return own
    if not shared.exists() or shared.read_text(encoding="utf-8", errors="replace") == text:
        return shared
    others = {*path.parent.glob("*.tflite"), *path.parent.glob("*.onnx")} - {path}
    return own if any(not _own_labels(other).exists() for other in others) else shared


def _own_labels(path: Path) -> Path:
    return path.with_name(f"{path.stem}_{LABELS_FILE}")


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turns what the system and TensorFlow report of a full disk and the like into one line."""
    with files.write_errors(path):
        try:
            yield
        except tf.errors.OpError as error:
            raise DataError(f"cannot write {path}: {error.message.splitlines()[0]}") from error


@contextlib.contextmanager
def _named(temporary: Path, path: Path) -> Iterator[None]:
    """Makes errors about the file that is written name the one that was asked for."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(str(temporary), str(path))) from error


def _size(path: Path) -> int:
    parts = [path] if path.is_file() else path.rglob("*")
    return sum(part.stat().st_size for part in parts if part.is_file())
