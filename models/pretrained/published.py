"""The published weights: their origin, hash and accuracy, and the packages that hold them.

The facts are in manifest.json. Packages are not imported, and neither is TensorFlow.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from common.errors import DataError
from common.files import sha256_of
from common.version import installed

_MANIFEST_FILE = Path(__file__).with_name("manifest.json")


@dataclass(frozen=True)
class Entry:
    """Weights of one network.

    The Python package `package` has them in `file`, with SHA-256 `sha256`. The three are None if no
    package has them; the original is at `official_archive`. The expected accuracies are on
    ImageNet's 50,000 validation images, with `image_size` (pixels), `eval_method` and
    `resize_method` as in the flags of eval.py; `accuracy_source` says who measured them.
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
    """Returns model name -> its weights."""
    facts = json.loads(_MANIFEST_FILE.read_text(encoding="utf-8"))
    return {name: Entry(**entry) for name, entry in facts.items()}


def get(model: str) -> Entry:
    """Returns the weights of a model.

    Raises:
        DataError: None are known; the message names those that are.
    """
    try:
        return entries()[model]
    except KeyError:
        known = ", ".join(entries())
        raise DataError(f"no pretrained weights of {model} are known, only of {known}") from None


def is_installed(package: str) -> bool:
    """Returns whether a package of that name is installed."""
    return installed(package) is not None


def weight_file(entry: Entry) -> Path:
    """Returns the file of the installed package that holds these weights, its hash checked.

    Raises:
        DataError: No package holds them, it is not installed, or the file is a different one.
    """
    if entry.package is None or entry.sha256 is None:
        raise DataError(
            f"no Python package holds the {entry.origin}: download {entry.official_archive} and "
            "give it to python -m models.pretrained with --from=FILE"
        )
    require([entry.package])
    files = metadata.distribution(entry.package).files or []
    found = [Path(str(file.locate())) for file in files if file.name == entry.file]
    if not found or not found[0].is_file():
        raise DataError(f"package {entry.package} does not hold {entry.file}: install it again")
    try:
        sha256 = sha256_of(found[0])
    except OSError as error:
        raise DataError(f"{found[0]} cannot be read: {error.strerror}") from error
    if sha256 != entry.sha256:
        raise DataError(
            f"{found[0]} has SHA-256 {sha256}, the manifest says {entry.sha256}: it is "
            "damaged or not the published file; install the package again"
        )
    return found[0]


def require(packages: Sequence[str]) -> None:
    """Raises a DataError with the command that installs packages, if some are not installed."""
    absent = [package for package in packages if not is_installed(package)]
    if absent:
        raise DataError(f"not installed: {', '.join(absent)}. Run: pip install {' '.join(absent)}")
