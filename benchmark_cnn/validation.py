"""Whether parameters go together: every rule is asked, and every problem is told.

A rule takes the given flags and returns a line for each thing that cannot be meant. By convention a
line names every flag that it is about as `--flag`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from benchmark_cnn import input_rules, output_rules, training_rules
from benchmark_cnn.given_flags import GivenFlags

if TYPE_CHECKING:
    from benchmark_cnn.params import Params

Rule = Callable[[GivenFlags], list[str]]

SHARED_RULES: tuple[Rule, ...] = (input_rules.gpu_indices, output_rules.checkpoint_scope_syntax)
TRAINING_RULES: tuple[Rule, ...] = (
    *SHARED_RULES,
    input_rules.synchronised_batch_norm,
    input_rules.no_data,
    input_rules.repeated_sample,
    input_rules.image_preparation,
    input_rules.augmentation,
    input_rules.variable_placement,
    input_rules.all_reduce_syntax,
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
    input_rules.image_preparation,
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
    return lines if device == "auto" else lines + input_rules.on_device(given, device)


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
    return input_rules.on_device(GivenFlags(params, typed, from_files), device)


def synthetic_data_problems(
    params: Params,
    typed: frozenset[str] = frozenset(),
    from_files: frozenset[str] = frozenset(),
) -> list[str]:
    """A line for each data flag without effect, once the data set turns out to be synthetic.

    For `--data_name` without `--data_dir`; with neither, `problems` says it already.
    """
    return input_rules.with_synthetic_images(GivenFlags(params, typed, from_files))
