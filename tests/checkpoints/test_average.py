"""The mean of checkpoints: against NumPy, in the commands that read it, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import eval as evaluation
import train
from benchmark_cnn.params.params import PARAMETERS_FILE
from benchmark_cnn.run_directory import RunDirectory
from checkpoints import average, store
from inference import source


def write(directory, step, *, seed, shape=(3, 4), averages=False, **more):
    """A checkpoint of a run with a slot; its values are large, so that float32 sums would round."""
    random = np.random.default_rng(seed)
    tensors = {
        "net/kernel": random.normal(1e4, 1, shape).astype(np.float32),
        "net/bn/moving_mean": random.normal(0, 1, 4).astype(np.float32),
        **more,
    }
    if averages:
        tensors |= {f"{n}/ExponentialMovingAverage": 2 * v for n, v in tensors.items()}
    slots = {"net/kernel/Momentum": np.ones(shape, np.float32)}
    return store.save(directory, step, {**tensors, **slots}, keep=0)


@pytest.mark.parametrize("averages", [False, True])
def test_the_mean_is_that_of_numpy_in_float64(tmp_path, averages, capsys):
    prefixes = [write(tmp_path, step, seed=step, averages=averages) for step in range(1, 8)]
    assert average.main([str(tmp_path), "--last=5"]) == 0
    kind = "moving averages" if averages else "raw weights"
    assert f"the mean of the {kind} of 5 checkpoints is" in capsys.readouterr().out
    got = store.read(tmp_path / "average")
    key = "/ExponentialMovingAverage" if averages else ""
    read = [store.read(prefix) for prefix in prefixes[2:]]
    for name in ("net/kernel", "net/bn/moving_mean"):
        values = np.stack([tensors[name + key] for tensors in read]).astype(np.longdouble)
        np.testing.assert_array_equal(got[name], values.mean(0).astype(np.float32))
    assert set(got) == {"net/kernel", "net/bn/moving_mean", "global_step"}
    assert got["global_step"] == 7
    assert store.verify(tmp_path / "average" / "model.ckpt-7") is None


def test_a_run_is_averaged_evaluated_and_predicted_with(tmp_path, capsys):
    run = tmp_path / "run"
    data = [f"--data_dir={tmp_path / 'data'}", "--data_name=digits"]
    flags = ["--device=cpu", "--model=lenet", "--image_size=16", "--batch_size=16", *data]
    argv = [*flags, "--num_batches=3", "--save_model_steps=1", f"--train_dir={run}"]
    assert train.main([*argv, "--learning_rate=0.02"]) == 0
    assert average.main([str(run)]) == 0
    capsys.readouterr()
    assert evaluation.main([f"--train_dir={run / 'average'}", "--device=cpu"]) == 0
    result = json.loads((run / "average" / "eval" / "eval.json").read_text())
    assert (result["checkpoint"], result["model"]) == ("model.ckpt-3", "lenet")
    loaded = source.load(source.Request(train_dir=run / "average"))
    assert loaded.signature.class_names[:3] == ("zero", "one", "two")
    kernels = [store.read(p)["lenet/head/dense/kernel"] for p in store.all_checkpoints(run)]
    np.testing.assert_allclose(
        loaded.classifier.network.variables["lenet/head/dense/kernel"],
        np.mean(kernels, 0, dtype=np.float64), rtol=1e-7, atol=1e-9,
    )  # fmt: skip
    assert len(kernels) == 3


def refused(capsys, *argv):
    """The line of a command that fails, and its exit code; nothing is written."""
    code = average.main([str(word) for word in argv])
    line = capsys.readouterr().err.strip()
    assert line.count("\n") == 0, line
    return code, line


def test_checkpoints_that_do_not_match_are_refused(tmp_path, capsys):
    first = write(tmp_path / "a", 1, seed=1)
    wide = write(tmp_path / "b", 1, seed=2, shape=(3, 5))
    more = write(tmp_path / "c", 1, seed=3, **{"net/bias": np.zeros(4, np.float32)})
    broken = write(tmp_path / "d", 1, seed=4, **{"net/kernel": np.full((3, 4), np.nan, "f")})
    averaged = write(tmp_path / "e", 1, seed=5, averages=True)

    code, line = refused(capsys, first, wide)
    assert code == 3
    assert f"net/kernel is 3x5 in {wide} and 3x4 in {first}" in line
    code, line = refused(capsys, first, more)
    assert f"net/bias, which {more} has and {first} has not" in line
    code, line = refused(capsys, first, broken)
    assert f"{broken}: net/kernel holds values that are not finite" in line
    code, line = refused(capsys, averaged, first)
    assert (code, "has no moving averages" in line) == (3, True)
    code, line = refused(capsys, tmp_path / "a")
    assert (code, "there is nothing to average in 1" in line) == (3, True)
    code, line = refused(capsys, first, first)
    assert (code, "is named twice" in line) == (2, True)
    code, line = refused(capsys, first, tmp_path / "b" / ".." / "a" / "model.ckpt-1")
    assert (code, "is named twice" in line) == (2, True)
    code, line = refused(capsys, first, more, "--last=2")
    assert (code, "--last has no effect" in line) == (2, True)
    code, line = refused(capsys, tmp_path / "absent", "--last=2")
    assert (code, "neither a run's directory nor a file is there" in line) == (3, True)
    assert not (tmp_path / "a" / "average").exists()

    same = write(tmp_path / "f", 2, seed=6)
    for folder, names in (("a", ["ant", "bee"]), ("f", ["bee", "ant"])):
        RunDirectory(tmp_path / folder).run_info.write_text(json.dumps({"class_names": names}))
    code, line = refused(capsys, first, same)
    assert (code, "was trained on other classes than" in line) == (3, True)


def test_an_earlier_result_is_kept_and_the_run_is_named(tmp_path, capsys):
    prefixes = [write(tmp_path, step, seed=step) for step in (1, 2)]
    (tmp_path / PARAMETERS_FILE).write_text('{"model": "lenet"}')
    out = tmp_path / "out"
    assert average.main([*prefixes, f"--output={out}"]) == 0
    assert (out / PARAMETERS_FILE).read_text() == '{"model": "lenet"}'
    before = (out / "model.ckpt-2.index").read_bytes()
    code, line = refused(capsys, *prefixes, f"--output={out}")
    assert (code, f"remove {out}, or give another --output" in line) == (2, True)
    assert (out / "model.ckpt-2.index").read_bytes() == before
