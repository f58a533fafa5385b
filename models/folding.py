"""Batch norm folded into the convolutions before it, for a network that only answers.

With s = gamma / sqrt(variance + epsilon), the batch norm of a convolution by the kernel K is

    s * (conv(x, K) - mean) + beta = conv(x, s * K) + (beta - s * mean),

one operation, which TensorFlow fuses with the ReLU that follows. The network's layers stay as they
are: a forward pass gives them other values in place of their variables (models/forward_pass.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from models import forward_pass
from models.layers.batch_norm import BatchNormVariables, FusedBatchNorm
from models.layers.convolution import Convolution
from models.layers.depthwise_convolution import DepthwiseConvolution
from models.layers.fake_quantization import rounded_kernel

_DEPTHWISE = (DepthwiseConvolution, keras.layers.DepthwiseConv2D)
# The kernel that makes the outputs of a layer.
_KERNELS = {
    keras.layers.Conv2D: "kernel",
    Convolution: "kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    DepthwiseConvolution: "depthwise_kernel",
}


@dataclass(frozen=True)
class Fold:
    """A convolution and the batch norm of its outputs; variables are the objects that layers ask.

    Attributes:
        kernel: [k, k, inputs, C], or of a depthwise convolution [k, k, inputs, C / inputs].
        batch_norm: None for a kernel, also [inputs, C], that is rounded and takes in nothing.
        dtype: that the convolution computes in.
        bias: of the convolution, [C]; None without.
        is_rounded: whether the kernel is rounded to 8 bits first (models/forms/quantization.py).
    """

    kernel: Any
    batch_norm: BatchNormVariables | None = None
    epsilon: float = 0.0
    dtype: str = "float32"
    is_depthwise: bool = False
    bias: Any = None
    is_rounded: bool = False


class FoldedNetwork:
    """A network in which batch norm is part of the convolutions wherever it follows one.

    It has variables of its own for them, which hold nothing before the first `updates`. Create it
    inside `strategy.scope()`.

    Args:
        forward: of the network, see models.network.Network.
    """

    def __init__(self, forward: Callable[[tf.Tensor, bool], Any], folds: Sequence[Fold]):
        self._forward = forward
        self._folds = folds
        self._values: dict[int, tf.Variable] = {}
        self._offsets: dict[int, tf.Variable] = {}
        for fold in folds:
            self._values[id(fold.kernel)] = _like(fold.kernel, fold.dtype)
            if fold.batch_norm is not None:
                self._offsets[id(fold.batch_norm.beta)] = _like(fold.batch_norm.beta, fold.dtype)
            if fold.bias is not None:
                self._values[id(fold.bias)] = _like(fold.bias, fold.dtype)

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """The variables that are its own."""
        return (*self._values.values(), *self._offsets.values())

    def updates(self) -> Iterator[tuple[tf.Variable, Callable[..., None], tuple]]:
        """Yields (variable, function, arguments): `function(variable, *arguments)` folds anew.

        Where variables have a copy on each tower, each copy is called with the copies of that
        tower among the arguments.
        """
        for fold in self._folds:
            kernel = self._values[id(fold.kernel)]
            if fold.batch_norm is None:
                yield kernel, _round, (fold.is_depthwise, _tensorflow_variable(fold.kernel))
                continue
            offset = self._offsets[id(fold.batch_norm.beta)]
            scaled_bias = self._values.get(id(fold.bias))
            theirs = map(_tensorflow_variable, (fold.kernel, fold.bias, *fold.batch_norm))
            arguments = (fold.epsilon, fold.is_depthwise, offset, scaled_bias, fold.is_rounded)
            yield kernel, _fold, (*arguments, *theirs)

    def update(self) -> None:
        """Folds the current weights, where no strategy has copies of variables."""
        for variable, function, arguments in self.updates():
            function(variable, *arguments)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the logits of [B, H, W, 3], float32 [B, classes]."""
        with forward_pass.forward_pass(None, values=self._values, offsets=self._offsets):
            outputs = self._forward(images, False)
        return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _round(kernel: tf.Variable, is_depthwise: bool, theirs: tf.Variable) -> None:
    """Assigns `kernel`."""
    kernel.assign(rounded_kernel(tf.convert_to_tensor(theirs), is_depthwise))


