"""Versions: of this program, which pyproject.toml repeats, and of installed packages."""

from __future__ import annotations

import importlib.metadata
import platform

__version__ = "0.1.0"


def version_line() -> str:
    """Returns the versions of this program and its libraries, without importing them."""
    libraries = ", ".join(
        f"{name} {installed(name) or 'missing'}" for name in ("tensorflow", "keras")
    )
    return f"tensorflow-imagenet {__version__} ({libraries}, Python {platform.python_version()})"


def installed(package: str) -> str | None:
    """Returns the version of an installed package, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
