"""A network that trains as its full-integer TFLite file will answer (`--quantization_aware`).

Kernels and activations are rounded to 8 bits in the forward pass (Krishnamoorthi, 2018,
arXiv:1806.08342; Jacob et al., 2018, arXiv:1712.05877). An activation is rounded where the file
holds one: after a convolution with the batch norm and the ReLU that TFLite fuses with it, after an
addition with its ReLU, after global pooling, and at the logits. Operations that only move or choose
values keep the scale of their input, as in the file.

Batch norm stays a layer of its own, with the statistics of the batch: the scale of a kernel's
channel is the channel's own, so that rounding and folding commute (`rounded_kernel`). A network
whose batch norm cannot be folded is refused, and so is one with an operation that is not known to
be exact here.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from common.errors import UsageError
from models.folding import Fold
from models.layers.batch_norm import FusedBatchNorm
from models.layers.convolution import Convolution
from models.layers.depthwise_convolution import DepthwiseConvolution
from models.layers.dropout import Dropout, StochasticDepth
from models.layers.fake_quantization import ActivationQuantization, PixelQuantization
from models.layers.pixel_normalization import PixelNormalization
from models.layers.residual import ZeroPaddedShortcut

_DEPTHWISE = (DepthwiseConvolution, keras.layers.DepthwiseConv2D)
_WEIGHTED = (Convolution, keras.layers.Conv2D, keras.layers.Dense, *_DEPTHWISE)
_COMPUTING = (
    *_WEIGHTED,
    FusedBatchNorm,
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.GlobalAveragePooling2D,
)
# Their outputs have the scale of their inputs.
_MOVING = (
    keras.layers.MaxPooling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.ZeroPadding2D,
    keras.layers.Identity,
    ZeroPaddedShortcut,
    Dropout,
    StochasticDepth,
)
_ACTIVATIONS = (None, "linear", "relu", "relu6")


class RoundingModel(NamedTuple):
    """A model that rounds.

    Attributes:
        model: it shares its other layers with the model that it was made from.
        ranges: checkpoint name -> moments of the range of an activation.
        folds: of the kernels, all of which are rounded.
    """

    model: keras.Model
    ranges: dict[str, keras.Variable]
    folds: list[Fold]


def rounding_model(
    name: str,
    model: keras.Model,
    folds: Sequence[Fold],
    variables: Mapping[str, tf.Variable] | None = None,
) -> RoundingModel:
    """Makes a model that rounds activations.

    Args:
        name: of the network.
        folds: of the model.
        variables: checkpoint name -> variable, of which the ranges are taken; None for new ones.

    Raises:
        UsageError: there is an operation that cannot be trained so; the message is one line.
    """
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    readers: dict[int, list[Any]] = defaultdict(list)
    for node in nodes:
        if problem := _problem(node.operation, folds):
            raise UsageError(refusal(name, problem))
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    tensors: dict[int, Any] = {id(model.inputs[0]): model.inputs[0]}
    added: list[ActivationQuantization] = []
    for node in nodes:
        operation, output = node.operation, node.outputs[0]
        if isinstance(operation, PixelNormalization):
            operation = PixelQuantization(operation.mean, operation.std, name=operation.name)
        arguments, options = node.arguments.fill_in(tensors)
        result = operation(*arguments, **options)
        if _computes(operation) and not _is_fused(operation, readers[id(output)]):
            layer = ActivationQuantization(
                _is_non_negative(operation), name=f"{operation.name}.quantization"
            )
            result = layer(result)
            added.append(layer)
        tensors[id(output)] = result
    outputs = [tensors[id(output)] for output in model.outputs]
    rounding = keras.Model(
        model.inputs[0], outputs if len(outputs) > 1 else outputs[0], name=model.name
    )
    rounded = [dataclasses.replace(fold, is_rounded=True) for fold in folds]
    rounded += _kernels_alone(rounding, {id(fold.kernel) for fold in folds})
    return RoundingModel(rounding, _ranges(model.name, added, variables), rounded)


def refusal(name: str, problem: str) -> str:
    """Returns why a network cannot be trained so, and what to do."""
    return (
        f"{name} cannot be trained with --quantization_aware, as {problem}: choose another "
        "--model, or quantize after training (export.py --quantize=int8)"
    )


def _ranges(
    scope: str,
    layers: Sequence[ActivationQuantization],
    variables: Mapping[str, tf.Variable] | None,
) -> dict[str, keras.Variable]:
    ranges = {}
    for layer in layers:
        (moments,) = layer.weights
        name = f"{scope}/{layer.name.replace('.', '/')}/{moments.name}"
        if variables is not None:
            # What Keras calls to give a variable its value; it takes a tf.Variable as it is.
            moments._initialize(variables[name])
        ranges[name] = moments
    return ranges


def _problem(operation: Any, folds: Sequence[Fold]) -> str:
    """Returns why an operation cannot be trained so; "" if it can."""
    layer, kind = operation.name.replace(".", "/"), type(operation).__name__
    dtype = getattr(operation, "compute_dtype", "float32")
    if dtype != "float32":
        return f"{layer} computes in {dtype}"
    if isinstance(operation, FusedBatchNorm):
        if all(operation.beta is not fold.batch_norm.beta for fold in folds if fold.batch_norm):
            return f"no convolution can take in its batch norm {layer}"
    elif not isinstance(operation, (*_COMPUTING, *_MOVING, PixelNormalization)):
        return f"there is no 8-bit form of its {kind} ({layer}) here"
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", activation)
    is_relu = isinstance(operation, keras.layers.ReLU)
    if is_relu and (operation.negative_slope or operation.threshold):
        name = "leaky ReLU"
    return "" if name in _ACTIVATIONS else f"there is no 8-bit form of its {name} ({layer}) here"


def _computes(operation: Any) -> bool:
    """Returns whether the outputs of an operation have a scale of their own."""
    is_identity = isinstance(operation, keras.layers.Activation) and _is_linear(operation)
    return isinstance(operation, _COMPUTING) and not is_identity


def _is_linear(operation: Any) -> bool:
    return getattr(operation, "activation", None) in (None, keras.activations.linear)


def _is_fused(operation: Any, readers: Sequence[Any]) -> bool:
    """Returns whether TFLite computes the outputs of an operation and of the next one at once."""
    if len(readers) != 1:
        return False
    if isinstance(readers[0], FusedBatchNorm):
        return True
    fuses = isinstance(operation, (*_WEIGHTED, FusedBatchNorm, keras.layers.Add))
    is_read = isinstance(readers[0], (keras.layers.ReLU, keras.layers.Activation))
    return fuses and _is_linear(operation) and is_read and _computes(readers[0])


def _is_non_negative(operation: Any) -> bool:
    activation = getattr(operation, "activation", None)
    is_relu = isinstance(operation, keras.layers.ReLU) and not operation.negative_slope
    return is_relu or activation not in (None, keras.activations.linear)


def _kernels_alone(model: Any, folded: set[int]) -> list[Fold]:
    """Returns the kernels that take in no batch norm, such as the classifier's."""
    alone = []
    for layer in model.layers:
        if isinstance(layer, _WEIGHTED):
            is_ours = isinstance(layer, DepthwiseConvolution)
            kernel = layer.depthwise_kernel if is_ours else layer.kernel
            if id(kernel) not in folded:
                is_depthwise = isinstance(layer, _DEPTHWISE)
                alone.append(Fold(kernel, is_depthwise=is_depthwise, is_rounded=True))
    return alone
