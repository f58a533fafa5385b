"""Opens a network to predict with: a run, published weights, or an exported file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import models.registry
from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from common.files import sha256_of
from inference import artifacts, class_names
from inference.signature import Signature
from inference.source import Request
from inference.view import View

if TYPE_CHECKING:
    import numpy as np

CHECKPOINT = "checkpoint"
BACKENDS = (CHECKPOINT, *artifacts.BACKENDS)
_SUFFIXES = (".tflite", ".onnx")


class Answering(Protocol):
    """What a `Classifier` and an `Artifact` have in common."""

    image_size: int
    num_classes: int

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [B, num_classes] for images [B, S, S, 3], RGB in 0..255."""
        ...


@dataclass(frozen=True)
class Choice:
    """What to open: an exported file, else what the request asks for.

    Of the request, a file takes `eval_method`, `resize_method` and `labels_map_file`.
    """

    request: Request
    file: Path | None = None


@dataclass(frozen=True)
class Network:
    """A network that answers, and what is known about it.

    Attributes:
        signature: a foreign file gets one: ImageNet's names if it has a thousand outputs.
        backend: one of BACKENDS.
        path: of the exported file, or the prefix of the checkpoint.
    """

    classifier: Answering
    signature: Signature
    backend: str
    path: Path

    def sha256(self) -> str:
        """Returns the hash of the exported file, or of the files of the checkpoint together."""
        if self.path.is_file():
            return sha256_of(self.path)
        if self.path.is_dir():
            files = sorted(path for path in self.path.rglob("*") if path.is_file())
        else:
            files = sorted(self.path.parent.glob(f"{self.path.name}.*"))
        digest = hashlib.sha256()
        for file in files:
            name = os.path.relpath(file, self.path.parent)
            if self.path.is_dir():
                name = os.path.relpath(file, self.path)
            digest.update(f"{name} {sha256_of(file)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def exported_file(model: str | None) -> Path | None:
    """Returns the exported file that --model names; None if it names a registered network.

    Raises:
        DataError: it is a path, and there is no exported file.
    """
    if model is None or model in models.registry.names():
        return None
    path = Path(model)
    if artifacts.backend_of(path) is not None:
        return path
    if path.exists() or path.suffix in _SUFFIXES or os.sep in model:
        reason = "is no SavedModel, TFLite or ONNX file" if path.exists() else "does not exist"
        raise DataError(f"--model={model} {reason}")
    return None


def open_network(choice: Choice, num_threads: int | None = None) -> Network:
    """Opens the network.

    Args:
        num_threads: of TFLite and ONNX.

    Raises:
        DataError: there is no such network, or it is damaged.
        UsageError: the flags contradict each other, or a runtime is not installed.
    """
    if choice.file is None:
        # TensorFlow is imported for these alone.
        from inference import source

        loaded = source.load(choice.request)
        return Network(loaded.classifier, loaded.signature, CHECKPOINT, loaded.prefix)
    artifact = artifacts.open_artifact(choice.file, num_threads)
    signature = artifact.signature or _signature_of_foreign(artifact)
    request = choice.request
    view = signature.view.override(request.eval_method, request.resize_method)
    names = signature.class_names
    if request.labels_map_file is not None:
        found = class_names.read_map(request.labels_map_file, artifact.num_classes)
        names = tuple(class_names.for_classes(artifact.num_classes, found))
    if len(names) != artifact.num_classes:
        raise UsageError(
            f"{choice.file} has {artifact.num_classes} outputs, and its signature names "
            f"{len(names)} classes: export it again"
        )
    signature = replace(
        signature, view=view, class_names=names, wordnet_ids=class_names.wordnet_ids(names)
    )
    return Network(artifact, signature, artifact.backend, choice.file)


def _signature_of_foreign(artifact: artifacts.Artifact) -> Signature:
    names = class_names.class_names(artifact.num_classes, None, DataParams())
    return Signature(artifact.path.stem, artifact.image_size, tuple(names), View(), weights="file")
