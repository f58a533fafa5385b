"""The exported step: JAX takes the engine's steps, and the commands on the CPU."""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training_setup
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step.training_step import REPORT
from benchmarks import training
from benchmarks.gpu import program
from benchmarks.gpu.stablehlo import __main__ as command
from benchmarks.gpu.stablehlo import export, step_file
from benchmarks.gpu.stablehlo.step_file import Input, Step
from common.errors import DataError, RunError
from models import registry
from models.layers import target
from preprocessing.registry import open_dataset
from tests.conftest import ROOT

_RUN = """
import sys
from pathlib import Path
import numpy as np
from benchmarks.gpu.stablehlo import jax_program, step_file
trained = jax_program.Training(step_file.read(Path(sys.argv[1])))
trained.run(int(sys.argv[2]))
assert "tensorflow" not in sys.modules
np.savez(sys.argv[3], np.asarray(trained.values), *trained.variables().values())
print("\\n".join(trained.variables()))
"""


_ON_CPU = ("--device=cpu", f"--python={program.PYTHON}")


@functools.cache
def _has_jax() -> bool:
    if not program.PYTHON.exists():
        return False
    return subprocess.run([str(program.PYTHON), "-c", "import jax"], check=False).returncode == 0


needs_jax = pytest.mark.skipif(not _has_jax(), reason="needs JAX: make venv-peers")


def _run_of(network, image_size, **flags):
    params = make_params(
        model=network, device="cpu", image_size=image_size, batch_size=4,
        learning_rate=0.01, xla="step", **flags,
    )  # fmt: skip
    return training_setup.set_up(params, registry.get(network), open_dataset(DataParams()))


