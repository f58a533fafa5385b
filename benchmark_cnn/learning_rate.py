"""Learning-rate schedules: pure functions of the step.

A resumed run needs nothing but its step to go on with the same rates. Epochs are turned into steps
with exact fractions, and rates are computed in float64 on the host, so that a boundary falls on
the step that arithmetic says, not on a neighbour of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import tensorflow as tf

from benchmark_cnn.errors import UsageError

Schedule = Callable[[tf.Tensor | int], tf.Tensor]  # any integer step -> float32
_Rate = Callable[[tf.Tensor], tf.Tensor]  # int64 step -> float64


@dataclass(frozen=True)
class Run:
    """What a schedule needs to know of the run besides its flags.

    total_steps: where cosine and polynomial schedules end.
    """

    global_batch: int
    examples_per_epoch: int
    total_steps: int

    def whole_steps(self, epochs: float | str) -> int:
        """`int(epochs * examples / batch)` without rounding: 0.29 epochs of 100 steps are 29.

        The number of batches in an epoch is not rounded itself; 30 epochs of ImageNet at batch 256
        are 150136 steps, not 30 * 5004.
        """
        return int(Fraction(str(epochs)) * self.examples_per_epoch / self.global_batch)


def make_schedule(
    learning_rate_params: Any,
    *,
    default_learning_rate: float,
    global_batch: int,
    examples_per_epoch: int,
    total_steps: int,
) -> Schedule:
    """The schedule that the learning-rate flags describe.

    Args:
      learning_rate_params: the flags; `learning_rate=None` means `default_learning_rate`.
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
      UsageError: a schedule lacks a number it needs, or a number is malformed.
    """
    flags = learning_rate_params
    run = Run(global_batch, examples_per_epoch, total_steps)
    scale = 1.0
    if flags.learning_rate_base_batch is not None:
        scale = global_batch / flags.learning_rate_base_batch
    explicit = flags.learning_rate
    initial = scale * (default_learning_rate if explicit is None else explicit)
    warmup_steps = run.whole_steps(flags.num_learning_rate_warmup_epochs)

    kind = kind_of(flags)
    if kind == "constant":
        rate = _constant(initial)
    elif kind == "exponential":
        rate = _exponential(flags, initial, run)
    elif kind == "piecewise":
        rates, epochs = parse_piecewise(flags.piecewise_learning_rate_schedule)
        initial = scale * rates[0]
        rate = _piecewise([scale * value for value in rates], epochs, run)
    elif kind == "cosine":
        rate = _cosine(initial, flags.learning_rate_end, total_steps)
    else:
        rate = _polynomial(flags, initial, warmup_steps, total_steps)
    return _on_host(_with_warmup(rate, initial, warmup_steps))


def kind_of(learning_rate_params: Any) -> str:
    """The kind of schedule, inferred from the other flags where it is not named.

    Raises:
      UsageError: no schedule has that name.
    """
    flags = learning_rate_params
    kinds = ("constant", "exponential", "piecewise", "cosine", "polynomial")
    if flags.learning_rate_schedule is None:
        if flags.piecewise_learning_rate_schedule is not None:
            return "piecewise"
        return "constant" if flags.num_epochs_per_decay is None else "exponential"
    if flags.learning_rate_schedule not in kinds:
        raise UsageError(
            f"unknown learning_rate_schedule {flags.learning_rate_schedule!r}; "
            f"there are {', '.join(kinds)}"
        )
    return flags.learning_rate_schedule


def parse_piecewise(text: str | None) -> tuple[list[float], list[str]]:
    """`"0.1;30;0.01;60;0.001"` -> rates [0.1, 0.01, 0.001] and epochs ["30", "60"].

    Epochs may have decimals, and stay text so that no digit is lost.

    Raises:
      UsageError: no text, an even number of parts, a part that is no number, epochs not rising.
    """
    form = "rate;epoch;rate;epoch;...;rate, for example 0.1;30;0.01;60;0.001"
    if not text:
        raise UsageError(f"the piecewise schedule needs --piecewise_learning_rate_schedule={form}")
    complaint = f"--piecewise_learning_rate_schedule={text!r} must read {form}: "
    parts = [part.strip() for part in text.split(";")]
    if len(parts) % 2 == 0:
        raise UsageError(f"{complaint}it has {len(parts)} parts, and an odd number is needed")
    for part in parts:
        if not _is_number(part):
            raise UsageError(f"{complaint}{part!r} is not a number, or is negative")
    epochs = parts[1::2]
    if any(Fraction(a) >= Fraction(b) for a, b in itertools.pairwise(epochs)):
        raise UsageError(f"{complaint}the epochs must rise")
    return [float(part) for part in parts[0::2]], epochs


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and Fraction(text) >= 0
    except ValueError:
        return False


def _constant(initial: float) -> _Rate:
    return lambda step: tf.constant(initial, tf.float64)


def _exponential(flags: Any, initial: float, run: Run) -> _Rate:
    """Times `factor` every `num_epochs_per_decay` epochs, never below the minimum.

    Decays are counted from step 0, warm-up included (the official EfficientNet recipe).
    """
    factor = flags.learning_rate_decay_factor
    if flags.num_epochs_per_decay is None or factor is None:
        raise UsageError(
            "the exponential schedule needs both --num_epochs_per_decay and "
            "--learning_rate_decay_factor"
        )
    decay_steps = run.whole_steps(flags.num_epochs_per_decay)
    if decay_steps < 1:
        raise UsageError(
            f"--num_epochs_per_decay={flags.num_epochs_per_decay} is less than one step: an epoch "
            f"of {run.examples_per_epoch} examples has "
            f"{run.examples_per_epoch / run.global_batch:g} steps of {run.global_batch}"
        )

    def rate(step: tf.Tensor) -> tf.Tensor:
        decays = tf.cast(step // decay_steps, tf.float64)
        decayed = initial * tf.pow(tf.constant(factor, tf.float64), decays)
        return tf.maximum(decayed, tf.constant(flags.minimum_learning_rate, tf.float64))

    return rate


def _piecewise(rates: list[float], epochs: list[str], run: Run) -> _Rate:
    """The next rate holds from step `int(epoch * batches per epoch)` on, as in tf_cnn_benchmarks.

    (There: boundary = that step - 1, and up to the boundary, included, the previous rate holds.)
    """
    starts = [run.whole_steps(epoch) for epoch in epochs]

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


def _polynomial(flags: Any, initial: float, warmup_steps: int, total_steps: int) -> _Rate:
    """From `initial` at the end of the warm-up to the end rate at `total_steps` (LARS recipes)."""
    end, power = flags.learning_rate_end, flags.learning_rate_power

    def rate(step: tf.Tensor) -> tf.Tensor:
        remaining = 1.0 - _progress(step, warmup_steps, total_steps)
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
