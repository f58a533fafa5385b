"""Losses: cross entropy with label smoothing, and weight decay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from benchmark_cnn.interfaces import ForwardResult, MixedLabels

# Weight of the auxiliary classifier's cross entropy (the released TF-Slim Inception and NASNet
# training code; GoogLeNet, arXiv:1409.4842 section 5, used 0.3).
AUXILIARY_WEIGHT = 0.4


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor | MixedLabels, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Computes the mean softmax cross entropy of a batch, in nats, float32.

    With smoothing e the target is 1-e on the label plus e spread evenly over all C outputs
    (arXiv:1512.00567 section 7), which is (1-e) * CE + e * mean over classes of -log softmax:
    no [B, C] target is built.

    Args:
        logits: [B, C], any float type; computed in float32.
        labels: integers [B] in 0..C-1, or a mixture of two. Out of range, TensorFlow raises on a
            CPU and returns NaN on a GPU.
        label_smoothing: e, in 0..1.
    """
    logits = tf.cast(logits, tf.float32)
    hard = tf.reduce_mean(_of_each_example(logits, labels))
    if not label_smoothing:
        return hard
    uniform = -tf.reduce_mean(tf.nn.log_softmax(logits))
    return (1.0 - label_smoothing) * hard + label_smoothing * uniform


def _of_each_example(logits: tf.Tensor, labels: tf.Tensor | MixedLabels) -> tf.Tensor:
    """Returns the cross entropy without smoothing, float32 [B]. It is linear in the target."""
    if not isinstance(labels, MixedLabels):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    share = labels.share_of_first
    first, second = (_of_each_example(logits, part) for part in (labels.first, labels.second))
    return share * first + (1.0 - share) * second


def l2_penalty(tensors: Sequence[tf.Tensor | tf.Variable], weight_decay: float) -> tf.Tensor:
    """Computes `0.5 * weight_decay * sum of squares`; its gradient is `weight_decay * v`.

    Args:
        tensors: float32, any shapes, summed in this order (which has to be the network's: the
            order of a set differs from run to run). None at all give 0.
        weight_decay: the L2 factor.
    """
    if not tensors or not weight_decay:
        return tf.zeros([], tf.float32)
    return weight_decay * tf.add_n([tf.nn.l2_loss(tensor) for tensor in tensors])


def decayed_names(network_decayed: Iterable[str], exclude_regex: str | None) -> frozenset[str]:
    """Returns the checkpoint names of the variables that decay.

    Args:
        network_decayed: names of the conv, depthwise and dense kernels, as the network lists them.
        exclude_regex: excludes the names in which it is found, anywhere; None excludes nothing.
    """
    if exclude_regex is None:
        return frozenset(network_decayed)
    excluded = re.compile(exclude_regex)
    return frozenset(name for name in network_decayed if not excluded.search(name))


def classification_loss(label_smoothing: float) -> Callable:
    """Returns the cross entropies of the logits and of the auxiliary logits, 0 without any."""

    def loss(output: ForwardResult, labels):
        main = cross_entropy(output.logits, labels, label_smoothing)
        if output.aux_logits is None:
            return main, tf.zeros([])
        return main, cross_entropy(output.aux_logits, labels, label_smoothing)

    return loss