def _steps_of_jax(step: Step, steps: int, directory) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    step_file.write(directory / "one.step", step)
    command = [str(program.PYTHON), "-c", _RUN, "one.step", str(steps), "after.npz"]
    done = subprocess.run(
        command, cwd=directory, env={"PYTHONPATH": str(ROOT)}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    arrays = np.load(directory / "after.npz")
    names = done.stdout.split()
    return arrays["arr_0"], {name: arrays[f"arr_{n + 1}"] for n, name in enumerate(names)}


@needs_jax
@pytest.mark.parametrize(
    ("network", "image_size", "num_steps", "flags"),
    [
        ("lenet", 28, 2, {"optimizer": "rmsprop", "weight_decay": 0.01}),
        pytest.param(
            # Depthwise convolutions, batch norm, dropout, averages, and clipping. One step: the
            # first ones of this network at random weights multiply differences by hundreds.
            "efficientnet_lite0",
            64,
            1,
            {"moving_average_decay": 0.9, "gradient_clip": 1.0},
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
        pytest.param(
            "resnet50",
            32,
            2,
            {"loss": "bce"},
            marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_jax_takes_the_steps_of_the_engine(tmp_path, network, image_size, num_steps, flags):
    """The engine's own are TensorFlow's kernels, one by one: nothing is compiled."""
    run = _run_of(network, image_size, **flags)
    images, labels = training.batch(image_size, 4)
    with target.assume_gpu():
        step = export.of_run(run, images, labels, exact=True)
    values, variables = _steps_of_jax(step, num_steps, tmp_path)

    plain = dataclasses.replace(run.step, compiles=False)
    take = tf.function(lambda *batch: plain((batch,), True, False), autograph=False)
    for _ in range(num_steps):
        expected = take(tf.constant(images), tf.constant(labels)).numpy()
    tensors = run.state.host_values()
    assert set(variables) == set(tensors) - {"skipped_steps", "skipped_steps/in_a_row"}
    assert variables["global_step"] == num_steps
    _assert_equal(network, values, expected, variables, tensors, step.values)


def _assert_equal(network, values, expected, variables, tensors, before):
    found, wanted = (dict(zip(REPORT, some, strict=True)) for some in (values, expected))
    if network == "efficientnet_lite0":
        # Noise of 1e-6 in the pixels changes the first gradient by 3% (its norm by less),
        # and so the updates; the loss and the batch means stay what they are.
        norms = [report.pop("gradient_norm") for report in (found, wanted)]
        np.testing.assert_allclose(*norms, rtol=1e-2)
        trained = [n for n in variables if n.endswith("/kernel")]
        ours, theirs = (
            np.concatenate([(after[n] - before[n]).ravel() for n in trained])
            for after in (variables, tensors)
        )
        assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)
        variables = {n: v for n, v in variables.items() if n.endswith(("moving_mean", "_step"))}
    np.testing.assert_allclose([*found.values()], [*wanted.values()], rtol=1e-5)
    for name, value in variables.items():
        # Gradients that cancel to nothing, as before a batch norm, are noise of 1e-8 in all.
        atol = 1e-7 + 1e-5 * np.abs(tensors[name]).max()
        np.testing.assert_allclose(value, tensors[name], rtol=1e-5, atol=atol, err_msg=name)


def test_depthwise_gradients_of_a_gpu_stay_in_16_bits():
    """On a CPU they are computed in float32, by columns; the export is for a GPU."""
    kernel = tf.ones([5, 5, 8, 1])

    def gradients(images):
        from models.layers.depthwise_convolution import depthwise_convolution

        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = depthwise_convolution(
                images, kernel, strides=[1, 1, 1, 1], padding="SAME", layout="NHWC"
            )
        return tape.gradient(outputs, [images, kernel])

    def dtypes():
        spec = tf.TensorSpec([2, 14, 14, 8], tf.bfloat16)
        graph = tf.function(gradients, autograph=False).get_concrete_function(spec).graph
        return [
            op.get_attr("T").name
            for op in graph.get_operations()
            if op.type.endswith("BackpropFilter")
        ]

    assert dtypes() == ["float32"] * 3
    with target.assume_gpu():
        assert dtypes() == ["bfloat16"]
    assert not target.is_gpu() or tf.config.list_logical_devices("GPU")


def test_drawn_values_have_the_described_distribution():
    random = np.random.default_rng(3)
    kernel = random.normal(0.5, 2.0, (100, 100)).astype(np.float32)
    described = Input.like("kernel", kernel)
    drawn = described.draw(np.random.default_rng(1))
    assert (drawn.shape, drawn.dtype) == (kernel.shape, kernel.dtype)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0.5, 2.0], atol=0.1)
    labels = Input.like("labels", np.array([0, 3, 9], np.int32)).draw(random)
    assert labels.dtype == np.int32
    assert set(labels) <= set(range(10))
    ones = Input.like("gamma", np.ones(4, np.float32)).draw(random)
    np.testing.assert_array_equal(ones, np.ones(4))


def test_a_file_is_what_was_written_and_damage_is_one_line(tmp_path):
    path = tmp_path / "a.step"
    inputs = [Input.like("images", np.zeros((2, 3), np.uint8)), Input.like("w/0", np.ones(2))]
    step = Step("module {}", inputs, ["values", "w/0"], {"network": "lenet"}, {"w/0": np.ones(2)})
    step_file.write(path, step)
    read = step_file.read(path)
    assert (read.program, read.inputs, read.outputs, read.about) == (
        step.program, inputs, step.outputs, step.about,
    )  # fmt: skip
    assert read.feedback() == {1: 1}
    np.testing.assert_array_equal(read.first_values()[1], np.ones(2))
    path.write_bytes(path.read_bytes()[:50])
    for broken in (path, tmp_path / "none.step"):
        with pytest.raises(DataError, match="is no exported step"):
            step_file.read(broken)


def test_functions_of_the_cpu_are_refused():
    with pytest.raises(RunError, match="calls functions of the CPU: __onednn"):
        export.readable("%1 = stablehlo.custom_call @__onednn(%0) : (tensor<f32>) -> tensor<f32>")


def test_nothing_of_tensorflow_remains_in_the_text():
    run = _run_of("lenet", 28)
    text = export.of_run(run, *training.batch(28, 4)).program
    assert text.startswith("module @step {\n")
    assert not re.search(r"mhlo|loc\(|/tensorflow/", text)


@needs_jax
def test_the_commands_on_a_cpu(tmp_path, capsys, monkeypatch):
    """LeNet has no counterpart in timm."""
    monkeypatch.setattr("benchmarks.training.prepare_cpu", lambda *_: None)  # tests share a runtime
    flags = ["--networks=lenet", "--dtype=float32", "--batch_size=4", "--image_size=28"]
    assert command.main(["export", *flags, f"--output={tmp_path}"]) == 0
    path = tmp_path / "lenet_float32_4.step"
    run = [
        "run",
        str(path),
        "--rounds=2",
        "--steps=2",
        "--device=cpu",
        f"--python={program.PYTHON}",
    ]
    assert command.main(run) == 0
    printed = capsys.readouterr().out
    assert "lenet, float32, batch 4, 28 px" in printed
    assert re.search(r"our step, JAX's XLA \(proxy\): [\d.]+ \([\d.]+-[\d.]+\) images/s", printed)


@needs_jax
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_proxy_next_to_timm(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.training.prepare_cpu", lambda *_: None)
    flags = ["--networks=efficientnet_lite0", "--batch_size=2", "--image_size=32"]
    assert command.main(["export", *flags, f"--output={tmp_path}"]) == 0
    path = tmp_path / "efficientnet_lite0_bfloat16_2.step"
    run = [
        "run",
        str(path),
        "--rounds=2",
        "--steps=1",
        "--device=cpu",
        f"--python={program.PYTHON}",
    ]
    assert command.main(run) == 0
    assert re.search(r"proxy / timm: \d+\.\d+ \(", capsys.readouterr().out)


def test_an_interpreter_without_jax_is_named(tmp_path, capsys, monkeypatch):
    step_file.write(tmp_path / "a.step", Step("", [], ["values"], {
        "network": "lenet", "dtype": "float32", "batch_size": 1, "image_size": 28,
    }))  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = ["run", str(tmp_path / "a.step"), "--device=cpu", f"--python={sys.executable}"]
    assert command.main(run) == 3
    assert "No module named 'jax'" in capsys.readouterr().out
