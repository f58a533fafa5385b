"""The checksum file next to a checkpoint: the length and SHA-256 of each of its files.

`model.ckpt-20.json` describes `model.ckpt-20.index` and `model.ckpt-20.data-00000-of-00001`. Files
are listed by suffix, so that a checkpoint may be moved or renamed together with its checksums. A
tensor bundle has one CRC-32C for each tensor, but it is compared only when that tensor is read, and
a missing tail has none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from checkpoints import bundle
from common.files import sha256_of


def write(prefix: Path, global_step: int) -> None:
    """Writes `<prefix>.json` for the files of `prefix` as they are now."""
    files = {
        suffix: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for suffix, path in bundle.files(prefix).items()
    }
    text = json.dumps({"global_step": global_step, "files": files}, indent=1, sort_keys=True)
    path_of(prefix).write_text(text + "\n")


def read(prefix: Path) -> dict[str, Any] | None:
    """Returns the checksums of `prefix`; None if there are none or they cannot be read."""
    try:
        checksums = json.loads(path_of(prefix).read_text())
    except (OSError, ValueError):
        return None
    is_valid = isinstance(checksums, dict) and isinstance(checksums.get("files"), dict)
    return checksums if is_valid else None


def damage(prefix: Path, checksums: dict[str, Any]) -> str | None:
    """Returns what is wrong with the files of `prefix`, naming the file; None if nothing is."""
    present = bundle.files(prefix)
    for suffix, expected in sorted(checksums["files"].items()):
        name = prefix.name + suffix
        if suffix not in present:
            return f"{name} is missing"
        size = present[suffix].stat().st_size
        if size != expected["bytes"]:
            return f"{name} has {size} bytes, {expected['bytes']} were written"
    for suffix, expected in sorted(checksums["files"].items()):
        if sha256_of(present[suffix]) != expected["sha256"]:
            return f"{prefix.name + suffix} has another SHA-256 than was written"
    return None


def path_of(prefix: Path) -> Path:
    """Returns where the checksums of `prefix` belong."""
    return prefix.with_name(prefix.name + ".json")
