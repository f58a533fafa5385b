"""A checkpoint is written and read wherever the file system allows its name."""

from __future__ import annotations

import os

import numpy as np
import pytest

from checkpoints import best, bundle, checksums, store
from common.errors import DataError

VALUES = {"a/kernel": np.arange(6.0).reshape(2, 3), "a/bias": np.zeros(3, np.float32)}
NAMES = ["lr=[0.1]", "a*b", "who?", r"back\slash", "{a,b}", "two\nlines", "no text \udcff", "été ~"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_directory_of_any_name(name, tmp_path):
    run = tmp_path / name
    for step in (1, 2):
        prefix = store.save(run, step, VALUES)
    assert store.latest(run) == prefix
    assert best.save_best(run, prefix, {"top_1": 0.5, "top_5": 1.0, "loss": 1.0})
    for place in (prefix, run, run / "best"):
        found = store.read(place)
        assert store.global_step(place) == 2
        np.testing.assert_array_equal(found["a/kernel"], VALUES["a/kernel"])


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_checkpoint_of_any_name(name, tmp_path):
    """Its own name is a pattern; without checksums it is verified by reading it."""
    prefix = tmp_path / f"{name}.ckpt"
    bundle.write(prefix, VALUES)
    assert not checksums.path_of(prefix).exists()
    assert store.verify(prefix) is None
    assert store.shapes(prefix) == {"a/bias": (3,), "a/kernel": (2, 3)}
    data = bundle.files(prefix)[".data-00000-of-00001"]
    os.truncate(data, 10)
    assert store.verify(prefix) is not None


def test_a_pattern_reads_no_other_file(tmp_path):
    """Among model.ckpt-1 and model.ckpt-[1], each is itself."""
    for name, value in (("model.ckpt-1", 1.0), ("model.ckpt-[1]", 2.0)):
        bundle.write(tmp_path / name, {"v": np.float32(value)})
    assert store.read(tmp_path / "model.ckpt-[1]")["v"] == 2
    assert store.read(tmp_path / "model.ckpt-1")["v"] == 1


def test_a_run_directory_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"^no checkpoint .*/nope: neither a run's directory"):
        store.resolve(tmp_path / "nope")