def _fold(
    kernel: tf.Variable,
    epsilon: float,
    is_depthwise: bool,
    offset: tf.Variable,
    scaled_bias: tf.Variable | None,
    is_rounded: bool,
    *theirs: tf.Variable | None,
) -> None:
    """Assigns `kernel`, `offset` and `scaled_bias`; in float64, so that each is rounded once.

    Args:
        theirs: the kernel and the bias of the convolution, and BatchNormVariables.
    """
    weights, bias, gamma, beta, mean, variance = map(_float64, theirs)
    if is_rounded:
        source: Any = theirs[0]
        weights = tf.cast(rounded_kernel(tf.convert_to_tensor(source), is_depthwise), tf.float64)
    scale = tf.math.rsqrt(variance + epsilon)
    if gamma is not None:
        scale *= gamma
    # Channel c of a depthwise convolution is filter c % multiplier of input c // multiplier.
    per_filter = tf.reshape(scale, kernel.shape[-2:]) if is_depthwise else scale
    kernel.assign(tf.cast(weights * per_filter, kernel.dtype))
    offset.assign(tf.cast(beta - mean * scale, offset.dtype))
    if scaled_bias is not None:
        scaled_bias.assign(tf.cast(bias * scale, scaled_bias.dtype))


def _float64(variable: tf.Variable | None) -> Any:
    return None if variable is None else tf.cast(tf.convert_to_tensor(variable), tf.float64)


def _like(variable: Any, dtype: str) -> tf.Variable:
    return tf.Variable(tf.zeros(variable.shape, dtype), trainable=False)


def _tensorflow_variable(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def keras_folds(model: keras.Model) -> list[Fold]:
    """Returns the batch norms whose input is the outputs of a convolution that nothing else reads.

    A convolution with an activation does not count.
    """
    folds = []
    layers: Any = model.layers
    for layer in layers:
        if isinstance(layer, FusedBatchNorm) and len(layer._inbound_nodes) == 1:
            inputs: Any = layer.input
            source = inputs._keras_history.operation
            is_alone = len(source._inbound_nodes) == len(source._outbound_nodes) == 1
            is_linear = getattr(source, "activation", None) in (None, keras.activations.linear)
            if type(source) in _KERNELS and is_alone and is_linear:
                folds.append(
                    Fold(
                        kernel=getattr(source, _KERNELS[type(source)]),
                        batch_norm=layer.variables_by_role(),
                        epsilon=layer.epsilon,
                        dtype=source.compute_dtype,
                        is_depthwise=type(source) in _DEPTHWISE,
                        bias=getattr(source, "bias", None),
                    )
                )
    return folds


def substituted() -> contextlib.AbstractContextManager:
    """Gives Keras layers the values of the current forward pass in place of their variables."""
    current = forward_pass.current()
    return _Values(current.values) if current and current.values else contextlib.nullcontext()


def rounding(folds: Sequence[Fold]) -> contextlib.AbstractContextManager:
    """Does the same as `substituted`, with the other kernels of `folds` rounded to 8 bits."""
    current = forward_pass.current()
    given = current.values if current else {}
    rounded = {
        id(fold.kernel): rounded_kernel(tf.convert_to_tensor(fold.kernel), fold.is_depthwise)
        for fold in folds
        if fold.is_rounded and id(fold.kernel) not in given
    }
    return _Values({**rounded, **given})


class _Values(keras.StatelessScope):
    """Unlike Keras' own scope, it accepts values of the dtype that a layer computes in."""

    def __init__(self, values: Mapping[int, Any]):
        super().__init__(initialize_variables=False)
        self._values = values

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        value = self._values.get(id(variable))
        return None if value is None else tf.convert_to_tensor(value)
