"""Writes the pretrained weights of a model as a checkpoint, `weights/<model>/model.ckpt`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import installation, paths
from common.errors import DataError
from common.files import sha256_of, write_errors
from models.pretrained import published

_DEFAULT_DIRECTORY = "weights"
DEFAULT_IN_WORDS = "weights in ~/.cache/tensorflow_imagenet, or here if the model is there"
_BASENAME = "model.ckpt"
ORIGIN_FILE = "weights.json"


def prefix(model: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Returns the prefix of a model's checkpoint, which need not exist yet.

    Args:
        model: a name in models.registry.
        directory: None for the home of all weights (`paths.home_of`).
    """
    if directory is None:
        directory = paths.home_of(_DEFAULT_DIRECTORY, marker=f"{model}/{_BASENAME}.index")
    return Path(directory) / model / _BASENAME


def view(model: str) -> tuple[str, str]:
    """Returns `eval_method` and `resize_method` that a model's weights were published with.

    If these are not known, they are the defaults of the flags.
    """
    entry = published.entries().get(model)
    if entry is None:
        return "vgg", "bilinear"
    return entry.eval_method, entry.resize_method


def ensure(model: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Returns the prefix of a model's checkpoint, written from the installed package if absent.

    Weights whose published hash is not known are used as they are, and stderr names their source.

    Raises:
        DataError: No weights are known, the package is not installed, its file is not the
            published one, or the directory holds other weights than the published ones.
    """
    path = prefix(model, directory)
    if _is_present(model, path):
        return path
    published.get(model)
    fetch(model, directory)
    return path


def ensure_in_child(model: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Does the same as `ensure` without starting TensorFlow in this process.

    A run can split its CPU and limit its GPUs' memory only before TensorFlow has started.
    """
    path = prefix(model, directory)
    if _is_present(model, path):
        return path
    published.weight_file(published.get(model))
    done = subprocess.run(
        [
            *(sys.executable, "-m", installation.module("models.pretrained"), model),
            f"--directory={path.absolute().parents[1]}",
        ],
        cwd=installation.IMPORTED_FROM,
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
    directory: str | os.PathLike[str] | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    num_classes: int | None = None,
) -> str:
    """Writes a model's checkpoint, with a weights.json next to it that names the source.

    Args:
        model: A name in models.registry.
        directory: Where `<model>/model.ckpt` is written; None for the home of all weights.
        source: A file for `importing.read`; None for the package that the manifest names.
        weights: See `importing.read`.
        num_classes: See `importing.read`; None for the number in the manifest.

    Returns:
        One line that says what was written.

    Raises:
        DataError: See `importing.read` and `published.weight_file`.
    """
    entry = published.entries().get(model)
    if source is None:
        entry = published.get(model)
        source = published.weight_file(entry)

    from models.pretrained import importing  # imports TensorFlow, after the file was checked

    if num_classes is None:
        num_classes = 1000 if entry is None else entry.num_classes
    tensors = importing.read(source, model, num_classes=num_classes, weights=weights)
    num_values = sum(value.size for value in tensors.values())
    origin = {
        "model": model,
        "source": os.path.basename(os.fspath(source)),
        "tensors": len(tensors),
        "values": num_values,
        **_known_origin(source, entry),
    }
    path = prefix(model, directory)
    _write(path, tensors, json.dumps(origin, indent=2) + "\n")
    return f"{model}: {len(tensors)} tensors, {num_values:,} values -> {path}"


def _write(path: Path, tensors: Mapping[str, Any], origin: str) -> None:
    """Writes a checkpoint and its weights.json: whenever there is an index, both are old or new.

    (`commit.staged` keeps the old checkpoint until the end, which takes a lock and readers that
    complete an interrupted save. These files are written and read without either.)
    """
    from checkpoints import bundle

    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            bundle.write(Path(folder, path.name), tensors)
            Path(folder, ORIGIN_FILE).write_text(origin, encoding="utf-8")
            path.with_name(f"{path.name}.index").unlink(missing_ok=True)
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.suffix == ".index"):
                file.replace(path.parent / file.name)


def _known_origin(source: str | os.PathLike[str], entry: published.Entry | None) -> dict[str, Any]:
    """Returns the hash of a file, or the manifest's facts if it is the published file."""
    if not os.path.isfile(source):
        return {}
    sha256 = sha256_of(source)
    if entry is None or entry.sha256 != sha256:
        return {"sha256": sha256}
    return {key: value for key, value in vars(entry).items() if value is not None}


def _is_present(model: str, path: Path) -> bool:
    """Returns whether there is a checkpoint; it must be the published one if its hash is known."""
    if not path.with_name(f"{path.name}.index").exists():
        return False
    origin = _origin(path.with_name(ORIGIN_FILE))
    source = origin.get("source", "an unknown source")
    entry = published.entries().get(model)
    if entry is None or entry.sha256 is None:
        print(f"{path} holds weights from {source}", file=sys.stderr, flush=True)
    elif origin.get("sha256") != entry.sha256:
        raise DataError(
            f"{path} holds weights from {source}, not the published ones: write those with "
            f"python -m models.pretrained {model} --directory={paths.quoted(path.parents[1])}, or "
            "use these with --init_checkpoint (train.py) or --train_dir (eval.py, prediction.py)"
        )
    return True


def holds_published(path: str | None) -> bool:
    """Returns whether a checkpoint, or the directory of one, has the weights of a package."""
    if path is None:
        return False
    directory = Path(path) if os.path.isdir(path) else Path(path).parent
    origin = _origin(directory / ORIGIN_FILE)
    entry = published.entries().get(origin.get("model", ""))
    return entry is not None and entry.sha256 is not None and origin.get("sha256") == entry.sha256


def _origin(path: Path) -> dict:
    """Returns what `fetch` wrote about a checkpoint; empty if that is absent or damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
