"""The manifest beside a checkpoint: how long its files are, and their SHA-256.

`model.ckpt-20.json` describes `model.ckpt-20.index` and `model.ckpt-20.data-00000-of-00001`. Files
are listed by suffix, so that a checkpoint may be moved or renamed together with its manifest. A
tensor bundle has checksums of its own, one a tensor, but they are found wrong only when that tensor
is read, and a missing tail has none.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

_READ_BYTES = 1 << 20


def write(prefix: Path, global_step: int) -> None:
    """Write `<prefix>.json` for the files of `prefix` as they are now."""
    files = {
        suffix: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for suffix, path in bundle_files(prefix).items()
    }
    text = json.dumps({"global_step": global_step, "files": files}, indent=1, sort_keys=True)
    path_of(prefix).write_text(text + "\n")


def read(prefix: Path) -> dict[str, Any] | None:
    """The manifest of `prefix`; None when there is none, or none that can be read."""
    try:
        manifest = json.loads(path_of(prefix).read_text())
    except (OSError, ValueError):
        return None
    return (
        manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None
    )


def damage(prefix: Path, manifest: dict[str, Any]) -> str | None:
    """What is wrong with the files of `prefix`, naming the file; None when they are whole."""
    present = bundle_files(prefix)
    for suffix, expected in sorted(manifest["files"].items()):
        name = prefix.name + suffix
        if suffix not in present:
            return f"{name} is missing"
        size = present[suffix].stat().st_size
        if size != expected["bytes"]:
            return f"{name} has {size} bytes, {expected['bytes']} were written"
    for suffix, expected in sorted(manifest["files"].items()):
        if _sha256(present[suffix]) != expected["sha256"]:
            return f"{prefix.name + suffix} has another SHA-256 than was written"
    return None


def path_of(prefix: Path) -> Path:
    """Where the manifest of `prefix` belongs."""
    return prefix.with_name(prefix.name + ".json")


def bundle_files(prefix: Path) -> dict[str, Path]:
    """Suffix -> path of the index and the data files of `prefix` that exist."""
    pattern = re.compile(re.escape(prefix.name) + r"(\.index|\.data-\d{5}-of-\d{5})")
    matches = ((pattern.fullmatch(path.name), path) for path in prefix.parent.iterdir())
    return {match.group(1): path for match, path in matches if match}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
