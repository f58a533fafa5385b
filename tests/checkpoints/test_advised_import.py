"""What train.py suggests about foreign weights works as printed."""

from __future__ import annotations

import re

import numpy as np

import train
from checkpoints import store
from models.pretrained import __main__, importing
from tests.checkpoints import tf1_saver


def test_averages_under_a_scope_are_imported_as_suggested(tmp_path, capsys):
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in importing.network_shapes("lenet", 10).items()
    }
    source = tmp_path / "model.ckpt-9"
    twins = {f"v0/cg/{n}/ExponentialMovingAverage": value for n, value in weights.items()}
    zeros = {f"v0/cg/{n}": np.zeros_like(value) for n, value in weights.items()}
    tf1_saver.save(source, twins | zeros)
    argv = [
        "--device=cpu", "--model=lenet", "--data_name=digits", "--learning_rate=0",
        "--batch_size=4", "--weight_decay=0", "--num_batches=1", f"--train_dir={tmp_path}/run",
        f"--data_dir={tmp_path}/data",
    ]  # fmt: skip
    assert train.main([*argv, f"--init_checkpoint={source}"]) == 3
    error = capsys.readouterr().err
    assert "its names differ by a prefix; write it under the network's names" in error
    (advised,) = re.findall(r"python -m models.pretrained (.*) \(and .*\), and give (\S+)", error)
    values = {"MODEL": "lenet", "CHECKPOINT": str(source), "DIR": str(tmp_path / "imported")}
    command, flag = (re.sub("MODEL|CHECKPOINT|DIR", lambda m: values[m[0]], t) for t in advised)
    assert __main__.main([*command.split(), "--num_classes=10"]) == 0
    assert train.main([*argv, flag]) == 0
    found = store.read(tmp_path / "run", list(weights))
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name], value)
