"""The best checkpoint of a run by evaluated top-1 or mean average precision, in `best/`.

`best/` is an ordinary checkpoint directory with a `best.json` and the run's parameters.json, so
that `eval.py --train_dir=runs/lite0/best` knows the network, also where `best/` is copied to.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from checkpoints import bundle, checksums, commit, store

BEST_DIRECTORY = "best"
BEST_FILE = "best.json"


def save_best(
    train_dir: str | os.PathLike[str],
    prefix: str | os.PathLike[str],
    metrics: Mapping[str, Any],
    companions: Iterable[Path] = (),
) -> bool:
    """Keeps `prefix` as the best checkpoint if it is better than the best so far.

    It is better with a higher top-1, or with the same top-1 and a lower loss. Where there is a mean
    average precision, it takes the place of top-1.

    Files are hard links if the file system supports them, else copies.

    Args:
        train_dir: The run; `best/` is made in it.
        prefix: The checkpoint that was evaluated.
        metrics: `top_1` and `top_5` (fractions), `loss` and the `weights` that they are of, written
            to best.json with the global step.
        companions: Files that are copied into `best/` with the checkpoint, where they exist.

    Returns:
        Whether `prefix` is the best now. An equal one or a NaN top-1 never replaces a checkpoint.

    Raises:
        DataError: The disk is full or unwritable; the best one so far is unchanged.
    """
    kept = best_metrics(train_dir)
    if math.isnan(order(metrics)[0]) or (kept is not None and order(metrics) <= order(kept)):
        return False
    source = Path(store.resolve(prefix))
    step = store.global_step(source)
    best = Path(train_dir) / BEST_DIRECTORY
    record = {"checkpoint": source.name, "global_step": step}
    record |= {name: value if _is_writable(value) else None for name, value in metrics.items()}
    with commit.staged(best, source.name) as folder:
        for suffix, path in bundle.files(source).items():
            _link_or_copy(path, folder / (source.name + suffix))
        # Existing checksums are kept: new ones would declare a damaged file intact.
        if checksums.read(source):
            path = checksums.path_of(source)
            _link_or_copy(path, folder / path.name)
        else:
            checksums.write(folder / source.name, step)
        store.write_state(folder, [source.name])
        for companion in companions:
            if companion.exists():
                shutil.copyfile(companion, folder / companion.name)
        (folder / BEST_FILE).write_text(json.dumps(record, indent=1) + "\n")
    for other in store.all_checkpoints(best):
        if Path(other).name != source.name:
            commit.remove(best, Path(other).name)
    return True


def best_metrics(train_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Returns best.json (checkpoint, global_step, top_1, top_5, loss); None without a best."""
    best = Path(train_dir) / BEST_DIRECTORY
    try:
        record = json.loads((best / BEST_FILE).read_text())
        exists = (best / f"{record['checkpoint']}.index").exists()
        top_1 = float(record["top_1"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logging.warning("%s cannot be read (%s): starting without a best", best / BEST_FILE, error)
        return None
    return record | {"top_1": top_1} if exists else None


def order(metrics: Mapping[str, Any]) -> tuple[float, float]:
    """Returns what is higher for a better checkpoint; an unknown loss is the worst."""
    loss = metrics.get("loss")
    first = metrics.get("mean_average_precision")
    first = metrics["top_1"] if first is None else first
    return first, -math.inf if loss is None or math.isnan(loss) else -loss


def _is_writable(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
