"""The loss of a network that learns from a teacher's outputs (Hinton et al., 2015)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from benchmark_cnn.interfaces import ForwardResult
from benchmark_cnn.objective.losses import Labels, Loss
from benchmark_cnn.params.fine_tuning_params import DistillationParams


class TaughtLabels(NamedTuple):
    """The labels of a batch, and what the teacher says of its images.

    Attributes:
        labels: what a Loss takes.
        logits: of the teacher, float32 [B, classes], without a background class.
    """

    labels: Labels
    logits: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Distillation:
    """A mixture of the loss of the labels and the divergence from the teacher.

    With p and q the softmax of the teacher's and the student's logits, divided by the temperature
    T, and h the share of the labels:

        h * loss of the labels + (1 - h) * T^2 * sum over c of p[c] * (log p[c] - log q[c])

    T^2 keeps the size of the gradient (arXiv:1503.02531, section 2). Auxiliary logits have the same
    targets. Class weights and label smoothing belong to the loss of the labels alone.

    Attributes:
        hard: the loss of the labels.
        skipped_outputs: first outputs of the student that are no classes of the data.
    """

    hard: Loss
    temperature: float = 4.0
    hard_label_share: float = 0.1
    skipped_outputs: int = 0

    def __call__(self, output: ForwardResult, taught: TaughtLabels) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the mean losses of the logits and of the auxiliary logits, 0 without any."""
        main = self._mean(output.logits, taught)
        if output.aux_logits is None:
            return main, tf.zeros([])
        return main, self._mean(output.aux_logits, taught)

    def __str__(self) -> str:
        hard, soft = self.hard_label_share, 1.0 - self.hard_label_share
        divergence = f"{soft:.0%} divergence from the teacher, temperature {self.temperature:g}"
        return f"{hard:.0%} {self.hard}; {divergence}" if hard else divergence

    def _mean(self, logits: tf.Tensor, taught: TaughtLabels) -> tf.Tensor:
        share = self.hard_label_share
        soft = tf.reduce_mean(self._divergence(logits, taught.logits))
        if not share:
            return soft
        hard = tf.reduce_mean(self.hard.of_each_example(logits, taught.labels))
        return share * hard + (1.0 - share) * soft

    def _divergence(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """Returns T^2 times the divergence of each example, float32 [B]."""
        student = tf.cast(student[:, self.skipped_outputs :], tf.float32)
        log_q = tf.nn.log_softmax(student / self.temperature)
        log_p = tf.nn.log_softmax(tf.cast(teacher, tf.float32) / self.temperature)
        return self.temperature**2 * tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1)


def of_flags(flags: DistillationParams, hard: Loss, skipped_outputs: int) -> Distillation:
    """Returns the loss of the flags, given the loss of the labels."""
    return Distillation(
        hard, flags.distillation_temperature, flags.hard_label_share, skipped_outputs
    )
