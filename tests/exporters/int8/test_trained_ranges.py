"""INT8 files of quantization-aware networks: the trained ranges and weights, the same answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from checkpoints import bundle
from checkpoints.tensor_roles import RANGE
from common.errors import UsageError
from exporters import exporting
from exporters.plan import FLOAT16, INT8, Plan
from inference import source
from inference.artifacts import open_artifact
from inference.source import Request
from models import registry
from tests.exporters.conftest import random_values

SIZE = 32
IMAGES = np.random.default_rng(1).integers(0, 256, (24, SIZE, SIZE, 3)).astype(np.float32)
NETWORKS = [
    *("lenet", "resnet20"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("efficientnet_lite0", "keras_mobilenet", "keras_mobilenetv2", "resnet50")
    ),
]
# Operations whose output has the scale of their input.
MOVING = ("RESHAPE", "MAX_POOL_2D", "PAD", "STRIDED_SLICE")


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, tmp_path_factory) -> tuple[source.Source, Path]:
    """A checkpoint with random weights and the ranges of a first step, and its INT8 file."""
    directory = tmp_path_factory.mktemp(request.param)
    spec = registry.get(request.param)
    network = spec.build(num_classes=10, image_size=SIZE).quantization_aware()
    random = np.random.default_rng(0)
    for name, variable in network.variables.items():
        if not name.endswith(RANGE):
            variable.assign(random_values(random, name, variable.shape))
    seed = tf.constant([1, 2])
    statistics = network(tf.constant(IMAGES), training=True, seed=seed).statistics
    for name, value in statistics.items():
        network.variables[name].assign(value)
    prefix = directory / "model.ckpt-1"
    bundle.write(prefix, {name: v.numpy() for name, v in network.variables.items()})
    (directory / "parameters.json").write_text("{}")
    loaded = source.load(Request(model=request.param, train_dir=prefix, image_size=SIZE))
    plan = Plan(tflite=directory / "int8.tflite", quantize=INT8, logits=True)
    lines: list[str] = []
    exporting.export(loaded, plan, lines.append)
    assert "nothing was calibrated" in lines[1]
    return loaded, directory


def graph_of(path: Path):
    """Returns the graph, and (kind, inputs, outputs) of each operation."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    graph, operations = model.subgraphs[0], []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        tensors = [[graph.tensors[k] for k in part] for part in (operator.inputs, operator.outputs)]
        operations.append((kind, *tensors))
    return model, operations


def grid(lower: float, upper: float) -> tuple[float, int]:
    """Returns scale and zero point of the signed 8-bit grid that holds 0, as TFLite chooses it."""
    scale = (upper - lower) / 255
    return scale, int(np.rint(-lower / scale)) - 128


