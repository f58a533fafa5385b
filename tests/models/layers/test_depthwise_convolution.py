from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import target
from models.layers.depthwise_convolution import DepthwiseConvolution


def built(kernel_size=3, strides=1, channels=4, **options) -> DepthwiseConvolution:
    layer = DepthwiseConvolution(kernel_size, strides, **options)
    first = layer.data_format == "channels_first"
    layer.build((None, channels, None, None) if first else (None, None, None, channels))
    kernel = np.random.default_rng(1).normal(size=layer.depthwise_kernel.shape)
    # Rounded to bfloat16, so that 16-bit and float32 layers hold the same numbers.
    layer.depthwise_kernel.assign(tf.cast(tf.cast(kernel, tf.bfloat16), tf.float32))
    return layer


def images(height=7, width=8, channels=4) -> np.ndarray:
    generator = np.random.default_rng(2)
    return generator.integers(-8, 9, (2, height, width, channels)).astype(np.float32)


def numpy_depthwise(inputs: np.ndarray, kernel: np.ndarray, strides: int) -> np.ndarray:
    """Applies TensorFlow's SAME: out = ceil(in / stride), odd padding goes to the end."""
    size = kernel.shape[0]
    lengths = [-(-length // strides) for length in inputs.shape[1:3]]
    totals = [
        max((out - 1) * strides + size - length, 0)
        for out, length in zip(lengths, inputs.shape[1:3], strict=True)
    ]
    pads = [(total // 2, total - total // 2) for total in totals]
    padded = np.pad(inputs.astype(np.float64), [(0, 0), *pads, (0, 0)])
    outputs = np.zeros((inputs.shape[0], *lengths, inputs.shape[3]))
    for row in range(lengths[0]):
        for column in range(lengths[1]):
            top, left = row * strides, column * strides
            window = padded[:, top : top + size, left : left + size, :]
            outputs[:, row, column] = (window * kernel[None, ..., 0]).sum((1, 2))
    return outputs


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("strides", [1, 2])
def test_forward_equals_numpy(kernel_size, strides):
    layer = built(kernel_size, strides)
    expected = numpy_depthwise(images(), layer.depthwise_kernel.numpy(), strides)
    np.testing.assert_allclose(layer(images()), expected, rtol=1e-5, atol=1e-5)


def test_symbolic_shape_equals_the_real_one():
    for padding in ("same", "valid"):
        for strides in (1, 2, 3):
            layer = built(3, strides, padding=padding)
            symbolic = layer(keras.KerasTensor((2, 7, 8, 4)))
            assert tuple(symbolic.shape) == tuple(layer(images()).shape)
    assert built(3, 2)(keras.KerasTensor((None, None, None, 4))).shape == (None, None, None, 4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_gradients_equal_float32_ones(dtype):
    exact, layer = built(), built(dtype=f"mixed_{dtype}")
    pixels = images(24, 24)

    def gradients(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        d_outputs = np.random.default_rng(4).integers(-4, 5, outputs.shape)
        sources = [inputs, layer.depthwise_kernel.value]
        return outputs, *tape.gradient(
            outputs, sources, output_gradients=tf.cast(d_outputs, outputs.dtype)
        )

    outputs, d_inputs, d_kernel = gradients(layer, tf.cast(pixels, dtype))
    _, exact_d_inputs, exact_d_kernel = gradients(exact, tf.constant(pixels))
    assert outputs.dtype == d_inputs.dtype == dtype
    assert d_kernel.dtype == tf.float32
    if dtype == "bfloat16":
        # Sums of whole numbers beyond 256: float32 holds them exactly, bfloat16 does not.
        assert np.abs(exact_d_kernel).max() > 512
        np.testing.assert_allclose(d_kernel, exact_d_kernel, rtol=1e-6)
    np.testing.assert_allclose(d_kernel, exact_d_kernel, rtol=1e-2, atol=0.5)
    np.testing.assert_allclose(tf.cast(d_inputs, tf.float32), exact_d_inputs, rtol=1e-2, atol=0.1)


def test_channels_first_builds_with_the_same_kernel():
    layer = built(data_format="channels_first")
    assert layer.depthwise_kernel.shape == (3, 3, 4, 1)
    assert layer(keras.KerasTensor((None, 4, 7, 8))).shape == (None, 4, 7, 8)


def test_jit_compiled_equals_plain():
    layer = built(dtype="mixed_bfloat16")

    def gradient(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(inputs), tf.float32) ** 2)
        return tape.gradient(loss, layer.depthwise_kernel.value)

    inputs = tf.cast(images(), tf.bfloat16)
    compiled = tf.function(gradient, jit_compile=True, autograph=False)(inputs)
    np.testing.assert_allclose(compiled, gradient(inputs), rtol=2e-2, atol=1.0)


def test_configuration_survives_serialization():
    layer = built(5, 2, padding="valid", data_format="channels_first", name="a")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(copy, DepthwiseConvolution)
    assert copy.get_config() == layer.get_config()


def numpy_filter_gradient(inputs, d_outputs, size, strides):
    """Sums, for each tap, what the filter met there, in float64; SAME padding as above."""
    pads = []
    for length, out in zip(inputs.shape[1:3], d_outputs.shape[1:3], strict=True):
        total = max((out - 1) * strides + size - length, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(inputs.astype(np.float64), [(0, 0), *pads, (0, 0)])
    rows, columns = d_outputs.shape[1:3]
    gradient = np.zeros((size, size, inputs.shape[3]))
    for row in range(size):
        for column in range(size):
            met = padded[
                :,
                row : row + (rows - 1) * strides + 1 : strides,
                column : column + (columns - 1) * strides + 1 : strides,
            ]
            gradient[row, column] = (met * d_outputs).sum((0, 1, 2))
    return gradient[..., np.newaxis]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "height", "width"),
    [
        *((5, 1, 6, width) for width in (1, 2, 4, 5, 8, 9)),
        *((5, 2, height, width) for height, width in ((7, 6), (6, 7), (8, 4), (5, 14), (1, 2))),
        *((7, 1, 9, width) for width in (6, 7, 8)),
        (7, 2, 9, 8),
        *((3, strides, *sides) for strides in (1, 2) for sides in ((1, 1), (2, 2), (1, 5), (3, 3))),
        *((5, strides, *sides) for strides in (1, 2) for sides in ((1, 1), (4, 4), (4, 9))),
    ],
)
def test_wide_filters_and_small_images_have_the_gradient_of_their_definition(
    kernel_size, strides, height, width, dtype
):
    layer = built(kernel_size, strides, dtype=dtype)
    inputs = tf.cast(images(height, width), layer.compute_dtype)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
    # Small integers: exact in bfloat16, and their sums in float32.
    d_outputs = np.random.default_rng(5).integers(-4, 5, outputs.shape).astype(np.float32)
    gradient = tape.gradient(
        outputs, layer.depthwise_kernel.value, output_gradients=tf.cast(d_outputs, outputs.dtype)
    )
    expected = numpy_filter_gradient(inputs.numpy(), d_outputs, kernel_size, strides)
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize(("kernel_size", "strides"), [(5, 1), (5, 2), (7, 1)])
def test_no_gradient_kernel_is_wider_than_the_fast_one(kernel_size, strides):
    layer = built(kernel_size, strides)
    inputs = tf.constant(images(16, 16))

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.depthwise_kernel.value)

    operations = gradient.get_concrete_function().graph.get_operations()
    widths = [
        tf.get_static_value(operation.inputs[1])[1]
        for operation in operations
        if operation.type == "DepthwiseConv2dNativeBackpropFilter"
    ]
    assert len(widths) == 3
    assert max(widths) == 3


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("kernel_size", "side", "computes_in"),
    [(3, 3, "float32"), (3, 2, "float64"), (5, 5, "float32"), (5, 4, "float64")],
)
def test_an_image_smaller_than_the_filter_avoids_the_slow_kernel(
    kernel_size, side, computes_in, dtype
):
    """oneDNN takes part in float32 only."""
    layer = built(kernel_size, dtype=dtype)
    inputs = tf.cast(images(side, side), layer.compute_dtype)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.depthwise_kernel.value)

    found = {
        operation.inputs[0].dtype.name
        for operation in gradient.get_concrete_function().graph.get_operations()
        if operation.type == "DepthwiseConv2dNativeBackpropFilter"
    }
    assert found == {computes_in}


@pytest.mark.parametrize(("kernel_size", "strides"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)])
def test_the_deterministic_gradients_of_gpus_equal_the_kernels(monkeypatch, kernel_size, strides):
    """XLA, which has grouped convolutions on a CPU, too, takes the place of cuDNN."""
    layer = built(kernel_size, strides)
    inputs = tf.constant(images(9, 8))

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            weights = tf.reshape(tf.range(tf.size(outputs)) % 7, tf.shape(outputs))
            loss = tf.reduce_sum(outputs * tf.cast(weights, tf.float32))
        return tape.gradient(loss, [inputs, layer.depthwise_kernel.value])

    expected = gradients()
    monkeypatch.setattr(target, "is_deterministic", lambda: True)
    with target.assume_gpu():
        found = tf.function(gradients, jit_compile=True, autograph=False)()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
