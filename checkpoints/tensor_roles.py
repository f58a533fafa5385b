"""The role of a tensor in a TF1 checkpoint, by its name: weight, average, slot, constant, state."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from common.errors import DataError

MOVING_AVERAGE = "ExponentialMovingAverage"
WEIGHT, AVERAGE, SLOT, CONSTANT = "weight", "moving average", "slot", "constant"
RUN_STATE = "run state"
ROLES = (WEIGHT, AVERAGE, SLOT, CONSTANT, RUN_STATE)
# Written by tf.train.Checkpoint and Keras, which name tensors by object.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Batch norm's statistics are averages already; TF1 programs averaged only trainable variables.
STATISTICS = ("moving_mean", "moving_variance")
# The range of an activation of a quantization-aware network, a statistic, too.
RANGE = "range_moments"

_SLOTS = frozenset(("Momentum", "RMSProp", "RMSProp_1", "Adam", "Adam_1", "Adagrad", "Ftrl"))
# Last components of the names of a run's own state, which no network asks for.
# fmt: off
_RUN_STATE = frozenset((
    "global_step", "skipped_steps", "in_a_row", "examples_seen", "best_top_1", "loss_scale",
    "good_steps", "beta1_power", "beta2_power", "save_counter", OBJECT_GRAPH,
    "plateau_best", "plateau_since", "plateau_scale",
))
# fmt: on
# Slim's published VGG and ResNet v1 keep the mean that was subtracted from their pixels.
_CONSTANTS = frozenset(("mean_rgb",))
# This project's runs count their examples.
MARK_OF_A_RUN = "examples_seen"
_NUM_LISTED = 5


def role(name: str, names: Collection[str]) -> str:
    """Returns the role of `name` in a checkpoint of `names`: one of ROLES.

    `<weight>/<anything>` is a slot of that weight, whatever the optimizer called it.
    """
    parent, _, last = name.rpartition("/")
    if parent and last == MOVING_AVERAGE:
        return AVERAGE
    if parent and last in _CONSTANTS:
        return CONSTANT
    if last in _RUN_STATE:
        return RUN_STATE
    if parent and (last in _SLOTS or parent in names):
        return SLOT
    return WEIGHT


def frozen(names: Collection[str]) -> frozenset[str]:
    """Returns the weights of a run's checkpoint that have no average because they never changed.

    A run averages every weight that it trains. Other programs' checkpoints prove nothing.
    """
    names = set(names)
    if MARK_OF_A_RUN not in names:
        return frozenset()
    weights = {name for name in names if role(name, names) == WEIGHT}
    averaged = {name for name in weights if f"{name}/{MOVING_AVERAGE}" in names}
    return frozenset(weights - averaged) if averaged else frozenset()


def choose(names: Collection[str], weights: str | None, prefix: str | Path) -> dict[str, str]:
    """Returns variable name -> name in the checkpoint, of raw weights or their moving averages.

    Args:
        names: All names in the checkpoint.
        weights: "raw"; "ema", where batch-norm statistics without an average and weights that were
            frozen are read as they are; None for the averages if there are any.
        prefix: The checkpoint, which error messages name.

    Raises:
        DataError: The checkpoint does not hold these weights.
    """
    names = set(names)
    raw = {name: name for name in sorted(names) if role(name, names) == WEIGHT}
    averages = {
        name.removesuffix(f"/{MOVING_AVERAGE}"): name
        for name in sorted(names)
        if role(name, names) == AVERAGE
    }
    if weights == "raw" or (weights is None and not averages):
        if not raw and averages:
            raise DataError(f"{prefix} holds moving averages only: read them with --weights=ema")
        return raw
    if not averages:
        raise DataError(
            f"{prefix} has no moving averages (no name ends in /{MOVING_AVERAGE}): "
            "read its weights with --weights=raw"
        )
    as_they_are = frozen(names)
    lacking = [
        name
        for name in raw
        if name not in averages and name not in as_they_are and not name.endswith(STATISTICS)
    ]
    if lacking:
        raise DataError(
            f"{len(lacking)} weights in {prefix} have no moving average, e.g. "
            f"{', '.join(lacking[:_NUM_LISTED])}: read the raw ones with --weights=raw"
        )
    return raw | averages
