"""What a run lacks later is found before its first step, and before anything is written."""

from __future__ import annotations

import shutil
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark_cnn import before_training, training
from benchmark_cnn.distribution.cluster import Cluster
from benchmark_cnn.params.params import Params
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from common import process
from common.errors import DataError, UsageError
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

EVALUATED = {"num_batches": 4, "eval_every_steps": 2}


class WithoutValidation(ArrayData):
    def num_examples(self, subset):
        if subset == "validation":
            raise DataError("there are no validation shards")
        return super().num_examples(subset)


def train(*, data=ArrayData, image_bytes=None, **flags):
    """Trains a small network; returns the lines that it printed."""
    lines: list[str] = []
    params = make_params(**{"device": "cpu", "batch_size": 8, **flags})
    with console.routed_through(lines.append):
        training.train(
            params, Spec(ConvNetwork), data(*random_examples(16)), image_bytes=image_bytes
        )
    return lines


def test_a_validation_set_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no validation shards"):
        train(data=WithoutValidation, train_dir=str(tmp_path / "run"), **EVALUATED)
    assert not (tmp_path / "run").exists()
    train(data=WithoutValidation, num_batches=1)


def test_a_disk_without_room_for_two_checkpoints(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(5000))
    with pytest.raises(DataError, match=r"has 0\.0 MB of free space.*make room, or give another"):
        train(train_dir=str(tmp_path), num_batches=1)
    assert not (tmp_path / "metrics.csv").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6))
    train(train_dir=str(tmp_path), num_batches=1)


@pytest.mark.parametrize("name", ["best", "eval", "curves.png", "metrics.csv", "run.json"])
def test_an_output_that_cannot_be_written(tmp_path, name):
    if name in ("best", "eval"):
        (tmp_path / name).touch()
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=f"cannot write {tmp_path}/{name}: .*; remove what is"):
        train(train_dir=str(tmp_path), **EVALUATED)


def test_a_batch_that_the_memory_cannot_hold(monkeypatch):
    """The advice holds: the batch that it names is not refused."""
    monkeypatch.setattr(process, "available_memory_bytes", lambda: 1 << 20)
    needs = {"image_bytes": lambda network, image_size: 150_000, "num_batches": 1}
    advice = r"--batch_size=4 fits, and --gradient_accumulation_steps=2 keeps the global batch"
    with pytest.raises(UsageError, match=rf"8 images needs 0\.0 GiB or more.* are free: {advice}"):
        train(**needs)
    train(batch_size=4, gradient_accumulation_steps=2, **needs)
    with pytest.raises(UsageError, match="smaller --image_size"):
        train(**needs | {"image_bytes": lambda network, image_size: 1 << 20})
    at_16 = {"image_bytes": lambda network, size: (1 << 20) * (size == 16), "num_batches": 4}
    with pytest.raises(UsageError, match="smaller sizes in --image_size_schedule"):
        train(image_size_schedule="16:0,8:1", **needs | at_16)


def test_memory_is_counted_only_where_it_may_be_short(monkeypatch):
    available = process.available_memory_bytes()
    assert available is not None
    assert 1 << 20 < available < 1 << 50
    train(num_batches=1, image_bytes=lambda *_: pytest.fail("counted"))


@pytest.mark.parametrize("index", [0, 1])
def test_the_chief_alone_says_that_nothing_is_saved(caplog, index):
    """The others of a cluster never save."""
    manager = SimpleNamespace(cluster=Cluster(("localhost:1", "localhost:2"), index))
    plan, dataset = SimpleNamespace(num_epochs=2.0), SimpleNamespace(synthetic=False)
    run: Any = SimpleNamespace(params=Params(), plan=plan, dataset=dataset, manager=manager)
    before_training.check(run, None, None)
    assert ("there is no --train_dir" in caplog.text) == (index == 0)


def test_what_a_person_is_told(caplog, tmp_path):
    epochs = {"num_epochs": 2.0}
    lines = train(device="auto", num_gpus=2, batch_size=4, **epochs)
    assert "TensorFlow sees no GPU: the 2 towers share the CPU" in caplog.text
    assert "nothing of these 2 epochs will be saved: there is no --train_dir" in caplog.text
    # There was no warm-up.
    assert lines[lines.index(console.INITIALIZING) + 1] == console.column_header()
    caplog.clear()
    train(num_batches=1)
    train(train_dir=str(tmp_path), **epochs)
    assert "GPU" not in caplog.text
    assert "saved" not in caplog.text
