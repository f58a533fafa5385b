"""INT8 files of quantization-aware networks: the trained ranges and weights, the same answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from checkpoints import bundle
from checkpoints.tensor_roles import RANGE
from common.errors import UsageError
from exporters import check, exporting
from exporters.plan import FLOAT16, INT8, Plan
from inference import source
from inference.artifacts import open_artifact
from inference.source import Request
from models import registry
from models.layers.batch_norm import FusedBatchNorm
from models.layers.fake_quantization import ActivationQuantization, PixelQuantization
from tests.exporters.conftest import random_values

SIZE = 32
# Squares of random colors: after a few layers of random weights images of noise are all alike.
COLORS = np.random.default_rng(1).integers(0, 256, (24, SIZE // 8, SIZE // 8, 3))
IMAGES = COLORS.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
NETWORKS = [
    *("lenet", "resnet20"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("efficientnet_lite0", "keras_mobilenet", "keras_mobilenetv2", "resnet50")
    ),
]
# Operations whose output has the scale of their input.
MOVING = ("RESHAPE", "MAX_POOL_2D", "PAD", "STRIDED_SLICE")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, tmp_path_factory) -> tuple[source.Source, Path]:
    """A checkpoint with random weights and the ranges of a first step, and its INT8 file.

    Batch norm has the statistics of that step, as after many: with others most values would be
    beyond the ranges.
    """
    directory = tmp_path_factory.mktemp(request.param)
    spec = registry.get(request.param)
    network = spec.build(num_classes=10, image_size=SIZE).quantization_aware()
    random = np.random.default_rng(0)
    for name, variable in network.variables.items():
        if not name.endswith(RANGE):
            variable.assign(random_values(random, name, variable.shape))
    for layer in network.keras_model.layers:
        if isinstance(layer, FusedBatchNorm):
            layer.momentum = 0.0
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


def run(model, places, images, kernels=OpResolverType.AUTO) -> list[np.ndarray]:
    """Returns the tensors at `places` of a file in which they are made outputs, [B, ...] each."""
    model.subgraphs[0].outputs, model.signatureDefs = list(places), None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    rows = []
    for image in images.astype(given["dtype"]):
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append([interpreter.get_tensor(place) for place in places])
    return [np.concatenate(values) for values in zip(*rows, strict=True)]


def widths(moments) -> np.ndarray:
    """Returns how far the range of an activation reaches below and above zero."""
    return np.asarray(moments, np.float64) ** (1 / 8)


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
            lower, upper = widths(moments)
            expected.add(grid(-lower, upper))
    assert len(found) == len(expected)
    for (scale, zero), (wanted, wanted_zero) in zip(sorted(found), sorted(expected), strict=True):
        assert scale == pytest.approx(wanted, rel=1e-5)
        assert abs(zero - wanted_zero) <= 1  # where -lower / scale is halfway between two


def test_each_kernel_has_its_integers_and_a_scale_for_each_channel(trained):
    loaded, directory = trained
    model, operations = graph_of(directory / "int8.tflite")
    kernels = loaded.classifier.network.folds
    convolutions = [inputs[1] for kind, inputs, _ in operations[2:] if kind in WEIGHTED]
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


class Tensor(NamedTuple):
    """A tensor of a file in 8 bits.

    Attributes:
        unit: of the 32-bit sums that it is rounded from, in steps; 0 after an addition.
        steps: its values, float32 [B, ...], whole numbers of `scale`.
        ends: the smallest and the largest number of steps that it can hold.
    """

    scale: float
    unit: float
    steps: np.ndarray
    ends: tuple[int, int]


def tensors_of(path: Path, images: np.ndarray, kernels: OpResolverType) -> list[Tensor]:
    """Returns the tensors that have a scale of their own, in the order of the operations."""
    model, operations = graph_of(path)
    chosen = []
    for operator, (kind, inputs, (output,)) in zip(
        model.subgraphs[0].operators, operations, strict=True
    ):
        if kind not in (*MOVING, "QUANTIZE"):
            (scale,), (zero,) = output.quantization.scale, output.quantization.zeroPoint
            unit = 0.0
            if kind != "ADD":
                unit = inputs[0].quantization.scale[0] / scale
            if kind in WEIGHTED:
                unit *= max(inputs[1].quantization.scale)
            if kind == "MEAN":
                unit /= np.prod(inputs[0].shape) / np.prod(output.shape)
            chosen.append((int(operator.outputs[0]), float(scale), int(zero), float(unit)))
    values = run(model, [place for place, *_ in chosen], images, kernels)
    return [
        Tensor(scale, unit, integers.astype(np.float32) - zero, (-128 - zero, 127 - zero))
        for (_, scale, zero, unit), integers in zip(chosen, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("kernels", "units"),
    [(OpResolverType.AUTO, 0.5), (OpResolverType.BUILTIN_REF, 1.5)],
    ids=["xnnpack", "reference"],
)
def test_each_layer_of_the_file_rounds_the_sums_of_the_network(
    trained, kernels, units, monkeypatch
):
    """Values differ where a sum of the network is halfway between two of them, nowhere else.

    Half a unit of the file's 32-bit sums is lost as its bias is a whole number of them; the
    reference kernels divide by a power of 2 after they have rounded to about a unit, and lose as
    much again twice. A layer of the network is given the file's values of the layers before it:
    what differs there would be multiplied in the layers after it.
    """
    loaded, directory = trained
    path, images = directory / "int8.tflite", IMAGES[:2]
    pixels, *others = tensors_of(path, images, kernels)
    layers = loaded.classifier.network.keras_model.layers
    (first,) = (layer for layer in layers if isinstance(layer, PixelQuantization))
    ranged = [layer for layer in layers if isinstance(layer, ActivationQuantization)]
    pairs = [(first, pixels)]
    for layer in ranged:
        shape, scale = layer.output.shape[1:], sum(widths(layer.moments)) / 255
        alike = [tensor for tensor in others if tensor.steps.shape[1:] == shape]
        pairs.append((layer, min(alike, key=lambda tensor: abs(tensor.scale - scale))))
        assert pairs[-1][1].scale == pytest.approx(scale, rel=1e-5)
    # A mean over 1 x 1 is no operation of the file: its tensor is that of the layer before.
    assert {id(tensor) for _, tensor in pairs} == {id(tensor) for tensor in (pixels, *others)}
    compared = []

    def compare(layer, tensor):
        original = layer.call

        def call(inputs, training=False):
            sums = inputs if layer is not first else (inputs - layer.mean) / layer.std
            steps = np.clip(sums.numpy() / tensor.scale, *tensor.ends)
            assert np.abs(steps - tensor.steps).max() < 0.5 + units * tensor.unit + 1e-3, layer.name
            rounded = original(inputs).numpy() / tensor.scale
            assert rounded.shape == tensor.steps.shape
            assert np.abs(rounded - tensor.steps).max() < 1.01, layer.name
            compared.append(layer.name)
            return tf.constant(tensor.steps * tensor.scale)

        monkeypatch.setattr(layer, "call", call)

    for layer, tensor in pairs:
        compare(layer, tensor)
    answers = loaded.classifier.logits(tf.constant(images)).numpy()
    assert len(compared) == len(pairs)
    if kernels == OpResolverType.AUTO:
        np.testing.assert_allclose(open_artifact(path).outputs(images), answers, rtol=1e-6)


@pytest.mark.parametrize("trained", ["lenet"], indirect=True)
def test_the_file_answers_as_the_network_does(trained):
    """As long as there are few layers, in which one step becomes several."""
    loaded, directory = trained
    file = open_artifact(directory / "int8.tflite").outputs(IMAGES)
    network = loaded.classifier.logits(tf.constant(IMAGES)).numpy()
    name = next(n for n in loaded.classifier.network.variables if "head/dense/quant" in n)
    scale = sum(widths(loaded.classifier.network.variables[name])) / 255
    steps = np.abs(file - network) / scale
    assert steps.max() < 2.01
    assert (steps < 0.1).mean() > 0.5
    in_float = loaded.classifier.in_float.logits(tf.constant(IMAGES)).numpy()
    assert np.abs(in_float - network).max() > 2.5 * scale


def test_float_formats_have_the_weights_as_they_are(trained, tmp_path):
    """In float16 each constant of the file is rounded once; files of both compute in float32."""
    loaded, _ = trained
    full, half = tmp_path / "full.tflite", tmp_path / "half.tflite"
    pixels = check.images(loaded.signature, loaded.data, None).pixels
    in_float = loaded.classifier.in_float.logits(tf.constant(pixels)).numpy()
    largest = np.abs(in_float).max()
    lines: list[str] = []
    exporting.export(loaded, Plan(tflite=full, logits=True), lines.append)  # checks it to 1e-4
    expected = with_constants_in_16_bits(full, pixels)
    difference = np.abs(expected - in_float).max()
    assert difference > 2e-4 * largest
    plan = Plan(
        tflite=half, quantize=FLOAT16, logits=True, max_difference=difference + 1e-6 * largest
    )
    exporting.export(loaded, plan, lines.append)
    assert sum("it computes in float, with the weights as they are" in line for line in lines) == 2
    np.testing.assert_allclose(open_artifact(half).outputs(pixels), expected, atol=1e-6 * largest)


def with_constants_in_16_bits(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Returns what a file in float32 computes when its constants are rounded to float16."""
    model, _ = graph_of(path)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type == schema.TensorType.FLOAT32 and buffer.data is not None:
            values = np.frombuffer(bytes(buffer.data), np.float32)
            buffer.data = values.astype(np.float16).astype(np.float32).view(np.uint8)
    return run(model, graph.outputs, pixels)[0]


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
