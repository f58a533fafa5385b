"""Learning-rate schedules: pure functions of the step.

A resumed run needs nothing but its step to go on with the same rates. Epochs are turned into steps
with exact fractions, and rates are computed in float64 on the host, so that a boundary falls on
the step that arithmetic says, not on a neighbor of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import tensorflow as tf

from benchmark_cnn.params.training_params import LearningRateParams
from benchmark_cnn.params.values import parse_piecewise_schedule
from common.errors import UsageError

Schedule = Callable[[tf.Tensor | int], tf.Tensor]  # any integer step -> float32
_Rate = Callable[[tf.Tensor], tf.Tensor]  # int64 step -> float64


def make_schedule(
    learning_rate_params: LearningRateParams,
    *,
    default_learning_rate: float,
    global_batch: int,
    examples_per_epoch: int,
    total_steps: int,
) -> Schedule:
    """The schedule that the learning-rate flags describe.

    Args:
      learning_rate_params: the flags, validated; `learning_rate=None` means the default.
      default_learning_rate: the model's.
      global_batch: examples of one update, over all towers and accumulated micro-batches.
      examples_per_epoch: size of the training set.
      total_steps: length of the run; cosine and polynomial end there.

    Returns:
      step (int, or int64 scalar; 0 for the first update) -> float32 scalar. With
      `learning_rate_base_batch=b`, rates (not the minimum and the end) are those of batch b and
      are multiplied by global_batch / b (arXiv:1706.02677 section 2.1). During the warm-up the rate
      is `initial * step / warm-up steps`, whatever the schedule says (same paper, section 2.2).

    Raises:
      UsageError: `num_epochs_per_decay` is less than one step.
    """
    flags = learning_rate_params

    def steps(epochs: float | None) -> int:
        return _whole_steps(epochs or 0, examples_per_epoch, global_batch)

    explicit, base_batch = flags.learning_rate, flags.learning_rate_base_batch
    scale = 1.0 if base_batch is None else global_batch / base_batch
    initial = scale * (default_learning_rate if explicit is None else explicit)
    warmup_steps = steps(flags.num_learning_rate_warmup_epochs)
    if flags.schedule == "constant":
        rate = _constant(initial)
    elif flags.schedule == "exponential":
        decay_steps = steps(flags.num_epochs_per_decay)
        if decay_steps < 1:
            raise UsageError(
                f"--num_epochs_per_decay={flags.num_epochs_per_decay} is less than one step: an "
                f"epoch of {examples_per_epoch} examples has "
                f"{examples_per_epoch / global_batch:g} steps of {global_batch}"
            )
        factor = flags.learning_rate_decay_factor or 1.0
        rate = _exponential(initial, decay_steps, factor, flags.minimum_learning_rate)
    elif flags.schedule == "piecewise":
        rates, epochs = parse_piecewise_schedule(flags.piecewise_learning_rate_schedule or "")
        initial = scale * rates[0]
        rate = _piecewise([scale * rate for rate in rates], [steps(epoch) for epoch in epochs])
    elif flags.schedule == "cosine":
        rate = _cosine(initial, flags.learning_rate_end, total_steps)
    else:
        rate = _polynomial(
            initial,
            flags.learning_rate_end,
            flags.learning_rate_power,
            first=warmup_steps,
            last=total_steps,
        )
    return _on_host(_with_warmup(rate, initial, warmup_steps))


def _whole_steps(epochs: float, examples_per_epoch: int, global_batch: int) -> int:
    """`int(epochs * examples / batch)` without rounding errors: 0.29 epochs of 100 steps are 29.

    The number of batches in an epoch is not rounded itself: 30 epochs of ImageNet at batch 256 are
    150136 steps, not 30 * 5004.
    """
    return int(Fraction(str(epochs)) * examples_per_epoch / global_batch)


def _constant(initial: float) -> _Rate:
    return lambda step: tf.constant(initial, tf.float64)


def _exponential(initial: float, decay_steps: int, factor: float, minimum: float) -> _Rate:
    """Times `factor` every `decay_steps`, never below the minimum.

    Decays are counted from step 0, warm-up included (the official EfficientNet recipe).
    """

    def rate(step: tf.Tensor) -> tf.Tensor:
        decays = tf.cast(step // decay_steps, tf.float64)
        decayed = initial * tf.pow(tf.constant(factor, tf.float64), decays)
        return tf.maximum(decayed, tf.constant(minimum, tf.float64))

    return rate


def _piecewise(rates: Sequence[float], starts: Sequence[int]) -> _Rate:
    """rates[i + 1] holds from step starts[i] on.

    tf_cnn_benchmarks' rule: its boundary is starts[i] - 1, up to which, included, rates[i] holds.
    """

    def rate(step: tf.Tensor) -> tf.Tensor:
        passed = tf.reduce_sum(tf.cast(step >= tf.constant(starts, tf.int64), tf.int32))
        return tf.gather(tf.constant(rates, tf.float64), passed)

    return rate


def _cosine(initial: float, end: float, total_steps: int) -> _Rate:
    """Half a cosine from `initial` at step 0 to `end` at `total_steps` (arXiv:1608.03983).

    The warm-up covers its beginning, it does not delay it (the official EfficientNet code).
    """

    def rate(step: tf.Tensor) -> tf.Tensor:
        progress = _progress(step, 0, total_steps)
        return end + (initial - end) * 0.5 * (1.0 + tf.cos(math.pi * progress))

    return rate


def _polynomial(initial: float, end: float, power: float, *, first: int, last: int) -> _Rate:
    """From `initial` at step `first`, the end of the warm-up, to `end` at `last` (LARS recipes)."""

    def rate(step: tf.Tensor) -> tf.Tensor:
        remaining = 1.0 - _progress(step, first, last)
        return end + (initial - end) * tf.pow(remaining, tf.constant(power, tf.float64))

    return rate


def _progress(step: tf.Tensor, first: int, last: int) -> tf.Tensor:
    """How far `step` is on the way from `first` to `last`, in 0..1."""
    # A short trial run may end within the warm-up: what comes after it is then never asked for.
    span = max(last - first, 1)
    return tf.cast(tf.clip_by_value(step - first, 0, span), tf.float64) / float(span)


def _with_warmup(rate: _Rate, initial: float, warmup_steps: int) -> _Rate:
    """Linear from 0 at step 0, reaching `initial` at step `warmup_steps`."""
    if warmup_steps == 0:
        return rate

    def warmed(step: tf.Tensor) -> tf.Tensor:
        rising = initial * tf.cast(step, tf.float64) / float(warmup_steps)
        return tf.where(step < warmup_steps, rising, rate(step))

    return warmed


def _on_host(rate: _Rate) -> Schedule:
    """Takes any integer step, computes on the host's CPU and hands out float32."""

    def schedule(step: tf.Tensor | int) -> tf.Tensor:
        with tf.device("CPU:0"):
            return tf.cast(rate(tf.cast(step, tf.int64)), tf.float32)

    return schedule
