"""The loss of a network that learns from a teacher: its outputs, and where its layers look.

Outputs: Hinton et al., 2015, arXiv:1503.02531. Layers: attention transfer, Zagoruyko and Komodakis,
2017, arXiv:1612.03928, which needs no variables of its own, whatever the widths of the layers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from benchmark_cnn.interfaces import ForwardResult
from benchmark_cnn.objective.losses import Labels, Loss
from benchmark_cnn.params.fine_tuning_params import DistillationParams
from common.errors import UsageError


class TaughtLabels(NamedTuple):
    """The labels of a batch, and what the teacher says of its images.

    Attributes:
        labels: what a Loss takes.
        logits: of the teacher, float32 [B, classes], without a background class.
        features: outputs of the teacher's layers.
    """

    labels: Labels
    logits: tf.Tensor
    features: Sequence[tf.Tensor] = ()


@dataclasses.dataclass(frozen=True)
class Distillation:
    """A mixture of the loss of the labels and the divergence from the teacher.

    With p and q the softmax of the teacher's and the student's logits, divided by the temperature
    T, and h the share of the labels:

        h * loss of the labels + (1 - h) * T^2 * sum over c of p[c] * (log p[c] - log q[c])

    T^2 keeps the size of the gradient (arXiv:1503.02531, section 2). Auxiliary logits have the same
    targets. Class weights and label smoothing belong to the loss of the labels alone. Attention
    transfer is added to the loss of the logits; see `attention_transfer`.

    Attributes:
        hard: the loss of the labels.
        skipped_outputs: first outputs of the student that are no classes of the data.
        feature_pairs: names of the layers whose features are compared, the student's first.
        features_weight: of their attention transfer.
        channels_axis: of the features.
    """

    hard: Loss
    temperature: float = 4.0
    hard_label_share: float = 0.1
    skipped_outputs: int = 0
    feature_pairs: Sequence[tuple[str, str]] = ()
    features_weight: float = 1.0
    channels_axis: int = -1

    def __call__(self, output: ForwardResult, taught: TaughtLabels) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the mean losses of the logits and of the auxiliary logits, 0 without any."""
        main = self._mean(output.logits, taught)
        if self.feature_pairs:
            pairs = zip(self.feature_pairs, output.features, taught.features, strict=True)
            distances = [self._distance(*pair) for pair in pairs]
            main += self.features_weight * tf.add_n(distances)
        if output.aux_logits is None:
            return main, tf.zeros([])
        return main, self._mean(output.aux_logits, taught)

    def __str__(self) -> str:
        hard, soft = self.hard_label_share, 1.0 - self.hard_label_share
        divergence = f"{soft:.0%} divergence from the teacher, temperature {self.temperature:g}"
        parts = [f"{hard:.0%} {self.hard}", divergence] if hard else [divergence]
        if self.feature_pairs:
            layers = (
                "1 layer" if len(self.feature_pairs) == 1 else f"{len(self.feature_pairs)} layers"
            )
            parts.append(f"{self.features_weight:g} x attention transfer of {layers}")
        return "; ".join(parts)

    def _mean(self, logits: tf.Tensor, taught: TaughtLabels) -> tf.Tensor:
        share = self.hard_label_share
        soft = tf.reduce_mean(self._divergence(logits, taught.logits))
        if not share:
            return soft
        hard = tf.reduce_mean(self.hard.of_each_example(logits, taught.labels))
        return share * hard + (1.0 - share) * soft

    def _distance(
        self, names: tuple[str, str], student: tf.Tensor, teacher: tf.Tensor
    ) -> tf.Tensor:
        axis = self.channels_axis
        positions = [attention_positions(features, axis) for features in (student, teacher)]
        if positions[0] != positions[1]:
            ours, its = (" x ".join(map(str, sides)) for sides in positions)
            raise UsageError(
                f"--teacher_features={':'.join(names)}: the student's features are {ours} pixels, "
                f"the teacher's {its}: choose layers of the same height and width"
            )
        return tf.reduce_mean(attention_transfer(student, teacher, axis))

    def _divergence(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """Returns T^2 times the divergence of each example, float32 [B]."""
        student = tf.cast(student[:, self.skipped_outputs :], tf.float32)
        log_q = tf.nn.log_softmax(student / self.temperature)
        log_p = tf.nn.log_softmax(tf.cast(teacher, tf.float32) / self.temperature)
        return self.temperature**2 * tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1)


def attention_positions(features: tf.Tensor, channels_axis: int) -> list[Any]:
    """Returns height and width of features in pixels."""
    sides = features.shape.as_list()[1:]
    del sides[channels_axis - 1 if channels_axis > 0 else channels_axis]
    return sides


def attention_transfer(
    student: tf.Tensor, teacher: tf.Tensor, channels_axis: int = -1
) -> tf.Tensor:
    """Returns the squared distance of the attention maps of each example, float32 [B], 0 to 2.

    The map of a layer has the mean square of its channels at every position, divided by the
    Euclidean norm of the map: where the layer is active, and not how much.

    Args:
        student, teacher: [B, H, W, channels] of equal H and W, or with channels before them.
    """
    difference = _attention(student, channels_axis) - _attention(teacher, channels_axis)
    return tf.reduce_sum(difference**2, axis=1)


def _attention(features: tf.Tensor, channels_axis: int) -> tf.Tensor:
    squares = tf.reduce_mean(tf.cast(features, tf.float32) ** 2, axis=channels_axis)
    flat = tf.reshape(squares, [-1, math.prod(attention_positions(features, channels_axis))])
    return tf.math.l2_normalize(flat, axis=1)


def of_flags(
    flags: DistillationParams, hard: Loss, skipped_outputs: int, data_format: str = "NHWC"
) -> Distillation:
    """Returns the loss of the flags, given the loss of the labels."""
    return Distillation(
        hard,
        flags.distillation_temperature,
        flags.hard_label_share,
        skipped_outputs,
        feature_pairs=flags.feature_pairs,
        features_weight=flags.teacher_features_weight,
        channels_axis=1 if data_format == "NCHW" else -1,
    )
