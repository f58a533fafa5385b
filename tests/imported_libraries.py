"""What a command imports before it answers: seconds of it are libraries, none is this project."""

from __future__ import annotations

import importlib.util
import sys

IMPORT_TIME = ("-X", "importtime")  # flags of Python


def installed_ones(errors: str) -> set[str]:
    """The top-level names of installed libraries in what Python prints with IMPORT_TIME."""
    lines = [line for line in errors.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "argparse" in names or "absl" in names, errors
    return {name for name in names - sys.stdlib_module_names if _is_installed(name)}


def _is_installed(name: str) -> bool:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    return spec is not None and "site-packages" in str(spec.origin)
