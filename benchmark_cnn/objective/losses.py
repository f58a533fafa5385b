"""The losses of `--loss`: softmax cross entropy, binary cross entropy and focal loss.

Every loss here is linear in the target: the loss of a mixture of labels is the mixture of their
losses. Label smoothing, mixup and CutMix mix the target, so that they need no further formula, and
a class's weight goes with its label. A threshold makes targets of 0 and 1 of the shares.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark_cnn.interfaces import ForwardResult, MixedLabels
from benchmark_cnn.params.training_params import OptimizationParams

# Weight of the auxiliary classifier's loss (the released TF-Slim Inception and NASNet training
# code; GoogLeNet, arXiv:1409.4842 section 5, used 0.3).
AUXILIARY_WEIGHT = 0.4
SOFTMAX, BCE, FOCAL = "softmax", "bce", "focal"

_NAMES = {
    SOFTMAX: "softmax cross entropy",
    BCE: "binary cross entropy, mean over the classes",
    FOCAL: "focal",
}
_TINY = 1e-30  # keeps the slope of (1 - p)^gamma finite where p is 1 and gamma below 1

Labels = tf.Tensor | MixedLabels
"""Integers [B] in 0..C-1, or float32 [B, C] with 1 for each class of an image; or mixtures."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of a run; called, it returns the means over a batch.

    With p the softmax (softmax, focal) or the sigmoid (bce) of the logits, the loss of label y is

        softmax  -log p[y]
        focal    -(1 - p[y])^gamma log p[y]                           (arXiv:1708.02002, eq. 4)
        bce      -(log p[y] + sum over c != y of log(1 - p[c])) / C

    Where an image may have several labels, the focal loss is that of C sigmoids and, like bce, a
    mean over the classes.

    Attributes:
        name: SOFTMAX, BCE or FOCAL.
        gamma: of the focal loss.
        smoothing: share e of the target that is spread evenly over all C outputs (arXiv:1512.00567
            section 7). Where an image may have several labels, each target t becomes
            (1 - e) t + e / 2, as in Keras.
        weights: float32 [C], or None: multiplies the loss of a label's example, all of its target.
            The mean divides by the number of examples, not by the sum of their weights, so that a
            batch on several towers has the loss and the gradient of one.
        about_weights: for `str`.
        threshold: with bce, shares of mixed labels above it become targets of 1, the others of 0,
            as in timm; None for the shares themselves.
    """

    name: str = SOFTMAX
    gamma: float = 2.0
    smoothing: float = 0.0
    weights: np.ndarray | None = None
    about_weights: str = ""
    threshold: float | None = None

    def __call__(self, output: ForwardResult, labels: Labels) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the mean losses of the logits and of the auxiliary logits, 0 without any."""
        main = tf.reduce_mean(self.of_each_example(output.logits, labels))
        if output.aux_logits is None:
            return main, tf.zeros([])
        return main, tf.reduce_mean(self.of_each_example(output.aux_logits, labels))

    def __str__(self) -> str:
        parts = [_NAMES[self.name]]
        if self.name == FOCAL:
            parts = [f"focal, gamma {self.gamma:g}"]
        if self.smoothing:
            parts.append(f"label smoothing {self.smoothing:g}")
        if self.threshold is not None:
            parts.append(f"targets of 1 above a share of {self.threshold:g}")
        if self.about_weights:
            parts.append(self.about_weights)
        return "; ".join(parts)

    def unweighted(self) -> Loss:
        """Returns the loss that evaluations report: without weights and label smoothing."""
        return dataclasses.replace(
            self, smoothing=0.0, threshold=None, weights=None, about_weights=""
        )

    def of_each_example(
        self, logits: tf.Tensor, labels: Labels, dtype: tf.DType = tf.float32
    ) -> tf.Tensor:
        """Computes the loss of each example, [B] of `dtype`.

        Args:
            logits: [B, C], any float type; computed in `dtype`.
            labels: see `Labels`. An integer out of range raises an error on a CPU, and gives NaN on
                a GPU.
        """
        logits = tf.cast(logits, dtype)
        if self.name == SOFTMAX:
            terms: _Terms = _Softmax(logits)
        else:
            of_one = labels.first if isinstance(labels, MixedLabels) else labels
            terms = _Separate(self._of_yes_and_no(logits, of_one.dtype.is_floating))
        if not isinstance(labels, MixedLabels):
            return self._of_labels(terms, labels)
        share = tf.cast(labels.share_of_first, dtype)
        if self.threshold is not None and isinstance(terms, _Separate):
            return terms.of_targets(_above(labels, share, tf.shape(logits)[1], self.threshold))
        first, second = (self._of_labels(terms, part) for part in (labels.first, labels.second))
        return share * first + (1.0 - share) * second

    def _of_labels(self, terms: _Terms, labels: tf.Tensor) -> tf.Tensor:
        losses = terms.of_label(labels)
        if self.smoothing:
            spread = terms.of_even_target(labels.dtype.is_floating)
            losses = (1.0 - self.smoothing) * losses + self.smoothing * spread
        if self.weights is None:
            return losses
        return losses * tf.gather(tf.constant(self.weights, losses.dtype), labels)

    def _of_yes_and_no(self, logits: tf.Tensor, has_several: bool) -> tuple[Any, Any]:
        """Returns the cost of each output, [B, C], if the target is 1 there, and if it is 0."""
        if self.name == FOCAL and not has_several:
            log_p = tf.nn.log_softmax(logits)
            rest = tf.maximum(-tf.math.expm1(log_p), _TINY)
            return -(rest**self.gamma) * log_p, tf.zeros_like(logits)
        num_classes = tf.cast(tf.shape(logits)[1], logits.dtype)
        # -log(sigmoid(z)) and -log(1 - sigmoid(z)), exact for any z.
        yes, no = tf.nn.softplus(-logits), tf.nn.softplus(logits)
        if self.name == FOCAL:
            yes, no = tf.exp(-self.gamma * no) * yes, tf.exp(-self.gamma * yes) * no
        return yes / num_classes, no / num_classes


