"""Groups of a network's variables in the order of depth, by what its layers are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

KERNELS = (
    *("kernel", "depthwise_kernel", "pointwise_kernel"),  # Keras
    *("weights", "depthwise_weights", "pointwise_weights"),  # TF-Slim
)
# How layers say which block they belong to, in this project, Keras and TF-Slim.
_BLOCKS = tuple(
    map(
        re.compile,
        (
            r"(?:stage|block)_?\d+/(?:unit|block)_?\d+",  # ResNets: stage1/block2, block1/unit_2
            r"\w+_stage_\d+_block_\d+",  # ConvNeXt
            r"conv\d+_block\d+",  # Keras' ResNets and DenseNets
            # EfficientNets, DenseNets, Keras' MobileNetV2 and Inception-ResNet.
            r"blocks?_?\d+(?:[a-z](?=_)|_\d+(?=_))?",
            r"transition\d+|Mixed_\d\w|expanded_conv(?:_\d+)?",  # DenseNets, Inception, MobileNets
            r"Conv2d_\d+(?=_(?:depth|point)wise)",  # TF-Slim's MobileNet v1
            # Cells of NASNet: reduction_conv_1_stem_2, separable_conv_1_bn_normal_left2_12.
            r"(?:\w+_)?(?:normal|reduction|adjust)_\w*?(?=((?:stem_|reduce_)?\d+)$)",
        ),
    )
)


def groups(names: Sequence[str], classifier: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Groups variables for rates that depend on the depth.

    A group is a block of the network. Outside of blocks it is a layer with a kernel, with the
    layers without one (normalization, scale) that follow it.

    Args:
        names: `<network>/<layer>/<variable>`, from the images to the logits.
        classifier: those of the layers that make the logits.

    Returns:
        Groups in the order in which they begin; the classifier is the last.
    """
    found: dict[str, list[str]] = {}
    key = ""
    with_kernel = {_layer(name) for name in names if name.rsplit("/", 1)[-1] in KERNELS}
    for name in names:
        if name in classifier:
            continue
        layer = _layer(name)
        block = _block(layer)
        if block is not None or layer in with_kernel or not found:
            key = layer if block is None else block
        found.setdefault(key, []).append(name)
    last = tuple(name for name in names if name in classifier)
    return (*map(tuple, found.values()), last)


def _layer(name: str) -> str:
    return name.partition("/")[2].rpartition("/")[0]


def _block(layer: str) -> str | None:
    for pattern in _BLOCKS:
        match = pattern.match(layer)
        if match:
            # The groups of a pattern, where it has any, are what layers of a block share.
            return "/".join(match.groups()) or match[0]
    return None