def test_each_tensor_has_the_range_of_the_training(trained):
    loaded, directory = trained
    _, operations = graph_of(directory / "int8.tflite")
    assert all(
        tensor.type != schema.TensorType.FLOAT32 for _, _, out in operations for tensor in out
    )
    found = {
        (float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
        for kind, _, (tensor,) in operations[2:-1]  # after the pixels, before uint8
        if kind not in MOVING
    }
    variables = loaded.classifier.network.variables
    expected = set()
    for name, moments in variables.items():
        if name.endswith(RANGE):
            lower, upper = moments.numpy().astype(np.float64) ** (1 / 8)
            expected.add(grid(-lower, upper))
    assert len(found) == len(expected)
    for (scale, zero), (wanted, wanted_zero) in zip(sorted(found), sorted(expected), strict=True):
        assert scale == pytest.approx(wanted, rel=1e-5)
        assert abs(zero - wanted_zero) <= 1  # where -lower / scale is halfway between two


def test_each_kernel_has_its_integers_and_a_scale_for_each_channel(trained):
    loaded, directory = trained
    model, operations = graph_of(directory / "int8.tflite")
    kernels = loaded.classifier.network.folds
    convolutions = [
        inputs[1]
        for kind, inputs, _ in operations[2:]
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]
    assert len(convolutions) == len(kernels)
    stored = {}
    for tensor in convolutions:
        data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)
        channels = data.reshape(tensor.shape)
        axis = tensor.quantization.quantizedDimension
        assert len(tensor.quantization.scale) == tensor.shape[axis]
        channels = np.moveaxis(channels, axis, 0)
        stored.setdefault(channels.shape, []).append(channels)
    for fold in kernels:
        weights = np.asarray(fold.kernel, np.float64)
        if fold.batch_norm is not None:
            signs = np.sign(np.asarray(fold.batch_norm.gamma))
            weights = weights * (signs[:, np.newaxis] if fold.is_depthwise else signs)
        if fold.is_depthwise:
            weights = weights[..., 0]
        axes = tuple(range(weights.ndim - 1))
        integers = np.rint(weights / np.abs(weights).max(axes) * 127)
        wanted = np.moveaxis(integers, -1, 0)
        if fold.is_depthwise:  # [C, 1, k, k]
            wanted = wanted.reshape(-1, 1, *integers.shape[:2])
        off = [np.abs(wanted - channels).astype(int) for channels in stored[wanted.shape]]
        nearest = min(off, key=np.sum)
        # A weight halfway between two integers may be rounded to either in float32.
        assert nearest.max() <= 1
        assert nearest.mean() < 1e-3


def test_the_file_answers_as_the_network_does(trained):
    """In deep networks as closely as two runtimes of the file answer.

    A sum that is halfway between two values may be rounded to either, in each of the layers.
    """
    loaded, directory = trained
    path = directory / "int8.tflite"
    file = open_artifact(path).outputs(IMAGES)
    network = loaded.classifier.logits(tf.constant(IMAGES)).numpy()
    *_, name = (name for name in loaded.classifier.network.variables if name.endswith(RANGE))
    lower, upper = loaded.classifier.network.variables[name].numpy() ** (1 / 8)
    scale = (upper + lower) / 255
    if loaded.signature.model == "lenet":
        assert np.abs(file - network).max() < 2.01 * scale
        in_float = loaded.classifier.in_float.logits(tf.constant(IMAGES)).numpy()
        assert np.abs(in_float - network).max() > 2.5 * scale
    between = np.abs(file - of_reference_kernels(path)).mean()
    assert np.abs(file - network).mean() < 0.5 * scale + 2 * between


def of_reference_kernels(path: Path) -> np.ndarray:
    """Returns the outputs of a file, computed by the plain loops that define its operations."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = result["quantization"]
    rows = []
    for image in IMAGES.astype(np.uint8):
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append((interpreter.get_tensor(result["index"])[0].astype(np.float32) - zero) * scale)
    return np.stack(rows)


def test_float_formats_have_the_weights_as_they_are(trained, tmp_path):
    loaded, _ = trained
    lines: list[str] = []
    plan = Plan(tflite=tmp_path / "half.tflite", quantize=FLOAT16, logits=True, max_difference=1.0)
    exporting.export(loaded, plan, lines.append)
    assert "it computes in float, with the weights as they are" in lines[1]
    found = open_artifact(plan.tflite).outputs(IMAGES[:4])
    expected = loaded.classifier.in_float.logits(tf.constant(IMAGES[:4])).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("calibration_data", Path()),
        ("calibration_images", 20),
        ("report", Path("layers.csv")),
        ("float_layers", "head"),
    ],
)
def test_flags_of_calibration_are_refused(trained, tmp_path, name, value):
    loaded, _ = trained
    plan = dataclasses.replace(Plan(tflite=tmp_path / "a.tflite", quantize=INT8), **{name: value})
    with pytest.raises(UsageError, match=f"--{name}: no effect on a run of --quantization_aware"):
        exporting.export(loaded, plan)
    assert not plan.tflite.exists()