CROSS_ENTROPY = Loss()


def of_flags(flags: OptimizationParams) -> Loss:
    """Returns the loss of `--loss`, without the weights of classes, which only the data know."""
    smoothing, threshold = flags.label_smoothing, flags.bce_target_threshold
    return Loss(flags.loss, flags.focal_gamma, smoothing, threshold=threshold)


def cross_entropy(logits: tf.Tensor, labels: Labels, label_smoothing: float = 0.0) -> tf.Tensor:
    """Computes the mean softmax cross entropy of a batch, in nats, float32; see `Loss`."""
    return tf.reduce_mean(Loss(smoothing=label_smoothing).of_each_example(logits, labels))


def _above(
    labels: MixedLabels, share: tf.Tensor, num_classes: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Returns targets [B, C] of 0 and 1: whether the share of a class is above the threshold."""

    def of_classes(part: tf.Tensor) -> tf.Tensor:
        if part.dtype.is_floating:
            return tf.cast(part, share.dtype)
        return tf.one_hot(part, num_classes, dtype=share.dtype)

    share = share[:, tf.newaxis]
    targets = share * of_classes(labels.first) + (1.0 - share) * of_classes(labels.second)
    return tf.cast(targets > threshold, share.dtype)


class _Softmax:
    """Softmax cross entropy, by the fused kernel: no [B, C] target is built."""

    def __init__(self, logits: tf.Tensor):
        self._logits = logits

    def of_label(self, labels: tf.Tensor) -> tf.Tensor:
        if self._logits.dtype != tf.float64:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=labels, logits=self._logits
            )
        # The fused kernel has no float64 on GPUs: the logits would come to the host.
        labels = tf.cast(labels, tf.int64)
        losses = -tf.gather(tf.nn.log_softmax(self._logits), labels, batch_dims=1)
        num_classes = tf.shape(self._logits, tf.int64)[1]
        is_class = tf.logical_and(labels >= 0, labels < num_classes)
        return tf.where(is_class, losses, tf.constant(float("nan"), tf.float64))

    def of_even_target(self, has_several: bool) -> tf.Tensor:
        del has_several
        return -tf.reduce_mean(tf.nn.log_softmax(self._logits), axis=1)


class _Separate:
    """A loss that is a sum over the outputs, each with a target of its own in 0..1."""

    def __init__(self, of_yes_and_no: tuple[tf.Tensor, tf.Tensor]):
        yes, no = of_yes_and_no
        self._of_nothing = tf.reduce_sum(no, axis=1)
        self._gain = yes - no

    def of_label(self, labels: tf.Tensor) -> tf.Tensor:
        if labels.dtype.is_floating:
            return self.of_targets(tf.cast(labels, self._gain.dtype))
        return self._of_nothing + tf.gather(self._gain, labels, axis=1, batch_dims=1)

    def of_targets(self, targets: tf.Tensor) -> tf.Tensor:
        return self._of_nothing + tf.reduce_sum(targets * self._gain, axis=1)

    def of_even_target(self, has_several: bool) -> tf.Tensor:
        if has_several:
            return self._of_nothing + tf.reduce_sum(self._gain, axis=1) / 2
        return self._of_nothing + tf.reduce_mean(self._gain, axis=1)


_Terms = _Softmax | _Separate
