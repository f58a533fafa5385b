"""Runs and data sets on S3 or Google Cloud Storage: copies on this machine, for a command's time.

Data are copied before they are used, as a whole: shards are read again in every epoch, and a local
disk is faster than any network. Files that are here already are not copied again. A run is trained
in a copy, from which it is uploaded (`checkpoints/remote_run.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Collection
from pathlib import Path

from absl import logging

from benchmark_cnn.distribution import cluster
from benchmark_cnn.params.params import Params
from checkpoints import remote_run
from checkpoints.object_store import Entry, Folder
from common import files, paths
from common.errors import DataError, UsageError
from download_and_convert_imagenet.records.manifest import split_of
from preprocessing.records.shards import SUBSETS

_VERSIONS = ".versions.json"  # what each file of a copy was at the URL


def for_training(
    params: Params, stack: contextlib.ExitStack, stop: Callable[[str], object]
) -> Params:
    """Returns `params` with local directories in place of URLs, which `stack` keeps up to date.

    Args:
        stop: called with the reason, in another thread, if the run must stop.

    Raises:
        DataError: a URL cannot be read.
    """
    params = with_local_data(params, _subsets_of_training(params))
    url = params.checkpoint.train_dir
    if url is None or not paths.is_remote(url):
        return params
    copy = paths.copy_of(url, "runs")
    workers = cluster.of(params.hardware)
    if workers is None or workers.is_chief:
        opened = remote_run.opened(
            url, copy, keep=params.checkpoint.keep_checkpoints, say=logging.warning, stop=stop
        )
        stack.enter_context(opened)
    return with_train_dir(params, copy)


def run_to_read(train_dir: str) -> str:
    """Returns a directory or checkpoint on this machine that holds what `train_dir` names.

    Raises:
        DataError: the URL holds no complete checkpoint.
    """
    if not paths.is_remote(train_dir):
        return train_dir
    return str(remote_run.download(train_dir, paths.copy_of(train_dir, "read")))


def for_evaluation(params: Params) -> Params:
    """Returns `params` with the run copied to this machine, if it is a URL.

    Raises:
        UsageError: it would have to follow the URL.
        DataError: the URL holds no complete checkpoint.
    """
    url = params.checkpoint.train_dir
    if url is None or not paths.is_remote(url):
        return params
    for name in ("eval_interval_secs", "all_checkpoints"):
        if getattr(params.evaluation, name):
            raise UsageError(
                f"--{name} needs a local --train_dir: of {url} the newest checkpoint is copied"
            )
    return with_train_dir(params, run_to_read(url))


def upload_evaluation(url: str | None, params: Params) -> None:
    """Uploads what the evaluation of a run wrote, if the run is at a URL.

    Args:
        url: --train_dir as it was given: a run or one of its checkpoints.
        params: with the copy as train_dir.
    """
    if url is None or not paths.is_remote(url):
        return
    copy = Path(params.checkpoint.train_dir or ".")
    if not copy.is_dir():
        url, copy = url.rpartition("/")[0], copy.parent
    folder, written = Folder(url), copy / "eval"
    for path in sorted(written.rglob("*")):
        if path.is_file():
            folder.upload(path, path.relative_to(copy).as_posix())
    logging.warning("%s/eval holds the evaluation", url)


def with_train_dir(params: Params, train_dir: str | Path) -> Params:
    """Returns `params` with another run directory."""
    checkpoint = dataclasses.replace(params.checkpoint, train_dir=str(train_dir))
    return dataclasses.replace(params, checkpoint=checkpoint)


def with_local_data(params: Params, subsets: Collection[str]) -> Params:
    """Returns `params` with the data copied to this machine, if they are at a URL.

    Args:
        subsets: those that are needed.
    """
    url = params.data.data_dir
    if url is None or not paths.is_remote(url):
        return params
    data = dataclasses.replace(params.data, data_dir=str(copy_data(url, subsets)))
    return dataclasses.replace(params, data=data)


def copy_data(url: str, subsets: Collection[str]) -> Path:
    """Copies a data set, without the subsets that are not needed; returns the directory.

    Raises:
        DataError: the URL cannot be read or holds nothing, or the disk is full.
    """
    folder, copy = Folder(url), paths.copy_of(url, "data")
    unused = set(SUBSETS) - set(subsets)
    wanted = {
        name: entry
        for name, entry in folder.entries().items()
        if not _base(name).startswith("_") and split_of(_base(name)) not in unused
    }
    if not wanted:
        raise DataError(f"--data_dir={url} holds no files")
    known = _versions(copy)
    missing = {
        name: entry
        for name, entry in wanted.items()
        if known.get(name) != entry or files.file_size(copy / name) != entry.size
    }
    if missing:
        gigabytes = sum(entry.size for entry in missing.values()) / 1e9
        logging.warning("copying %d files (%.2f GB) of %s", len(missing), gigabytes, url)
        with files.write_errors(copy, "make room, or set XDG_CACHE_HOME to a larger disk"):
            folder.download_all(list(missing), copy)
            text = json.dumps({name: list(entry) for name, entry in {**known, **wanted}.items()})
            files.write_text(copy / _VERSIONS, text)
    return copy


def _versions(copy: Path) -> dict[str, Entry]:
    try:
        text = (copy / _VERSIONS).read_text()
        return {name: Entry(*about) for name, about in json.loads(text).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _subsets_of_training(params: Params) -> set[str]:
    run = params.run
    evaluates = run.eval_every_epochs is not None or run.eval_every_steps is not None
    # A run ends with a test, where there is a test part.
    return {params.data.data_subset or "train", "test", *(["validation"] if evaluates else [])}
