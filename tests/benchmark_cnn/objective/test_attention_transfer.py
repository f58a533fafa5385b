"""Attention transfer between layers of a student and its teacher, against NumPy."""

from __future__ import annotations

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.objective import teacher
from benchmark_cnn.objective.distillation import attention_transfer
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from checkpoints import store
from common.errors import Stopped, UsageError
from models import registry
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import ArrayData, Spec, random_examples

CLASSES, SIZE, WEIGHT = 5, 8, 3.0
PAIRS = "conv1/relu:stage1.block3.relu,conv2.relu:stage2.block3.conv2.conv2d"


def attention(features):
    """The published definition in float64, NHWC: mean of squares, divided by the norm."""
    squares = (features.astype(np.float64) ** 2).mean(axis=3).reshape(len(features), -1)
    return squares / np.linalg.norm(squares, axis=1, keepdims=True)


def test_distance_and_gradient_are_those_of_numpy_for_any_widths():
    random = np.random.default_rng(1)
    ours, its = (random.normal(size=(3, 4, 5, channels)) for channels in (6, 2))
    student = tf.Variable(ours, dtype=tf.float32)
    with tf.GradientTape() as tape:
        distances = attention_transfer(student, tf.constant(its, tf.float32))
    a, b = attention(ours), attention(its)
    np.testing.assert_allclose(distances, ((a - b) ** 2).sum(1), rtol=1e-5)
    assert (np.asarray(distances) <= 2).all()
    # d/dq of |q/|q| - b|^2 is 2 (a - b - a (a . (a - b))) / |q|; q is the mean of squares.
    norm = np.linalg.norm((ours**2).mean(3).reshape(3, -1), axis=1, keepdims=True)
    by_map = 2 * (a - b - a * (a * (a - b)).sum(1, keepdims=True)) / norm
    expected = by_map.reshape(3, 4, 5, 1) * 2 * ours / 6
    np.testing.assert_allclose(tape.gradient(distances, student), expected, rtol=1e-4, atol=1e-7)
    channels_first = [tf.constant(np.moveaxis(x, 3, 1), tf.float32) for x in (ours, its)]
    np.testing.assert_allclose(attention_transfer(*channels_first, 1), distances, rtol=1e-5)


