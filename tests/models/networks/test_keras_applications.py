"""The networks of keras.applications in the registry."""

from __future__ import annotations

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.layers.batch_norm import FusedBatchNorm
from models.layers.dropout import Dropout, StochasticDepth
from models.network import Network
from tests.models import towers

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


def build(name: str, *, num_classes: int = 10, image_size: int = 32, **options) -> Network:
    return registry.get(name).build(num_classes=num_classes, image_size=image_size, **options)


def sizes(network: Network) -> tuple[int, int]:
    """Returns the numbers of trained and of other values."""
    total = sum(math.prod(variable.shape) for variable in network.variables.values())
    trained = sum(math.prod(network.variables[name].shape) for name in network.trainable)
    return trained, total - trained


@pytest.mark.parametrize(
    ("name", "trained", "others"),
    [
        ("keras_mobilenetv2", 3_504_872, 34_112),
        ("keras_resnet50", 25_583_592, 53_120),
        pytest.param("keras_mobilenet", 4_231_976, 21_888, marks=pytest.mark.slow),
        ("keras_efficientnetb0", 5_288_548, 42_016),
        pytest.param("keras_nasnetmobile", 5_289_978, 36_738, marks=pytest.mark.slow),
        pytest.param("keras_densenet121", 7_978_856, 83_648, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_those_that_keras_documents(name, trained, others):
    assert sizes(build(name, num_classes=1000)) == (trained, others)


def every_application() -> set[str]:
    """Returns the names of the networks that keras.applications exports."""
    return {name for name in vars(keras.applications) if name[0].isupper()}


def test_every_application_has_a_name():
    ours = {spec for spec in registry.names() if spec.startswith("keras_")}
    assert ours == {f"keras_{name.lower()}" for name in every_application()}
    assert {registry.get(name).options["application"] for name in ours} == every_application()


def test_the_registry_names_them_without_keras():
    program = (
        "import sys, models.registry as r; r.get('keras_resnet50'); r.get('inception_v3'); "
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'tf_slim') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def original_logits(name: str, network: Network, images: np.ndarray) -> tf.Tensor:
    """Computes the logits of Keras' own network and preprocessing with the same weights."""
    spec = registry.get(name)
    application = spec.options["application"]
    create = getattr(keras.applications, application)
    model = create(
        weights=None,
        classes=10,
        input_shape=images.shape[1:],
        classifier_activation=None,
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            if layer.weights:
                layer.set_weights([IMAGENET_MEAN, IMAGENET_STD**2, np.array(0)])
                layer.finalize_state()
        elif layer.weights:
            layer.set_weights(network.keras_model.get_layer(layer.name).get_weights())
    module = sys.modules[create.__module__]
    pixels = module.preprocess_input(images.astype(np.float32))
    return model(pixels, training=False)


def calibrate(network: Network, images: np.ndarray) -> None:
    """Sets moving statistics as after long training; otherwise all images give the same logits."""
    statistics = {
        f"{network.name}/{layer.name}/{kind}": layer.momentum
        for layer in network.keras_model.layers
        if isinstance(layer, FusedBatchNorm)
        for kind in ("moving_mean", "moving_variance")
    }
    for name in statistics:
        network.variables[name].assign(tf.zeros_like(network.variables[name]))
    result = network(images, training=True, seed=tf.constant([1, 2]))
    for name, momentum in statistics.items():
        network.variables[name].assign(result.statistics[name] / (1.0 - momentum))


@pytest.mark.parametrize(
    "name",
    [
        "keras_mobilenetv2",
        "keras_resnet50",
        "keras_efficientnetb0",
        "keras_mobilenetv3small",
        pytest.param("keras_densenet121", marks=pytest.mark.slow),
        pytest.param("keras_efficientnetv2b0", marks=pytest.mark.slow),
        pytest.param("keras_efficientnetv2s", marks=pytest.mark.slow),
        pytest.param("keras_convnexttiny", marks=pytest.mark.slow),
        pytest.param("keras_nasnetmobile", marks=pytest.mark.slow),
    ],
)
def test_logits_are_those_of_the_original(name):
    network = build(name, image_size=64)
    generator = np.random.default_rng(1)
    for key, variable in network.variables.items():
        if key.endswith("beta"):
            variable.assign(generator.uniform(-0.2, 0.2, variable.shape))
    # Patches of color: noise would look the same to a network wherever it pools. 64 pixels leave
    # 32 values for the statistics of the last layers; with 8, rounding can be amplified at random.
    images = generator.integers(0, 256, (8, 4, 4, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    calibrate(network, images)
    logits = network(images, training=False).logits
    expected = original_logits(name, network, images)
    differences = np.abs(logits - np.mean(logits, axis=0)).max()
    assert differences > 0.0
    np.testing.assert_allclose(logits, expected, atol=2e-3 * differences)


def test_layers_of_ours_stand_for_keras_own():
    layers = build("keras_efficientnetb0").keras_model.layers
    kinds = [type(layer) for layer in layers]
    # Stem, head, and in 16 blocks: 15 expansions, 16 depthwise convolutions, 16 projections.
    assert kinds.count(FusedBatchNorm) == 2 + 15 + 16 + 16
    # Blocks that add their input: 2 + 1 + 1 + 2 + 2 + 3 - 2 of them, 9.
    drops = [layer for layer in layers if isinstance(layer, StochasticDepth)]
    assert len(drops) == 9
    # drop_connect_rate 0.2 times block / 16, for the second block of the second stage.
    assert drops[0].keep_probability == pytest.approx(1.0 - 0.2 * 2 / 16)
    assert [layer.rate for layer in layers if isinstance(layer, Dropout)] == [0.2]
    foreign = (keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.Normalization)
    assert not [layer for layer in layers if isinstance(layer, foreign)]


@pytest.mark.parametrize(
    "name", ["keras_mobilenetv3small", pytest.param("keras_convnexttiny", marks=pytest.mark.slow)]
)
def test_names_are_the_same_in_every_build(name):
    # Keras numbers what was given no name: MobileNetV3's dropout, ConvNeXt's scales.
    first, second = (build(name) for _ in range(2))
    assert list(first.variables) == list(second.variables)
    assert [layer.name for layer in first.keras_model.layers] == [
        layer.name for layer in second.keras_model.layers
    ]


def test_kernels_decay_and_nothing_else():
    network = build("keras_xception", image_size=71)
    endings = {name.rsplit("/", 1)[1] for name in network.decayed}
    assert endings == {"kernel", "depthwise_kernel", "pointwise_kernel"}
    # 34 separable convolutions of two kernels, 2 + 4 others, the classifier.
    assert len(network.decayed) == 2 * 34 + 6 + 1


def test_statistics_are_reported_for_every_batch_norm():
    network = build("keras_mobilenetv2")
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
    result = network(images, training=True, seed=tf.constant([1, 2]))
    assert set(result.statistics) == set(network.variables) - set(network.trainable)


def test_variables_are_made_on_every_tower():
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = build("keras_mobilenetv3small")
    for variable in network.variables.values():
        assert len(variable.values) == 2
        np.testing.assert_array_equal(variable.values[0], variable.values[1])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_variables_and_logits_are_float32_in_every_dtype(dtype):
    network = build("keras_mobilenet", dtype=dtype)
    images = np.full((2, 32, 32, 3), 100, np.uint8)
    result = network(images, training=False)
    assert result.logits.dtype == tf.float32
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}
    assert network.keras_model.get_layer("conv_pw_3").output.dtype == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_residual_stream_is_in_the_networks_dtype(dtype):
    """ConvNeXt's stem and down-sampling are nested models; their outputs are in it, too."""
    model = build("keras_convnexttiny", dtype=dtype).keras_model
    additions = [one.output.dtype for one in model.operations if type(one).__name__ == "Add"]
    # Liu et al., 2022, section 3: 3 + 3 + 9 + 3 blocks.
    assert additions == [dtype] * 18
    nested = [layer for layer in model.layers if isinstance(layer, keras.Sequential)]
    assert [layer.output.dtype for layer in nested] == [dtype] * 4


def test_nested_layers_keep_their_names():
    """The names are those of Keras' own network."""
    stem = build("keras_convnexttiny").keras_model.get_layer("convnext_tiny_stem")
    assert [layer.name for layer in stem.layers] == [
        "convnext_tiny_stem_conv",
        "convnext_tiny_stem_layernorm",
    ]
    names = [variable.path.partition("convnext_tiny_stem/")[2] for variable in stem.weights]
    assert names == [
        "convnext_tiny_stem_conv/kernel",
        "convnext_tiny_stem_conv/bias",
        "convnext_tiny_stem_layernorm/gamma",
        "convnext_tiny_stem_layernorm/beta",
    ]


@pytest.mark.parametrize(
    "name",
    [  # Heads: convolution and reshape; convolution and flatten; dense.
        "keras_mobilenet",
        "keras_mobilenetv3small",
        "keras_resnet50v2",
        *(
            pytest.param(f"keras_{name}", marks=pytest.mark.slow)
            for name in ("convnexttiny", "densenet121", "nasnetmobile", "efficientnetb0", "vgg16")
        ),
    ],
)
def test_logits_are_computed_in_float32(name):
    network = build(name, num_classes=100, dtype="bfloat16")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    logits = network(images, training=False).logits
    rounded = tf.cast(tf.cast(logits, tf.bfloat16), tf.float32)
    assert np.mean(logits != rounded) > 0.9


def test_a_keras_file_restores_the_model(tmp_path):
    network = build("keras_resnet50")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    network.keras_model.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    expected = network(images, training=False).logits
    np.testing.assert_allclose(loaded(images, training=False), expected, rtol=1e-5, atol=1e-6)
