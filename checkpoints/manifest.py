"""The pretrained weights that are known: where they come from, their hash, what they reach.

The facts are in manifest.json. No TensorFlow here: the help of a command reads this.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from checkpoints.errors import WeightsError

_MANIFEST_FILE = Path(__file__).with_name("manifest.json")


@dataclass(frozen=True)
class Entry:
    """Weights of one network.

    `package` is the Python package whose `file` holds them, with its SHA-256; None where no package
    does, then `official_archive` says where the original is. The expected accuracies belong to
    `image_size` pixels, `eval_method` and `resize_method` (flags of eval.py), on ImageNet's 50,000
    validation images; `accuracy_source` says who measured them.
    """

    origin: str
    license: str
    official_archive: str
    image_size: int
    num_classes: int
    eval_method: str
    resize_method: str
    expected_top_1_percent: float
    expected_top_5_percent: float
    accuracy_source: str
    package: str | None = None
    file: str | None = None
    sha256: str | None = None


@functools.cache
def entries() -> dict[str, Entry]:
    """Model name -> its weights."""
    facts = json.loads(_MANIFEST_FILE.read_text(encoding="utf-8"))
    return {name: Entry(**entry) for name, entry in facts.items()}


def get(model: str) -> Entry:
    """The weights of a model. Raises WeightsError where none are known, naming those that are."""
    try:
        return entries()[model]
    except KeyError:
        known = ", ".join(entries())
        raise WeightsError(
            f"no pretrained weights of {model} are known; of {known} they are"
        ) from None


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises WeightsError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def check_hash(path: str | os.PathLike[str], expected: str) -> None:
    """Raises WeightsError if the file's SHA-256 is not `expected`."""
    found = sha256(path)
    if found != expected:
        raise WeightsError(
            f"{os.fspath(path)} has SHA-256 {found}, the manifest says {expected}: it is damaged "
            "or not the published file; install the package again"
        )
