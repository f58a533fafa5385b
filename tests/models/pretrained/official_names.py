"""The official TF1 names of EfficientNet-Lite, written down from the published checkpoints.

Independent of the code under test: repeats per stage are the published table.
"""

from __future__ import annotations

STAGE_REPEATS = {
    0: (1, 2, 2, 3, 3, 4, 1),
    1: (1, 3, 3, 4, 4, 5, 1),
    2: (1, 3, 3, 4, 4, 5, 1),
    3: (1, 3, 3, 5, 5, 6, 1),
    4: (1, 4, 4, 6, 6, 8, 1),
}
NUM_VARIABLES = {0: 247, 1: 322, 2: 322, 3: 367, 4: 457}
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def _norm(scope: str, suffix: str = "") -> list[str]:
    return [f"{scope}/tpu_batch_normalization{suffix}/{v}" for v in _BATCH_NORM]


def names(variant: int) -> list[str]:
    """All names of a variant, without averages and slots."""
    found = ["stem/conv2d/kernel", *_norm("stem")]
    for block in range(sum(STAGE_REPEATS[variant])):
        scope = f"blocks_{block}"
        found += [f"{scope}/depthwise_conv2d/depthwise_kernel", f"{scope}/conv2d/kernel"]
        found += _norm(scope) + _norm(scope, "_1")
        if block > 0:
            found += [f"{scope}/conv2d_1/kernel", *_norm(scope, "_2")]
    found += ["head/conv2d/kernel", *_norm("head"), "head/dense/kernel", "head/dense/bias"]
    return [f"efficientnet-lite{variant}/{name}" for name in found]


def keras_layer(name: str, variant: int) -> tuple[str, str]:
    """The layer and variable of efficientnet-lite-keras for an official name."""
    _, scope, layer, variable = name.split("/")
    outer = {
        ("stem", "conv2d"): "stem_conv",
        ("stem", "tpu_batch_normalization"): "stem_bn",
        ("head", "conv2d"): "top_conv",
        ("head", "tpu_batch_normalization"): "top_bn",
        ("head", "dense"): "predictions",
    }
    if (scope, layer) in outer:
        return outer[scope, layer], variable
    block = int(scope.removeprefix("blocks_"))
    stage, letter = _stage_and_letter(block, variant)
    # In the order of their creation: expansion (not in the first block), depthwise, projection.
    if layer == "depthwise_conv2d":
        kind = "dwconv"
    elif layer.startswith("conv2d"):
        kind = ["expand_conv", "project_conv"][(layer == "conv2d_1") or block == 0]
    else:
        number = int(layer.removeprefix("tpu_batch_normalization").lstrip("_") or 0)
        kind = ["expand_bn", "bn", "project_bn"][number + (block == 0)]
    return f"block{stage}{letter}_{kind}", variable


def _stage_and_letter(block: int, variant: int) -> tuple[int, str]:
    for stage, repeats in enumerate(STAGE_REPEATS[variant], start=1):
        if block < repeats:
            return stage, "abcdefgh"[block]
        block -= repeats
    raise ValueError(block)
