"""Learning-rate schedules: functions of the step, and of what a plateau has reduced.

A resumed run needs nothing else to continue with the same rates. Epochs become steps by exact
fractions, and rates are computed in float64 on the host, so that a boundary falls on the exact
step and not on its neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import tensorflow as tf

from benchmark_cnn.params.training_params import LearningRateParams
from benchmark_cnn.params.values import parse_piecewise_schedule
from common.errors import UsageError

Schedule = Callable[[tf.Tensor | int], tf.Tensor]  # any integer step -> float32


def make_schedule(
    learning_rate_params: LearningRateParams,
    *,
    default_learning_rate: float,
    global_batch: int,
    examples_per_epoch: int,
    total_steps: int,
    plateau_scale: tf.Variable | None = None,
) -> Schedule:
    """Makes the schedule that the learning-rate flags describe.

    With `learning_rate_base_batch=b`, rates (not the minimum and the end) are those of batch b and
    are multiplied by global_batch / b (arXiv:1706.02677 section 2.1). During the warm-up the rate
    is `initial * step / warm-up steps`, whatever the schedule (section 2.2 there).

    Args:
        learning_rate_params: the flags, validated; `learning_rate=None` means the default.
        default_learning_rate: the model's.
        global_batch: examples of one update, over all towers and accumulated micro-batches.
        examples_per_epoch: size of the training set.
        total_steps: length of the run; cosine and polynomial end there.
        plateau_scale: of the plateau schedule: float64, the product of its reductions so far.

    Returns:
        A function from the step (int, or int64 scalar; 0 for the first update) to the learning
        rate, a float32 scalar.

    Raises:
        UsageError: `num_epochs_per_decay` or `learning_rate_cycle_epochs` is less than one step.
    """
    flags = learning_rate_params

    def steps(epochs: float | None) -> int:
        return _whole_steps(epochs or 0, examples_per_epoch, global_batch)

    def some_steps(name: str) -> Fraction:
        return _some_steps(name, getattr(flags, name), examples_per_epoch, global_batch)

    factor, minimum = flags.learning_rate_decay_factor or 1.0, flags.minimum_learning_rate
    decays = {"factor": factor, "minimum": minimum}
    scale = _batch_scale(flags, global_batch)
    initial = initial_rate(flags, default_learning_rate, global_batch)
    end, warmup_steps = flags.learning_rate_end, steps(flags.num_learning_rate_warmup_epochs)
    if flags.schedule == "constant":
        rate = partial(_constant, initial=initial)
    elif flags.schedule == "exponential":
        decay_steps = int(some_steps("num_epochs_per_decay"))
        rate = partial(_exponential, initial=initial, decay_steps=decay_steps, **decays)
    elif flags.schedule == "plateau":
        assert plateau_scale is not None
        rate = partial(_plateau, initial=initial, scale=plateau_scale, minimum=minimum)
    elif flags.schedule == "piecewise":
        rates, epochs = parse_piecewise_schedule(flags.piecewise_learning_rate_schedule or "")
        rates = [scale * rate for rate in rates]
        rate = partial(_piecewise, rates=rates, starts=[steps(epoch) for epoch in epochs])
    elif flags.schedule == "cosine":
        rate = partial(_cosine, initial=initial, end=end, total_steps=total_steps)
    elif flags.schedule == "cosine_restarts":
        multiplier = Fraction(str(flags.learning_rate_cycle_multiplier))
        first = some_steps("learning_rate_cycle_epochs")
        starts = _starts_of_cycles(first, multiplier, total_steps)
        ways = {"starts": starts, "decay": flags.learning_rate_cycle_decay}
        rate = partial(_cosine_restarts, initial=initial, end=end, **ways)
    else:
        way = {"power": flags.learning_rate_power, "first": warmup_steps, "last": total_steps}
        rate = partial(_polynomial, initial=initial, end=end, **way)
    return partial(_on_host, rate=rate, initial=initial, warmup_steps=warmup_steps)


def initial_rate(
    flags: LearningRateParams, default_learning_rate: float, global_batch: int
) -> float:
    """Returns the rate at which the schedule begins, after its warm-up; see `make_schedule`."""
    rate = default_learning_rate if flags.learning_rate is None else flags.learning_rate
    if flags.schedule == "piecewise":
        rate = parse_piecewise_schedule(flags.piecewise_learning_rate_schedule or "")[0][0]
    return _batch_scale(flags, global_batch) * rate


def _batch_scale(flags: LearningRateParams, global_batch: int) -> float:
    base_batch = flags.learning_rate_base_batch
    return 1.0 if base_batch is None else global_batch / base_batch


def _whole_steps(epochs: float, examples_per_epoch: int, global_batch: int) -> int:
    """Computes `int(epochs * examples / batch)` exactly: 0.29 epochs of 100 steps are 29 steps.

    The number of batches in an epoch is not rounded itself: 30 epochs of ImageNet at batch 256 are
    150136 steps, not 30 * 5004.
    """
    return int(_exact_steps(epochs, examples_per_epoch, global_batch))


def _exact_steps(epochs: float, examples_per_epoch: int, global_batch: int) -> Fraction:
    return Fraction(str(epochs)) * examples_per_epoch / global_batch


def _some_steps(name: str, epochs: float, examples_per_epoch: int, global_batch: int) -> Fraction:
    steps = _exact_steps(epochs, examples_per_epoch, global_batch)
    if steps < 1:
        raise UsageError(
            f"--{name}={epochs} is less than one step: an epoch of {examples_per_epoch} examples "
            f"has {examples_per_epoch / global_batch:g} steps of {global_batch}"
        )
    return steps


def _starts_of_cycles(length: Fraction, multiplier: Fraction, total_steps: int) -> list[float]:
    """Returns where cycles begin, in steps, and the end of the last one of the run.

    Args:
        length: steps of the first cycle, which need not be whole.
        multiplier: length of each cycle, divided by that of the cycle before; at least 1.
    """
    starts = [Fraction(0)]
    while starts[-1] < total_steps:
        starts.append(starts[-1] + length)
        length *= multiplier
    return [float(start) for start in starts]


# Each rate takes the step, int64, and returns float64.


def _constant(step: tf.Tensor, *, initial: float) -> tf.Tensor:
    return tf.constant(initial, tf.float64)


def _exponential(
    step: tf.Tensor, *, initial: float, decay_steps: int, factor: float, minimum: float
) -> tf.Tensor:
    """Multiplies by `factor` every `decay_steps`, down to the minimum.

    Decays are counted from step 0, warm-up included (the official EfficientNet recipe).
    """
    decays = tf.cast(step // decay_steps, tf.float64)
    decayed = initial * tf.pow(tf.constant(factor, tf.float64), decays)
    return tf.maximum(decayed, tf.constant(minimum, tf.float64))


def _plateau(step: tf.Tensor, *, initial: float, scale: tf.Variable, minimum: float) -> tf.Tensor:
    """Multiplies by the product of all reductions, down to the minimum (objective/plateau.py)."""
    return tf.maximum(initial * scale.read_value(), tf.constant(minimum, tf.float64))


def _piecewise(step: tf.Tensor, *, rates: Sequence[float], starts: Sequence[int]) -> tf.Tensor:
    """Returns rates[i + 1] from step starts[i].

    This is tf_cnn_benchmarks' rule, whose last step of rates[i] is its boundary starts[i] - 1.
    """
    passed = tf.reduce_sum(tf.cast(step >= tf.constant(starts, tf.int64), tf.int32))
    return tf.gather(tf.constant(rates, tf.float64), passed)


def _cosine(step: tf.Tensor, *, initial: float, end: float, total_steps: int) -> tf.Tensor:
    """Follows half a cosine from step 0 to `total_steps` (arXiv:1608.03983).

    The warm-up replaces its beginning and does not delay it (the official EfficientNet code).
    """
    progress = _progress(step, 0, total_steps)
    return end + (initial - end) * 0.5 * (1.0 + tf.cos(math.pi * progress))


def _cosine_restarts(
    step: tf.Tensor, *, initial: float, end: float, starts: Sequence[float], decay: float
) -> tf.Tensor:
    """Follows half a cosine from each start to the next one (arXiv:1608.03983, equation 5).

    Args:
        decay: the cycle of number i, from 0, begins at `end + (initial - end) * decay^i`.
    """
    borders, now = tf.constant(starts, tf.float64), tf.cast(step, tf.float64)
    begun = tf.reduce_sum(tf.cast(now >= borders, tf.int32))
    cycle = tf.minimum(begun, len(starts) - 1)
    first, last = tf.gather(borders, cycle - 1), tf.gather(borders, cycle)
    progress = tf.minimum((now - first) / (last - first), 1.0)
    height = (initial - end) * tf.pow(
        tf.constant(decay, tf.float64), tf.cast(cycle - 1, tf.float64)
    )
    return end + height * 0.5 * (1.0 + tf.cos(math.pi * progress))


def _polynomial(
    step: tf.Tensor, *, initial: float, end: float, power: float, first: int, last: int
) -> tf.Tensor:
    """Falls from step `first`, the end of the warm-up, to `last` (LARS recipes)."""
    remaining = 1.0 - _progress(step, first, last)
    return end + (initial - end) * tf.pow(remaining, tf.constant(power, tf.float64))


def _progress(step: tf.Tensor, first: int, last: int) -> tf.Tensor:
    """Returns the position of `step` between `first` and `last`, in 0..1."""
    # A short trial run may end within the warm-up; the rate after it is then never used.
    span = max(last - first, 1)
    return tf.cast(tf.clip_by_value(step - first, 0, span), tf.float64) / float(span)


def _on_host(
    step: tf.Tensor | int, *, rate: Callable, initial: float, warmup_steps: int
) -> tf.Tensor:
    """Rises linearly from 0 at step 0 to `initial` at `warmup_steps`, then follows `rate`."""
    with tf.device("CPU:0"):
        step = tf.cast(step, tf.int64)
        value = rate(step)
        if warmup_steps:
            rising = initial * tf.cast(step, tf.float64) / float(warmup_steps)
            value = tf.where(step < warmup_steps, rising, value)
        return tf.cast(value, tf.float32)
