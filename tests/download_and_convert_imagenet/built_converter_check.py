"""Converts a few images with the built converter: `built_converter_check.py CONVERTER CHECKER`.

Run by `bazel build conversion_check` on whatever Python is there. Without Pillow, numpy and rich
the converter cannot run: then it has to say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_NUM_BATCHES, _IMAGES_PER_BATCH = 5, 20
_PIXEL_BYTES = 3 * 32 * 32


def _write_binary_cifar10(folder: Path) -> None:
    """The layout of cifar-10-binary.tar.gz, unpacked; images of one colour."""
    folder.mkdir()
    names = [f"data_batch_{number + 1}.bin" for number in range(_NUM_BATCHES)]
    for name in [*names, "test_batch.bin"]:
        rows = (bytes([number % 10] * (1 + _PIXEL_BYTES)) for number in range(_IMAGES_PER_BATCH))
        (folder / name).write_bytes(b"".join(rows))


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
        _write_binary_cifar10(Path(directory) / "cifar-10-batches-bin")
        options = ("--source=cifar10", f"--raw_dir={directory}", "--num_processes=2")
        completed = _run(converter, str(data_dir), *options)
        if "No module named" in completed.stderr:
            one_line = completed.stderr.count("\n") == 1 and completed.returncode != 0
            _expect(one_line and "install" in completed.stderr, "one clear line", completed)
            print(f"not converted: {completed.stderr}")
            return
        _expect(completed.returncode == 0, "converted", completed)
        splits = json.loads((data_dir / "manifest.json").read_text())["splits"]
        counts = {name: sum(s["num_examples"] for s in shards) for name, shards in splits.items()}
        _expect(counts == {"train": 100, "validation": 20}, f"all images: {counts}", completed)
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
