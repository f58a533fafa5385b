"""Maps the names of EfficientNet-Lite's variables in other packages to the official TF1 names.

TF1 numbers the layers of a scope in the order of creation: conv2d, conv2d_1,
tpu_batch_normalization, _1, _2. A block without expansion (the first) has one of each less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from common.errors import DataError
from models import registry
from models.networks import efficientnet_lite

_BATCH_NORM_FROM_TORCH = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# torch has kernels [out, in, height, width]; in a depthwise kernel, `in` is 1.
_CONVOLUTION_AXES = (2, 3, 1, 0)
_DEPTHWISE_AXES = (2, 3, 0, 1)
_UNUSED_IN_TENSORFLOW = "num_batches_tracked"
_TORCH_NAME = re.compile(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)")
_KERAS_BLOCK_LAYER = re.compile(r"block(\d+)([a-z]+)_(\w+)")

# Layer -> its official name within a block with expansion, or in stem and head.
_TORCH_LAYERS = {
    "_expand_conv": "conv2d",
    "_bn0": "tpu_batch_normalization",
    "_depthwise_conv": "depthwise_conv2d",
    "_bn1": "tpu_batch_normalization_1",
    "_project_conv": "conv2d_1",
    "_bn2": "tpu_batch_normalization_2",
}
_TORCH_OUTER_LAYERS = {
    "_conv_stem": "stem/conv2d",
    "_bn0": "stem/tpu_batch_normalization",
    "_conv_head": "head/conv2d",
    "_bn1": "head/tpu_batch_normalization",
    "_fc": "head/dense",
}
_KERAS_LAYERS = {
    "expand_conv": "conv2d",
    "expand_bn": "tpu_batch_normalization",
    "dwconv": "depthwise_conv2d",
    "bn": "tpu_batch_normalization_1",
    "project_conv": "conv2d_1",
    "project_bn": "tpu_batch_normalization_2",
}
_KERAS_OUTER_LAYERS = {
    "stem_conv": "stem/conv2d",
    "stem_bn": "stem/tpu_batch_normalization",
    "top_conv": "head/conv2d",
    "top_bn": "head/tpu_batch_normalization",
    "predictions": "head/dense",
}
_WITHOUT_EXPANSION = {
    "conv2d_1": "conv2d",
    "tpu_batch_normalization_1": "tpu_batch_normalization",
    "tpu_batch_normalization_2": "tpu_batch_normalization_1",
}


def scope(model: str) -> str:
    """Returns the scope of a model's variables: efficientnet_lite0 -> efficientnet-lite0."""
    variant = registry.get(model).options["variant"]
    assert isinstance(variant, int)
    return efficientnet_lite.official_scope(variant)


def from_torch(model: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns official name -> array in TensorFlow's layout, from efficientnet-lite-pytorch.

    Args:
        model: A name in models.registry.
        tensors: The state dict of that package.

    Raises:
        DataError: This network does not have a variable of that name.
    """
    with_expansion = {name.split("._expand_conv")[0] for name in tensors if "._expand_conv" in name}
    converted = {}
    for name, array in tensors.items():
        match = _TORCH_NAME.fullmatch(name)
        block, layer, variable = match.groups() if match else (None, "", "")
        if variable == _UNUSED_IN_TENSORFLOW:
            continue
        if block is None:
            place = _TORCH_OUTER_LAYERS.get(layer)
        else:
            place = _in_block(_TORCH_LAYERS, block, layer, f"_blocks.{block}" in with_expansion)
        if place is None:
            raise DataError(f"{model} has no variable {name!r}")
        new_name, value = _convert_from_torch(place, variable, array)
        converted[f"{scope(model)}/{new_name}"] = value
    return converted


def from_efficientnet_lite_keras(
    model: str, layers: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns official name -> array, from the layers of a file of efficientnet-lite-keras.

    That package names blocks by stage and letter; in sorted order they are the official blocks.

    Raises:
        DataError: This network does not have a layer of that name.
    """
    blocks = {match.groups()[:2] for match in map(_KERAS_BLOCK_LAYER.fullmatch, layers) if match}
    numbers = {block: i for i, block in enumerate(sorted(blocks, key=lambda b: (int(b[0]), b[1])))}
    converted = {}
    for layer, variables in layers.items():
        match = _KERAS_BLOCK_LAYER.fullmatch(layer)
        if match is None:
            place = _KERAS_OUTER_LAYERS.get(layer)
        else:
            stage, letter, kind = match.groups()
            expanded = f"block{stage}{letter}_expand_conv" in layers
            place = _in_block(_KERAS_LAYERS, str(numbers[stage, letter]), kind, expanded)
        if place is None:
            raise DataError(f"{model} has no layer {layer!r}")
        converted |= {f"{scope(model)}/{place}/{key}": value for key, value in variables.items()}
    return converted


def _in_block(layers: Mapping[str, str], block: str, layer: str, has_expansion: bool) -> str | None:
    place = layers.get(layer)
    if place is not None and not has_expansion:
        place = _WITHOUT_EXPANSION.get(place, place)
    return None if place is None else f"blocks_{int(block)}/{place}"


def _convert_from_torch(place: str, variable: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if "batch_normalization" in place:
        return f"{place}/{_BATCH_NORM_FROM_TORCH.get(variable, variable)}", array
    if variable != "weight":
        return f"{place}/{variable}", array
    if place == "head/dense":
        return f"{place}/kernel", np.ascontiguousarray(array.T)
    if place.endswith("depthwise_conv2d"):
        return f"{place}/depthwise_kernel", _transposed(place, array, _DEPTHWISE_AXES)
    return f"{place}/kernel", _transposed(place, array, _CONVOLUTION_AXES)


def _transposed(place: str, array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    if array.ndim != len(axes):
        raise DataError(f"the kernel of {place} has {array.ndim} axes instead of {len(axes)}")
    return np.ascontiguousarray(array.transpose(axes))
