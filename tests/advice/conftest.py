"""The photos, the data set and the run that each case gets a copy of."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

import train
from download_and_convert_imagenet.__main__ import main as convert
from tests.advice.cases import LENET, Place, conversion
from tests.preprocessing.image_shards import encode


@pytest.fixture(scope="session")
def originals(tmp_path_factory) -> Path:
    """photos/, data/ converted from them, and run/."""
    directory = tmp_path_factory.mktemp("originals")
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee"):
            folder = directory / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
                (folder / f"{number}.jpg").write_bytes(encode(pixels))
    with contextlib.redirect_stdout(io.StringIO()):
        assert convert(conversion(directory / "photos", directory / "data")) == 0
        data, run = f"--data_dir={directory}/data", f"--train_dir={directory}/run"
        assert train.main([*LENET, data, run]) == 0
    return directory


@pytest.fixture
def place(originals, tmp_path) -> Place:
    for name in ("photos", "data", "run"):
        shutil.copytree(originals / name, tmp_path / name)
    return Place(tmp_path / "photos", tmp_path / "data", originals / "data", tmp_path / "run")
