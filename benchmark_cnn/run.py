"""What a run is: its settings, its plan in steps, the objects it works with, how it stops."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.devices import Devices
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.interfaces import Dataset, NetworkSpec
from benchmark_cnn.params.params import Params
from benchmark_cnn.params.values import parse_image_sizes
from benchmark_cnn.step import failures, learning_rate, optimizers
from benchmark_cnn.step.train_state import TrainState
from benchmark_cnn.step.training_step import TrainingStep
from common.errors import DataError, UsageError
from common.process import StopSignal

# The weights that an accuracy is of: averages where there are any.
AVERAGED, RAW = "moving average", "raw"
DEFAULT_BENCHMARK_BATCHES = 100
DEFAULT_WARMUP_BATCHES = 10
DEFAULT_TRAINING_EPOCHS = 90.0
# The models' batches are meant for GPUs: two towers of EfficientNet-Lite0's 128 images take 18 GiB.
MOST_IMAGES_BY_DEFAULT_ON_A_CPU = 32
_FULL_DISK = os.strerror(errno.ENOSPC)


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Everything the training loop works with.

    Attributes:
        phases: number of a step -> how it and the following ones are made.
    """

    params: Params
    spec: NetworkSpec
    settings: RunSettings
    dataset: Dataset
    devices: Devices
    manager: VariableManager
    plan: RunPlan
    state: TrainState
    phases: Mapping[int, TrainingStep]
    evaluator: Evaluator

    def observe(self, step: int, result: Mapping[str, Any], log: Callable[[str], None]) -> None:
        """Shows an evaluation to a learning rate that follows them; logs what it changes."""
        flags, plateau = self.params.learning_rate, self.state.plateau
        if plateau is not None:
            plan, default = self.plan, default_rate(self.params, self.spec, self.plan)
            line = plateau.observe(
                step,
                result,
                flags,
                patience=plan.steps_per(flags.learning_rate_patience_epochs),
                initial=learning_rate.initial_rate(flags, default, plan.global_batch),
            )
            if line is not None:
                log(line)

    def observe_logged(
        self, step: int, logged: Mapping[str, Any] | None, log: Callable[[str], None]
    ) -> None:
        """Observes the evaluation of the checkpoint just restored, which holds the state before it.

        Args:
            logged: the last evaluation; None on other workers than the chief.
        """
        if self.state.plateau is None:
            return
        if logged is not None and logged["global_step"] == step:
            self.observe(step, logged, log)
        self.state.take_from_chief()

    @property
    def step(self) -> TrainingStep:
        """The step of the last phase."""
        return self.phases[max(self.phases)]

    def phase_after(self, step: int) -> int:
        """Returns the first step of the phase in which the step after `step` steps is made."""
        return max(first for first in self.phases if first <= step)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Settings that parameters leave to the model or the data set, resolved once.

    Attributes:
        image_size: pixels; of evaluations where training images have others.
        train_image_sizes: pairs of a size of training images and the epoch at which it begins.
        batch_size: examples per tower and micro-batch.
        num_classes: real classes of the network's output.
        subset: the subset to train on, or to evaluate.
        evaluates: whether the training evaluates as it goes.
        averages: whether there are moving averages of the weights.
        is_float16: whether gradients can overflow, so that the loss has to be scaled.
    """

    image_size: int
    train_image_sizes: tuple[tuple[int, float], ...]
    batch_size: int
    num_classes: int
    subset: str
    evaluates: bool
    averages: bool
    is_float16: bool

    @property
    def weights(self) -> str:
        """The weights that a training evaluates: AVERAGED or RAW."""
        return AVERAGED if self.averages else RAW


def resolve_settings(
    params: Params, spec: NetworkSpec, dataset: Dataset, default_subset: str, device: str
) -> RunSettings:
    """Resolves the settings that `params` leaves to the model, the data set and the device.

    Args:
        device: "gpu" or "cpu".
    """
    run, schedule = params.run, params.network.image_size_schedule
    image_size = params.network.image_size or spec.image_size
    return RunSettings(
        image_size=image_size,
        train_image_sizes=parse_image_sizes(schedule) if schedule else ((image_size, 0.0),),
        batch_size=params.data.batch_size or default_batch_size(spec, device),
        num_classes=params.network.num_classes or dataset.num_classes,
        subset=params.data.data_subset or default_subset,
        evaluates=run.eval_every_epochs is not None or run.eval_every_steps is not None,
        averages=bool(params.optimization.moving_average_decay),
        is_float16=params.network.dtype == "float16",
    )


def default_batch_size(spec: NetworkSpec, device: str) -> int:
    """Returns the images per tower of a run that does not say; a CPU gets fewer."""
    return (
        spec.batch_size
        if device == "gpu"
        else min(spec.batch_size, MOST_IMAGES_BY_DEFAULT_ON_A_CPU)
    )


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """Batch sizes in examples, lengths in steps.

    Attributes:
        warmup_steps: real training steps that come first and are not timed (benchmarks only).
        total_steps: all steps, including the warm-up.
    """

    batch_per_tower: int
    num_towers: int
    micro_batches: int
    examples_per_epoch: int
    warmup_steps: int
    total_steps: int

    @property
    def global_batch(self) -> int:
        return self.batch_per_tower * self.num_towers * self.micro_batches

    @property
    def num_epochs(self) -> float:
        """Epochs that the timed steps cover."""
        return (self.total_steps - self.warmup_steps) * self.global_batch / self.examples_per_epoch

    def epoch_at(self, examples_seen: int) -> float:
        return examples_seen / self.examples_per_epoch

    def steps_per(self, epochs: float) -> Fraction:
        """Returns the exact number of steps in `epochs`, which need not be whole."""
        return Fraction(str(epochs)) * self.examples_per_epoch / self.global_batch


def make_plan(
    run,
    *,
    batch_per_tower: int,
    num_towers: int,
    examples_per_epoch: int,
    synthetic: bool,
    is_kept: bool,
) -> RunPlan:
    """Plans a run of `num_batches` steps, or of ceil(epochs * examples / batch) steps.

    Args:
        run: the RunParams.
        synthetic: the images are random, so that epochs of them mean nothing.
        is_kept: there is a run directory; then every update counts, and none is a warm-up.
    """
    plan = RunPlan(
        batch_per_tower,
        num_towers,
        run.gradient_accumulation_steps,
        examples_per_epoch,
        warmup_steps=0,
        total_steps=0,
    )
    warmup_steps = run.num_warmup_batches
    if warmup_steps is None:
        warmup_steps = DEFAULT_WARMUP_BATCHES if synthetic and not is_kept else 0
    num_epochs = run.num_epochs
    if run.num_batches is None and num_epochs is None and not synthetic:
        num_epochs = DEFAULT_TRAINING_EPOCHS
    if num_epochs is not None:
        num_batches = math.ceil(plan.steps_per(num_epochs))
    else:
        num_batches = run.num_batches or DEFAULT_BENCHMARK_BATCHES
    return dataclasses.replace(
        plan, warmup_steps=warmup_steps, total_steps=warmup_steps + num_batches
    )


def default_rate(params: Params, spec: NetworkSpec, plan: RunPlan) -> float:
    """Returns the model's learning rate, in proportion where a CPU has a smaller default batch.

    An optimizer for which the model's means nothing has its own, for any batch.
    """
    of_optimizer = optimizers.make_optimizer(params.optimization).default_learning_rate
    if of_optimizer is not None:
        return of_optimizer
    if params.data.batch_size is not None:
        return spec.learning_rate
    return spec.learning_rate * plan.batch_per_tower / spec.batch_size


def crosses(previous: int, current: int, every) -> bool:
    """Returns whether a multiple of `every` (None: never) lies in (previous, current], in steps."""
    return every is not None and current // every > previous // every


def next_multiple(step: int, every) -> float:
    """Returns the first step after `step` up to which a multiple of `every` is crossed."""
    return math.inf if every is None else math.ceil((step // every + 1) * every)


def evaluation_cadence(run: TrainingRun) -> int | Fraction | None:
    """Returns after how many steps the run evaluates; None for never."""
    params = run.params.run
    if params.eval_every_epochs is not None:
        return run.plan.steps_per(params.eval_every_epochs)
    return params.eval_every_steps


def evaluation_due(run: TrainingRun, previous: int, step: int) -> bool:
    """Returns whether the steps in (previous, step] end with an evaluation."""
    every = evaluation_cadence(run)
    # A run that evaluates also evaluates at its end, which need not be a multiple.
    last = every is not None and step >= run.plan.total_steps
    return last or crosses(previous, step, every)


@contextlib.contextmanager
def errors_in_one_line(run: TrainingRun) -> Iterator[None]:
    """Turns TensorFlow's errors of a step into those that a user can act on."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if _FULL_DISK in str(error):  # histograms and images are written inside of a step
            raise DataError(
                f"cannot write events to {run.params.checkpoint.train_dir}: {_FULL_DISK}; make "
                "room, and run the same command again"
            ) from error
        raise UsageError(
            f"out of memory with --batch_size={run.plan.batch_per_tower}: lower it, and raise "
            "--gradient_accumulation_steps to keep the global batch"
        ) from error
    except failures.ERRORS as error:
        raise failures.explain(error, run.dataset, run.settings.subset) from error


def stop_line(run: TrainingRun, step: int, stop: StopSignal) -> str:
    """Returns the last line of a run that was asked to stop."""
    reason = stop.requested or "a signal to another worker"
    if run.params.checkpoint.train_dir is None:
        return f"stopped by {reason} at step {step}; nothing was saved (no --train_dir)"
    return (
        f"stopped by {reason} at step {step} of {run.plan.total_steps}; "
        "the same command resumes from here"
    )
