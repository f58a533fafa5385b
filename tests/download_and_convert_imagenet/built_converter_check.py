"""Converts a few images with the built converter: `built_converter_check.py CONVERTER CHECKER`.

Run by `bazel build conversion_check` on whatever Python is there. Without Pillow and NumPy the
converter cannot run: then it has to say so.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

_NUM_IMAGES = {"train": 100, "validation": 20}
_CLASSES = ("circle", "square")


def _png(gray: int) -> bytes:
    """An image of 32x32 pixels of one brightness; Pillow may not be there."""
    rows = zlib.compress((b"\0" + bytes([gray] * 32)) * 32)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _write_class_folders(root: Path) -> None:
    for split, num_images in _NUM_IMAGES.items():
        for number in range(num_images):
            path = root / split / _CLASSES[number % len(_CLASSES)] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(number))


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [os.path.abspath(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def _expect(condition: bool, what: str, completed: subprocess.CompletedProcess[str]) -> None:
    if not condition:
        sys.exit(f"not so: {what}\n{completed.stdout}{completed.stderr}")


def main(converter: str, checker: str) -> None:
    """Convert, check, damage, check; ends with code 1 when something is not as it should be."""
    completed = _run(converter, "--help")
    _expect(completed.returncode == 0 and "DATA_DIR" in completed.stdout, "--help", completed)
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory) / "data"
        _write_class_folders(Path(directory) / "raw")
        options = ("--source=folder", f"--raw_dir={directory}/raw", "--num_processes=2")
        completed = _run(converter, str(data_dir), *options)
        if "No module named" in completed.stderr:
            one_line = completed.stderr.count("\n") == 1 and completed.returncode != 0
            _expect(one_line and "install" in completed.stderr, "one clear line", completed)
            print(f"not converted: {completed.stderr}")
            return
        _expect(completed.returncode == 0, "converted", completed)
        splits = json.loads((data_dir / "manifest.json").read_text())["splits"]
        counts = {name: sum(s["num_examples"] for s in shards) for name, shards in splits.items()}
        _expect(counts == _NUM_IMAGES, f"all images: {counts}", completed)
        completed = _run(checker, str(data_dir))
        _expect(completed.returncode == 0, "intact", completed)
        shard = data_dir / splits["train"][0]["file"]
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        completed = _run(checker, str(data_dir))
        named = completed.returncode == 3 and str(shard) in completed.stdout
        _expect(named, "damage is found", completed)
    print("converted and checked")


if __name__ == "__main__":
    main(*sys.argv[1:])
