"""Depthwise convolution with gradients that are fast on a CPU."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE, target
from models.layers.convolution import or_of_empty_batch
from models.layers.layout import channel_axis, tensorflow_layout

_WIDEST_FAST_FILTER = 3


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class DepthwiseConvolution(keras.layers.Layer):
    """Convolves each channel of [B, H, W, C] or [B, C, H, W] inputs with one filter, without bias.

    The variable is `depthwise_kernel` [k, k, C, 1], as in TF1 checkpoints. Padding is TensorFlow's
    "same" or "valid".
    """

    def __init__(
        self,
        kernel_size: int,
        strides: int = 1,
        *,
        padding: str = "same",
        data_format: str = "channels_last",
        depthwise_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.data_format = data_format
        self.layout = tensorflow_layout(data_format)
        self.depthwise_initializer = keras.initializers.get(depthwise_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[channel_axis(self.data_format)]
        self.depthwise_kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, channels, 1),
            name="depthwise_kernel",
            initializer=self.depthwise_initializer,
            autocast=False,
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return (
            or_of_empty_batch(self, self._convolve, inputs) if training else self._convolve(inputs)
        )

    def _convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.depthwise_kernel)
        steps = [1, self.strides, self.strides, 1]
        if self.data_format == "channels_first":
            steps = [1, 1, self.strides, self.strides]
        return depthwise_convolution(
            inputs,
            kernel,
            strides=steps,
            padding=self.padding.upper(),
            layout=self.layout,
        )

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        height_axis = 1 if self.data_format == "channels_last" else 2
        shape = list(inputs.shape)
        for axis in (height_axis, height_axis + 1):
            if shape[axis] is not None:
                shape[axis] = self._output_length(shape[axis])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def _output_length(self, length: int) -> int:
        covered = length if self.padding == "same" else length - self.kernel_size + 1
        return -(-covered // self.strides)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "depthwise_initializer": keras.initializers.serialize(self.depthwise_initializer),
        }


def depthwise_convolution(
    inputs: tf.Tensor, kernel: tf.Tensor, *, strides: list[int], padding: str, layout: str
) -> tf.Tensor:
    """Convolves each channel of `inputs` with its own filter, in the dtype of the inputs.

    On a CPU the backward pass is our own: in float32 for bfloat16, whose gradient kernels in
    TensorFlow 2.21 made EfficientNet-Lite0 1.7 times slower, column by column for filters wider
    than 3, and in float64 for images smaller than the filter. On a GPU cuDNN has 16-bit kernels,
    and TensorFlow has one in float32 whose sums have no order: a deterministic run takes the
    gradient of a grouped convolution instead.

    Args:
        kernel: float32 [k, k, C, 1].
        strides: one for each axis of the inputs.
    """
    options = {"strides": strides, "padding": padding, "data_format": layout}
    is_gpu, is_wide = target.is_gpu(), int(kernel.shape[1] or 0) > _WIDEST_FAST_FILTER
    is_ours = is_wide or inputs.dtype == tf.bfloat16 or _is_smaller(inputs, kernel.shape, layout)
    if is_gpu:
        is_ours = target.is_deterministic()
    if not is_ours:
        return tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=tf.cast(kernel, inputs.dtype), **options
        )

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        outputs = tf.raw_ops.DepthwiseConv2dNative(
            input=inputs, filter=tf.cast(kernel, inputs.dtype), **options
        )

        def gradient(d_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, of_filter = inputs, grouped_filter_gradient
            if not is_gpu:
                images, of_filter = tf.cast(inputs, tf.float32), filter_gradient
                d_outputs = tf.cast(d_outputs, tf.float32)
            d_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=tf.cast(kernel, images.dtype),
                out_backprop=d_outputs,
                **options,
            )
            d_kernel = of_filter(images, d_outputs, kernel.shape, **options)
            return tf.cast(d_inputs, inputs.dtype), d_kernel

        return outputs, gradient

    return convolve(inputs, kernel)


def grouped_filter_gradient(inputs, d_outputs, kernel_shape, **options):
    """Returns the gradient of a depthwise filter, [k, k, C, 1] in float32; not on CPUs.

    A depthwise convolution is one of C groups with a channel each, for which cuDNN has
    deterministic kernels in every precision.
    """
    height, width, channels, _ = kernel_shape
    gradient = tf.raw_ops.Conv2DBackpropFilter(
        input=inputs,
        filter_sizes=[height, width, 1, channels],
        out_backprop=d_outputs,
        **options,
    )
    return tf.cast(tf.reshape(gradient, kernel_shape), tf.float32)


def filter_gradient(inputs, d_outputs, kernel_shape, *, strides, padding, data_format):
    """Returns the gradient of a depthwise filter, [k, k, C, 1] in float32.

    oneDNN has a fast kernel for filters at most 3 wide, of any height: a wider one takes ten times
    as long. Its columns are gradients of narrower filters, on images shifted against the outputs.
    It has no fast kernel for images smaller than the filter either: TensorFlow's own, which float64
    reaches, is up to 15 times as fast.
    """
    if _is_smaller(inputs, kernel_shape, data_format):
        gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=tf.cast(inputs, tf.float64),
            filter_sizes=list(kernel_shape),
            out_backprop=tf.cast(d_outputs, tf.float64),
            strides=strides,
            padding=padding,
            data_format=data_format,
        )
        return tf.cast(gradient, tf.float32)

    def of_columns(inputs, d_outputs, width):
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs,
            filter_sizes=[kernel_shape[0], width, *kernel_shape[2:]],
            out_backprop=d_outputs,
            strides=strides,
            padding=padding,
            data_format=data_format,
        )

    width, stride, image_width = kernel_shape[1], strides[2], inputs.shape[2]
    splits = (
        padding == "SAME"
        and data_format == "NHWC"
        and image_width is not None
        and (width, stride) in {(5, 1), (7, 1), (5, 2)}
        and image_width >= width
        and image_width % stride == 0
    )
    if not splits:
        return of_columns(inputs, d_outputs, width)
    # Of "same" padding a filter 3 wide has one column less to the left than one 5 wide, and two
    # less than one 7 wide: on the same images it has exactly the columns in the middle.
    middle = of_columns(inputs, d_outputs, 3)
    if stride == 2:
        first = of_columns(inputs[:, :, 1:-1], d_outputs[:, :, 1:], 2)[:, :1]
        last = of_columns(inputs[:, :, 2:], d_outputs[:, :, :-1], 2)[:, 1:]
    else:
        side = width - 4  # a filter 1 wide, or 3 of which the column next to the middle is cut off
        num_columns = (width - 3) // 2
        first = of_columns(inputs[:, :, :-2], d_outputs[:, :, 2:], side)[:, :num_columns]
        last = of_columns(inputs[:, :, 2:], d_outputs[:, :, :-2], side)[:, -num_columns:]
    return tf.concat([first, middle, last], axis=1)


def _is_smaller(inputs: tf.Tensor, kernel_shape: Any, layout: str) -> bool:
    """Returns whether images are known to be lower or narrower than the filter."""
    height_axis = layout.index("H")
    sides = inputs.shape[height_axis : height_axis + 2]
    lengths = kernel_shape.as_list()[:2]
    return any(
        side is not None and side < length for side, length in zip(sides, lengths, strict=True)
    )
