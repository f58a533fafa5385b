"""Saves in a thread: one after the other, with errors that the caller sees."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from checkpoints import bundle, store
from checkpoints.background import BackgroundSaver
from common.errors import DataError


def values(number):
    return {"w": np.full(1000, number, np.float32)}


def test_saves_follow_each_other_and_end_with_the_context(tmp_path):
    """So a kill costs two intervals at most, however long a save takes."""
    begun = []

    def begin():
        begun.append([store.global_step(p) for p in store.all_checkpoints(tmp_path)])

    with BackgroundSaver(tmp_path, keep=2) as saves:
        for step in (1, 2, 3):
            prefix = saves.save(step, values(step), begin)
            assert prefix == str(tmp_path / f"model.ckpt-{step}")
        saves.wait()
        assert [store.global_step(p) for p in store.all_checkpoints(tmp_path)] == [2, 3]
        saves.save(4, values(4))
    assert begun == [[], [1], [1, 2]]
    assert store.read(tmp_path)["w"][0] == 4


@pytest.mark.parametrize("call", ["save", "wait", "exit"])
def test_an_error_of_the_thread_is_raised_once_by_the_next_call(tmp_path, call):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    saves = BackgroundSaver(tmp_path, keep=1)
    saves.save(1, values(1))
    saves.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk
    try:
        saves.save(2, values(2))
        calls = {
            "save": lambda: saves.save(3, values(3)),
            "wait": saves.wait,
            "exit": lambda: saves.__exit__(None, None, None),
        }
        with pytest.raises(DataError, match=r"cannot save .*model.ckpt-2: .*earlier checkpoints"):
            calls[call]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [store.global_step(p) for p in store.all_checkpoints(tmp_path)] == [1]
    saves.save(3, values(3))
    saves.wait()
    assert store.read(tmp_path)["w"][0] == 3


def test_a_disk_that_returns_other_bytes_costs_no_checkpoint(tmp_path, monkeypatch):
    """The disk is what fails here: it flips a bit of what was written."""
    store.save(tmp_path, 1, values(1), keep=1)
    write = bundle.write

    def flipping(prefix, tensors):
        write(prefix, tensors)
        data = bundle.files(prefix)[".data-00000-of-00001"]
        content = bytearray(data.read_bytes())
        content[500] ^= 1
        data.write_bytes(content)

    monkeypatch.setattr(bundle, "write", flipping)
    with pytest.raises(
        DataError, match=r"cannot save .*model.ckpt-2: .*earlier checkpoints are un"
    ):
        store.save(tmp_path, 2, values(2), keep=1)
    assert store.all_checkpoints(tmp_path) == [str(tmp_path / "model.ckpt-1")]
    assert store.verify(tmp_path / "model.ckpt-1") is None


def test_a_checkpoint_that_differs_from_memory_is_noticed(tmp_path):
    tensors = {"a": np.arange(4.0), "s": np.asarray(b"x\0", object), "n": np.asarray(np.nan)}
    bundle.write(tmp_path / "c", tensors)
    bundle.check(tmp_path / "c", tensors)
    for name, other in {"a": np.arange(5.0), "s": np.asarray(b"x", object)}.items():
        with pytest.raises(OSError, match="None") as error:
            bundle.check(tmp_path / "c", {**tensors, name: other})
        assert error.value.strerror == f"the disk returns another {name} than was written"