def test_how_active_a_layer_is_does_not_matter_and_a_silent_one_has_no_nan():
    features = tf.random.stateless_normal([2, 3, 3, 4], (1, 2))
    assert float(tf.reduce_max(attention_transfer(100 * features, features))) < 1e-10
    silent = tf.Variable(tf.zeros([2, 3, 3, 4]))
    with tf.GradientTape() as tape:
        distances = attention_transfer(silent, features)
    np.testing.assert_allclose(distances, 1, rtol=1e-6)  # the teacher's map alone
    assert np.isfinite(tape.gradient(distances, silent)).all()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A ResNet-20 of random weights and statistics, as a teacher."""
    spec = registry.get("resnet20")
    keras.utils.set_random_seed(5)
    network = spec.build(num_classes=CLASSES, image_size=SIZE)
    random = np.random.default_rng(2)
    for name, variable in network.variables.items():
        if name.endswith("moving_mean"):
            variable.assign(random.uniform(-0.1, 0.1, variable.shape))
        if name.endswith("moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    directory = tmp_path_factory.mktemp("resnet")
    values = {name: variable.numpy() for name, variable in network.variables.items()}
    return teacher.read(spec, store.save(directory, 3, values), str(directory))


def lenet():
    return registry.get("lenet").build(num_classes=CLASSES, image_size=SIZE)


FLAGS = {
    "teacher_checkpoint": "here", "teacher_features": PAIRS, "teacher_features_weight": WEIGHT,
}  # fmt: skip


def taught(resnet, **mode):
    return run_steps(
        lenet, ArrayData(*random_examples(48)), steps=3, global_batch=16, loss_function=resnet,
        **EVERYTHING, **{**FLAGS, **mode},
    )  # fmt: skip


def assert_nearly_same_run(got, wanted):
    """Within 1e-4: LeNet's large convolutions round otherwise for batches of another size."""
    for mine, theirs in zip(got[0], wanted[0], strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert got[1].keys() == wanted[1].keys()
    for name, value in wanted[1].items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(got[1][name], value, atol=1e-4 * scale, err_msg=name)


def test_two_towers_are_one_and_the_loss_has_the_distance_of_the_layers(resnet):
    one = taught(resnet, num_gpus=1)
    assert_nearly_same_run(taught(resnet, num_gpus=2), one)
    plain = taught(resnet, teacher_features=None, teacher_features_weight=1.0)
    assert one[1].keys() == plain[1].keys(), "attention transfer has no variables"
    # The first step has the same weights in both; the features are asked of Keras, layer by layer.
    keras.utils.set_random_seed(make_params().hardware.tf_random_seed)
    student, its = lenet(), resnet.spec.build(num_classes=CLASSES, image_size=SIZE)
    for name, value in resnet.values.items():
        its.variables[name].assign(value)
    images = random_examples(48)[0][:16]
    distance = 0
    for pair in PAIRS.split(","):
        layers = [name.replace("/", ".") for name in pair.split(":")]
        maps = [
            attention(keras.Model(model.input, model.get_layer(name).output)(images).numpy())
            for model, name in zip((student.keras_model, its.keras_model), layers, strict=True)
        ]
        distance += ((maps[0] - maps[1]) ** 2).sum(1).mean()
    assert distance > 0.1
    got = one[0][0]["cross_entropy"] - plain[0][0]["cross_entropy"]
    np.testing.assert_allclose(got, WEIGHT * distance, rtol=1e-4)


def test_a_resumed_run_has_the_bits_of_an_unbroken_one(resnet, tmp_path):
    def start(train_dir, on_line=lambda line: None):
        params = make_params(
            device="cpu", train_dir=str(train_dir), batch_size=8, num_batches=4, display_every=1,
            learning_rate=0.05, save_model_steps=2, **FLAGS,
        )  # fmt: skip
        with console.routed_through(on_line):
            training.train(params, Spec(lenet), ArrayData(*random_examples(40)), loss=resnet)

    def stop(line):
        lines.append(line)
        if line.startswith("2\t"):
            os.kill(os.getpid(), signal.SIGTERM)

    lines = []
    start(tmp_path / "unbroken")
    with pytest.raises(Stopped):
        start(tmp_path / "broken", stop)
    assert any(line.endswith("; 3 x attention transfer of 2 layers") for line in lines)
    start(tmp_path / "broken")
    got, wanted = store.read(tmp_path / "broken"), store.read(tmp_path / "unbroken")
    assert got.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(got[name], wanted[name])]


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        ("conv1.rellu:stem.relu", "lenet has no layer conv1.rellu .*; did you mean conv1.relu?"),
        ("conv1.relu:stem.rlu", "resnet20 has no layer stem.rlu .*; did you mean stem.relu?"),
        ("conv1.relu:stage2.block1.relu", "the student's features are 8 x 8 pixels, the teacher's"),
        ("hidden.dense:stem.relu", "lenet has no layer hidden.dense with a height and width"),
    ],
)
@pytest.mark.parametrize("num_gpus", [1, 2])
def test_layers_that_cannot_be_compared_are_one_line(resnet, pairs, line, num_gpus):
    with pytest.raises(UsageError, match=line) as error:
        taught(resnet, teacher_features=pairs, num_gpus=num_gpus)
    assert "\n" not in str(error.value)


def test_a_network_of_slim_has_no_layers():
    network = registry.get("mobilenet_v1_relu").build(num_classes=CLASSES, image_size=32)
    with pytest.raises(UsageError, match="a network of TF-Slim, has no layers by name"):
        network.observing(["conv"])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"teacher_features": "a:b"}, "--teacher_features has no effect without --teacher"),
        (
            {"teacher": "lenet", "teacher_features_weight": 2.0},
            "--teacher_features_weight has no effect without --teacher_features",
        ),
        (
            {"teacher": "lenet", "teacher_features": "a:b", "recompute": True},
            "--teacher_features and --recompute exclude each other",
        ),
        ({"teacher": "lenet", "teacher_features": "a:b:c"}, "is not STUDENT_LAYER:TEACHER_LAYER"),
        ({"teacher": "lenet", "teacher_features": "a:b,a:b"}, "names a pair twice"),
    ],
)
def test_flags_without_effect_are_refused(flags, line):
    with pytest.raises(UsageError, match=line):
        make_params(**flags)
