"""Whether parameters go together: every rule is asked, and every error is reported.

A rule takes the flags and returns a line for each contradiction. By convention a line names every
flag that it is about as `--flag`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from benchmark_cnn.params.flag import EVAL, TRAIN
from benchmark_cnn.params.params import FLAGS, ExplicitFlags, Params, assemble
from benchmark_cnn.params.rules import (
    asynchronous_rules,
    data_rules,
    optimization_rules,
    training_rules,
)
from common.errors import UsageError

Rule = Callable[[ExplicitFlags], list[str]]

TRAINING_RULES: tuple[Rule, ...] = (
    data_rules.gpu_indices,
    data_rules.synchronized_batch_norm,
    data_rules.compiled_step,
    data_rules.no_data,
    data_rules.test_images,
    data_rules.repeated_sample,
    data_rules.class_balance,
    data_rules.automatic_batch,
    data_rules.image_preparation,
    data_rules.augmentation,
    data_rules.variable_placement,
    asynchronous_rules.parameter_servers,
    training_rules.run_length,
    training_rules.cross_validation,
    training_rules.evaluation_cadence,
    training_rules.learning_rate_finder,
    training_rules.warmup_batches,
    training_rules.loop_length,
    training_rules.forward_only,
    optimization_rules.learning_rate_schedule,
    optimization_rules.minimum_learning_rate,
    optimization_rules.optimizer_flags,
    optimization_rules.weight_decay,
    training_rules.rates_of_backbone,
    training_rules.distillation,
    training_rules.quantization,
    optimization_rules.gradient_clip,
    optimization_rules.moving_average,
    optimization_rules.loss_flags,
    optimization_rules.loss_scale,
    training_rules.no_run_directory,
    training_rules.installed_loggers,
    training_rules.first_weights,
)
# Model and data of an evaluation are known only once its run's parameters have been read.
EVALUATION_RULES: tuple[Rule, ...] = (
    data_rules.gpu_indices,
    data_rules.batch_of_evaluation,
    training_rules.checkpoint_to_evaluate,
    training_rules.saved_model,
    training_rules.several_views,
    training_rules.several_checkpoints,
    training_rules.one_checkpoint,
)
INHERITED_RULES: tuple[Rule, ...] = (
    training_rules.images_to_evaluate,
    training_rules.quantization,
    data_rules.image_preparation,
)
# The rules that a program asks about its command line.
RULES = {TRAIN: TRAINING_RULES, EVAL: EVALUATION_RULES}


def make_params(**flat: Any) -> Params:
    """Returns the parameters with the given values, and defaults for all others.

    Raises:
        UsageError: with one line for each name that does not exist, each value that its field
            cannot hold, and each value that contradicts another or has no effect with it.
    """
    return replace(Params(), **flat)


def replace(params: Params, **flat: Any) -> Params:
    """Returns a copy of `params` with the given values; checked as in `make_params`."""
    changed = assemble(flat, params)
    explicit = frozenset(name for name, value in flat.items() if value != FLAGS[name].default)
    _raise_if_any(errors(ExplicitFlags(changed, explicit)))
    return changed


def inherit(given: ExplicitFlags, run: Params) -> Params:
    """Returns the parameters of an evaluation of `run`.

    Model, data and the preparation of images are the run's, except for flags of the command line.
    The run's data_name goes with its data_dir, from which it may have been guessed.

    Raises:
        UsageError: neither the run nor the user names any data, or the user names another data set
            than the run's without its directory.
    """
    named, known = given.params.data.data_name, run.data
    if "data_dir" not in given.explicit and named and known.data_dir and named != known.data_name:
        raise UsageError(
            f"--data_name={named}: {known.data_dir}, the run's data, is "
            f"{known.data_name or 'another data set'}; give the directory with --data_dir, too"
        )
    own = given.explicit | ({"data_name"} if "data_dir" in given.explicit else set())
    values = run.to_dict()
    inherited = {f.name: values[f.name] for f in FLAGS.values() if f.inherited}
    changed = {name: value for name, value in inherited.items() if name not in own}
    params = assemble(changed, given.params)
    _raise_if_any(errors(dataclasses.replace(given, params=params), INHERITED_RULES))
    return params


def check_device(given: ExplicitFlags, device: str) -> None:
    """Checks the flags against the device, "gpu" or "cpu", that --device=auto has found.

    Raises:
        UsageError: flags that this device does not support.
    """
    _raise_if_any(data_rules.on_device(given, device))


def check_synthetic_data(given: ExplicitFlags) -> None:
    """Checks the flags after a data set, named without a directory, was found to be synthetic.

    Raises:
        UsageError: data flags without effect on synthetic images.
    """
    _raise_if_any(data_rules.with_synthetic_images(given))


def errors(given: ExplicitFlags, rules: Iterable[Rule] = TRAINING_RULES) -> list[str]:
    """Returns a line for each contradiction between the flags."""
    lines = [line for rule in rules for line in rule(given)]
    device = given.params.hardware.device
    return lines if device == "auto" else lines + data_rules.on_device(given, device)


def _raise_if_any(lines: list[str]) -> None:
    if lines:
        raise UsageError("\n".join(lines))
