"""The version of this program; pyproject.toml says the same."""

from __future__ import annotations

import importlib.metadata
import platform

__version__ = "0.1.0"


def version_line() -> str:
    """This program's version and those of what it stands on, without importing any of it."""
    libraries = ", ".join(f"{name} {_installed(name)}" for name in ("tensorflow", "keras"))
    return f"tensorflow-imagenet {__version__} ({libraries}, Python {platform.python_version()})"


def _installed(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
