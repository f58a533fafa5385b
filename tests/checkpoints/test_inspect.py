"""The table of a checkpoint's tensors."""

from __future__ import annotations

import numpy as np
import pytest

from checkpoints import bundle, inspect


@pytest.fixture
def prefix(tmp_path):
    weights = np.asarray([[1, 2], [3, 4]], np.float32)
    tensors = {
        "net/kernel": weights,
        "net/kernel/ExponentialMovingAverage": weights * 10,
        "net/kernel/Momentum": np.asarray([[np.nan, 0], [0, 0]], np.float32),
        "global_step": np.asarray(7, np.int64),
    }
    bundle.write(tmp_path / "model.ckpt-7", tensors)
    return tmp_path / "model.ckpt-7"


def test_names_shapes_roles_and_statistics(prefix, capsys):
    for path in (prefix, prefix.parent, f"{prefix}.index"):
        assert inspect.main([str(path)]) == 0
        lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert lines[0] == "global_step [] int64 run state value=7"
        # Of 1, 2, 3, 4: mean 2.5, standard deviation sqrt(1.25).
        statistics = "mean=2.5 std=1.11803 min=1 max=4"
        assert lines[1] == f"net/kernel [2,2] float32 weight {statistics}"
        assert "[2,2] float32 moving average mean=25 " in lines[2]
        assert "[2,2] float32 slot 1 not finite mean=0 " in lines[3]
    total = "1 weight (4 values), 1 moving average (4 values), 1 slot (4 values), 1 run state"
    assert total in lines[4]


def test_one_tensor_with_its_values(prefix, capsys):
    assert inspect.main([str(prefix), "--tensor=net/kernel"]) == 0
    assert "[[1. 2.]\n [3. 4.]]" in capsys.readouterr().out


def test_mistakes(prefix, capsys):
    assert inspect.main([str(prefix), "--tensor=net/kernal"]) == 3
    assert "no tensor net/kernal; did you mean net/kernel?" in capsys.readouterr().err
    assert inspect.main(["absent"]) == 3
    assert "error: no checkpoint absent" in capsys.readouterr().err


def test_an_integer_has_all_its_digits(tmp_path, capsys):
    tensors = {"global_step": np.asarray(1_751_400, np.int64), "rate": np.asarray(1 / 3)}
    bundle.write(tmp_path / "model.ckpt", tensors)
    assert inspect.main([str(tmp_path)]) == 0
    step, rate, _ = capsys.readouterr().out.splitlines()
    assert step.endswith("value=1751400")
    assert rate.endswith("value=0.333333")
