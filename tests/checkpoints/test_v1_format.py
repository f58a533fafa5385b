"""Checkpoints in the one-file format that TF-Slim published in 2016, through every command."""

from __future__ import annotations

import json
import shutil
import tarfile

import numpy as np
import pytest

import eval as evaluation
import train
from checkpoints import bundle, inspect, store
from common.errors import DataError
from inference.classifier import Classifier
from models.pretrained import __main__, ensure, importing
from tests.checkpoints import tf1_saver


@pytest.fixture(scope="module")
def weights():
    """LeNet's for 10 classes."""
    generator = np.random.default_rng(0)
    shapes = importing.network_shapes("lenet", 10)
    return {n: generator.normal(0, 0.1, shape).astype(np.float32) for n, shape in shapes.items()}


@pytest.fixture(scope="module")
def published(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("v1") / "lenet.ckpt"
    tf1_saver.save(path, weights | {"global_step": np.asarray(7, np.int64)}, one_file=True)
    assert path.is_file()
    (path.parent / "checkpoint").unlink()
    return path


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_fetch_reads_the_file_its_directory_and_its_archive(published, weights, tmp_path, capsys):
    archive = tmp_path / "lenet_2016_08_28.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(published, "lenet.ckpt")
    for i, source in enumerate((published, published.parent, archive)):
        directory = tmp_path / str(i)
        argv = ["lenet", f"--from={source}", "--num_classes=10", f"--directory={directory}"]
        assert __main__.main(argv) == 0, capsys.readouterr().err
        assert_same(bundle.read(ensure.prefix("lenet", directory)), weights)


def test_the_engine_reads_it(published, weights):
    assert store.resolve(published) == str(published)
    assert store.verify(published) is None
    assert store.global_step(published) == 7
    assert store.shapes(published)["global_step"] == ()
    assert_same(store.read(published, list(weights)), weights)


def test_inspect_and_classifier(published, weights, capsys):
    for path in (published, published.parent):
        assert inspect.main([str(path)]) == 0
        assert f"{len(weights)} weights" in capsys.readouterr().out
    assert Classifier("lenet", published).num_classes == 10


def test_train_starts_from_it_and_eval_reads_it(published, weights, tmp_path):
    common = ["--device=cpu", "--model=lenet", "--data_name=digits", f"--data_dir={tmp_path}/data"]
    still = ["--learning_rate=0", "--weight_decay=0", "--num_batches=1", "--batch_size=8"]
    run = tmp_path / "run"
    argv = [*common, *still, f"--train_dir={run}", f"--init_checkpoint={published}"]
    assert train.main(argv) == 0
    assert_same(store.read(run, list(weights)), weights)
    copy = shutil.copy(published, tmp_path)
    assert evaluation.main([*common, f"--train_dir={copy}"]) == 0
    assert json.loads((tmp_path / "eval" / "eval.json").read_text())["global_step"] == 7


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\0" * 100_000])
def test_another_file_is_one_line(tmp_path, content):
    path = tmp_path / "photo.ckpt"
    path.write_bytes(content)
    message = f"{path} is not a checkpoint, or it is damaged"
    with pytest.raises(DataError) as caught:
        importing.read(path, "lenet")
    assert str(caught.value) == message
    with pytest.raises(DataError) as refused:
        store.shapes(path)
    assert str(refused.value) == message
    assert "cannot be read" in str(store.verify(path))
