"""Folders of small photos, each different from all others."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from preprocessing.own_photos.cache import Cache
from preprocessing.own_photos.photos import Wishes, records_for_training


def photo(seed: int, mode: str = "RGB", size: int = 24, brightest: int | None = None) -> bytes:
    """Returns a PNG; a channel may be brighter than the others."""
    pixels = np.random.default_rng(seed).integers(0, 100, (size, size, 3))
    if brightest is not None:
        pixels[..., brightest] += 150
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, "PNG")
    return file.getvalue()


def write(root: Path, **numbers: int) -> Path:
    """Writes `root`/CLASS/0.png and so on; a double underscore stands for a slash."""
    for index, (name, number) in enumerate(sorted(numbers.items())):
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(number):
            (folder / f"{k}.png").write_bytes(photo(1000 * index + k, brightest=index % 3))
    return root


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def records(root: Path, say=lambda line: None, **wishes) -> Cache:
    """Converts a folder into a cache next to it."""
    return records_for_training(root, Wishes(cache_dir=str(root.parent / "cache"), **wishes), say)


def counts(cache: Cache) -> dict[str, dict[str, int]]:
    """Returns class -> part -> number of photos, as split.csv has them."""
    found: dict[str, dict[str, int]] = {}
    for row in cache.rows():
        of_class = found.setdefault(row.class_name, {})
        of_class[row.split] = of_class.get(row.split, 0) + 1
    return found
