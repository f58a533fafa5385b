"""What a tensor of a TF1 checkpoint is, by its name: weight, average, slot, constant, run state."""

from __future__ import annotations

from collections.abc import Collection

MOVING_AVERAGE = "ExponentialMovingAverage"
WEIGHT, AVERAGE, SLOT, CONSTANT = "weight", "moving average", "slot", "constant"
RUN_STATE = "run state"
ROLES = (WEIGHT, AVERAGE, SLOT, CONSTANT, RUN_STATE)
# Written by tf.train.Checkpoint and Keras, which name tensors by object.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Batch norm's statistics are averages already; TF1 programs gave twins to trainable variables only.
STATISTICS = ("moving_mean", "moving_variance")

_SLOTS = frozenset(("Momentum", "RMSProp", "RMSProp_1", "Adam", "Adam_1", "Adagrad", "Ftrl"))
# Last components of the names of a run's own state, which no network asks for.
_RUN_STATE = frozenset(
    (
        "global_step",
        "skipped_steps",
        "in_a_row",
        "examples_seen",
        "best_top_1",
        "loss_scale",
        "good_steps",
        "beta1_power",
        "beta2_power",
        "save_counter",
        OBJECT_GRAPH,
    )
)
# Slim's published VGG and ResNet v1 keep the mean that their pixels were less of.
_CONSTANTS = frozenset(("mean_rgb",))


def role(name: str, names: Collection[str]) -> str:
    """The role of `name` in a checkpoint of `names`: one of ROLES.

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
