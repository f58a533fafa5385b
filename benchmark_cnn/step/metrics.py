"""Exact top-1, top-5 and loss over a data set, for any batch size and number of towers.

An evaluation counts, and divides once at the end: a mean of batch means would give a short last
batch the weight of a full one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from benchmark_cnn.objective.losses import CROSS_ENTROPY, Loss
from common.errors import DataError

# An example's loss is rounded to a multiple of 2^-26 (1.5e-8). Sums below 2^27 are then exact in
# float64's 53 bits, and no order of batches or towers can change a digit of the mean.
_LOSS_RESOLUTION = 2.0**26


class Counts(NamedTuple):
    """Sums over examples: `top_1`, `top_5` and `examples` int64, `loss_sum` float64, scalars.

    Counts of disjoint sets of examples (batches, towers) add up.
    """

    top_1: Any
    top_5: Any
    loss_sum: Any
    examples: Any

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def result(self) -> dict[str, float]:
        """Returns `top_1` and `top_5` as fractions, the mean `loss` in nats, and `examples`.

        Raises:
            DataError: nothing was counted.
        """
        examples = int(self.examples)
        if examples == 0:
            raise DataError("the evaluation saw no examples: the data set is empty")
        return {
            "top_1": int(self.top_1) / examples,
            "top_5": int(self.top_5) / examples,
            "loss": float(self.loss_sum) / examples,
            "examples": examples,
        }


def zero() -> Counts:
    """Returns the counts of no examples."""
    nothing = tf.zeros([], tf.int64)
    return Counts(nothing, nothing, tf.zeros([], tf.float64), nothing)


def count(
    logits: tf.Tensor,
    labels: tf.Tensor,
    is_real: tf.Tensor | None = None,
    loss: Loss = CROSS_ENTROPY,
) -> Counts:
    """Counts the real examples of a batch.

    An example is correct in the top k if fewer than k classes rank before its label; among equal
    logits the lower class ranks first, as in `tf.math.argmax` and `tf.math.top_k`.
    (`tf.math.in_top_k` counts every tie as correct: a network that has collapsed to equal logits
    would then be 100% accurate.) A row with a NaN or an infinity is wrong. With 5 classes or fewer
    every other row is in the top 5.

    Args:
        logits: [B, C], any float type; compared as they are, the loss is computed in float64.
        labels: integers [B] in 0..C-1, or float32 [B, C] of several labels; those of padding are
            ignored.
        is_real: bool [B], False for padding; None if every row is real.
        loss: without weights and label smoothing.
    """
    if is_real is None:
        is_real = tf.ones_like(labels, tf.bool)
    real = is_real if labels.shape.rank == 1 else is_real[:, tf.newaxis]
    labels = tf.where(real, labels, tf.zeros([], labels.dtype))
    before = rank(logits, labels)
    return Counts(
        top_1=_number(tf.logical_and(is_real, before < 1)),
        top_5=_number(tf.logical_and(is_real, before < 5)),
        loss_sum=tf.reduce_sum(tf.where(is_real, _losses(loss, logits, labels), 0.0)),
        examples=_number(is_real),
    )


def mean_of_views(logits: tf.Tensor, *, independent: bool) -> tf.Tensor:
    """Returns logits whose probabilities are the means of those of several views of an image.

    Computed from logarithms, so that a small probability does not become zero.

    Args:
        logits: float [V, B, C].
        independent: whether a probability is the sigmoid of its logit, not the softmax of all.

    Returns:
        float [B, C]: logarithms of the mean softmax, or log(p / (1 - p)) of the mean sigmoid p.
    """
    if independent:
        yes, no = (tf.reduce_logsumexp(-tf.nn.softplus(sign * logits), 0) for sign in (-1, 1))
        return yes - no
    num_views = tf.cast(tf.shape(logits)[0], logits.dtype)
    return tf.reduce_logsumexp(tf.nn.log_softmax(logits), 0) - tf.math.log(num_views)


def rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how many classes rank before the label, int64 [B]; see `count` for ties.

    A row with a NaN or an infinity has the largest int64: with fewer than five classes, their
    number would place it in the top 5. Of several labels, float32 [B, C], the best one counts; a
    row without any label has the largest int64, too.
    """
    if labels.dtype.is_floating:
        # The first of its labels by the order of ranks: the highest logit, then the lower class.
        of_labels = tf.where(labels > 0, logits, logits.dtype.min)
        best = tf.math.top_k(of_labels, 1).indices[:, 0]
        has_label = tf.reduce_any(labels > 0, axis=1)
        return tf.where(has_label, rank(logits, best), tf.int64.max)
    labels = tf.cast(labels, tf.int64)  # int32 would be compared on the host, for GPUs, too
    of_label = tf.gather(logits, labels, axis=1, batch_dims=1)[:, tf.newaxis]
    num_classes = logits.shape[1] or tf.shape(logits)[1]  # a range of a GPU begins on the host
    classes = tf.range(num_classes, dtype=labels.dtype)
    wins_tie = tf.logical_and(logits == of_label, classes < labels[:, tf.newaxis])
    before = tf.logical_or(logits > of_label, wins_tie)
    is_finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    return tf.where(is_finite, tf.reduce_sum(tf.cast(before, tf.int64), axis=1), tf.int64.max)


def after_background(labels: tf.Tensor) -> tf.Tensor:
    """Returns the labels of a network whose output 0 is a background class."""
    if labels.dtype.is_floating:
        return tf.pad(labels, [[0, 0], [1, 0]])
    return tf.cast(tf.cast(labels, tf.int64) + 1, labels.dtype)


def predicted(logits: tf.Tensor) -> tf.Tensor:
    """Returns the class that ranks first, int64 [B]; -1 in a row with a NaN or an infinity."""
    first = tf.cast(tf.math.top_k(logits, 1).indices[:, 0], tf.int64)  # argmax promises no order
    is_finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    return tf.where(is_finite, first, tf.constant(-1, tf.int64))


def _losses(loss: Loss, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float64 [B]."""
    losses = loss.of_each_example(logits, labels, tf.float64)
    return tf.round(losses * _LOSS_RESOLUTION) / _LOSS_RESOLUTION


def _number(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(flags, tf.int64))
