"""Whether parameters go together: every rule is asked, and every problem is told.

A rule takes the given flags and returns a line for each thing that cannot be meant. By convention a
line names every flag that it is about as `--flag`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmark_cnn.params import data_rules, training_rules
from benchmark_cnn.params import training_rules as output_rules
from benchmark_cnn.params.given_flags import GivenFlags
from benchmark_cnn.params.params import FLAGS, Params, assemble
from common.errors import UsageError

Rule = Callable[[GivenFlags], list[str]]

SHARED_RULES: tuple[Rule, ...] = (data_rules.gpu_indices, output_rules.checkpoint_scope_syntax)
TRAINING_RULES: tuple[Rule, ...] = (
    *SHARED_RULES,
    data_rules.synchronized_batch_norm,
    data_rules.no_data,
    data_rules.repeated_sample,
    data_rules.image_preparation,
    data_rules.augmentation,
    data_rules.variable_placement,
    data_rules.all_reduce_syntax,
    training_rules.run_length,
    training_rules.evaluation_cadence,
    training_rules.warmup_batches,
    training_rules.loop_length,
    training_rules.forward_only,
    training_rules.learning_rate_schedule,
    training_rules.piecewise_syntax,
    training_rules.minimum_learning_rate,
    training_rules.optimizer_flags,
    training_rules.weight_decay,
    training_rules.gradient_clip,
    training_rules.loss_scale,
    output_rules.no_run_directory,
    output_rules.first_weights,
    output_rules.profile_syntax,
)
# Model and data of an evaluation are known only once its run's parameters have been read.
EVALUATION_RULES: tuple[Rule, ...] = (
    *SHARED_RULES,
    output_rules.checkpoint_to_evaluate,
    output_rules.several_checkpoints,
    output_rules.one_checkpoint,
)
INHERITED_RULES: tuple[Rule, ...] = (
    output_rules.images_to_evaluate,
    data_rules.image_preparation,
)


def problems(
    params: Params,
    typed: frozenset[str] = frozenset(),
    from_files: frozenset[str] = frozenset(),
    rules: Iterable[Rule] = TRAINING_RULES,
) -> list[str]:
    """A line for each problem.

    Args:
      typed: names of the flags that were given, whatever their value. Only of these is it said
        that they have no effect.
      from_files: those of `typed` that came from a flag file.
    """
    given = GivenFlags(params, typed, from_files)
    lines = [line for rule in rules for line in rule(given)]
    device = params.hardware.device
    return lines if device == "auto" else lines + data_rules.on_device(given, device)


def device_problems(
    params: Params,
    device: str,
    typed: frozenset[str] = frozenset(),
    from_files: frozenset[str] = frozenset(),
) -> list[str]:
    """A line for each flag that cannot be had on `device` ("gpu" or "cpu").

    For `--device=auto`, once it is known what that is; a device that was named is checked by
    `problems` already.
    """
    return data_rules.on_device(GivenFlags(params, typed, from_files), device)


def synthetic_data_problems(
    params: Params,
    typed: frozenset[str] = frozenset(),
    from_files: frozenset[str] = frozenset(),
) -> list[str]:
    """A line for each data flag without effect, once the data set turns out to be synthetic.

    For `--data_name` without `--data_dir`; with neither, `problems` says it already.
    """
    return data_rules.with_synthetic_images(GivenFlags(params, typed, from_files))


def make_params(**flat: Any) -> Params:
    """The parameters with the given values, and defaults for all others.

    Raises:
      UsageError: with one line for each name that does not exist, each value that its field cannot
        hold, and each value that does not go with the others or is without effect beside them.
    """
    return replace(Params(), **flat)


def replace(params: Params, **flat: Any) -> Params:
    """A copy of `params` with the given values; checked as in `make_params`, which see."""
    changed = assemble(flat, params)
    given = frozenset(name for name, value in flat.items() if value != FLAGS[name].default)
    lines = problems(changed, given)
    if lines:
        raise UsageError("\n".join(lines))
    return changed
