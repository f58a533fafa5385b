"""One tower: forward pass, loss, backward pass of one device's share of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from benchmark_cnn.interfaces import BatchAugmentation, Network
from benchmark_cnn.step import losses, metrics

SCALARS = ("cross_entropy", "aux_cross_entropy", "top_1", "top_5")
# What a batch's augmentation folds into the tower's key, so that no layer draws the same numbers.
_AUGMENTATION = 0x6D6978
_fold_in: Any = tf.random.fold_in  # the stubs say it returns an int


class TowerResult(NamedTuple):
    """What one tower computed, as means over its examples.

    gradients: one float32 tensor per trainable variable, multiplied by the loss scale.
    statistics: the value each batch-norm moving statistic would take, float32.
    scalars: float32 [len(SCALARS)].
    """

    gradients: list[tf.Tensor]
    statistics: list[tf.Tensor]
    scalars: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Tower:
    """How every tower runs `network`.

    loss: (ForwardResult, labels) -> (cross entropy, auxiliary cross entropy), scalars. With
      `augment`, it is given `losses.MixedLabels`.
    augment: what changes a batch before the forward pass, or None.
    """

    network: Network
    loss: Callable
    augment: BatchAugmentation | None = None
    xla_compile: bool = False
    forward_only: bool = False

    @property
    def trainable(self) -> list[tf.Variable]:
        return [self.network.variables[name] for name in self.network.trainable]

    @property
    def statistics_names(self) -> list[str]:
        """Checkpoint names of the moving statistics: all variables that are not trained."""
        trainable = set(self.network.trainable)
        return [name for name in self.network.variables if name not in trainable]

    def run(self, micro_batches, *, seed: int, step, loss_scale) -> TowerResult:
        """Gradients of this tower's mean loss. Called inside a tower.

        Args:
          micro_batches: one or more pairs of images [B, H, W, 3] uint8 or float32, 0..255, and
            labels [B] int32, 0-based; their gradients are averaged.
          seed, step: with the tower's and the micro-batch's number, the key of all randomness.
          loss_scale: float32 scalar tensor, or None.
        """
        tower = tf.distribute.get_replica_context().replica_id_in_sync_group
        compute = self._forward_backward
        if self.xla_compile:
            # A function of this tower's own: a shared trace would hold another tower's variables.
            compute = tf.function(compute, jit_compile=True, autograph=False)
        total: Any = None
        for number, (images, labels) in enumerate(micro_batches):
            # One micro-batch after the other: their activations must not share the memory.
            with tf.control_dependencies([] if total is None else tf.nest.flatten(total)):
                images = tf.identity(images)
            key = _random_key(seed, step, tower, number)
            if self.network.background_class:
                labels = labels + 1
            if self.augment is not None:
                # Out of reach of XLA, whose random numbers are others.
                images, mixture = self.augment(images, labels, _fold_in(key, _AUGMENTATION))
                labels = losses.MixedLabels(*mixture)
            result = compute(images, labels, key, loss_scale)
            total = result if total is None else tf.nest.map_structure(tf.add, total, result)
        if len(micro_batches) > 1:
            total = tf.nest.map_structure(lambda t: t / len(micro_batches), total)
        return total

    def _forward_backward(self, images, labels, key, loss_scale) -> TowerResult:
        with tf.GradientTape() as tape:
            output = self.network(images, training=not self.forward_only, seed=key)
            cross_entropy, aux_cross_entropy = self.loss(output, labels)
            loss = cross_entropy + losses.AUXILIARY_WEIGHT * aux_cross_entropy
        # The backward pass begins at the value of the loss. Where a gradient needs only the shape
        # of what its weight gave, TensorFlow's graph optimizer forgets that the forward pass reads
        # that weight before it is updated, and the loss is sometimes that of the new weight.
        start, cross_entropy, aux_cross_entropy = tf.identity_n(
            [
                tf.ones([]) if loss_scale is None else loss_scale,
                cross_entropy,
                aux_cross_entropy,
            ]
        )
        gradients = [] if self.forward_only else self._gradients(tape, loss, start)
        label = labels.first if isinstance(labels, losses.MixedLabels) else labels
        rank = metrics.rank(tf.stop_gradient(output.logits), label)
        top_1, top_5 = (tf.reduce_mean(tf.cast(rank < k, tf.float32)) for k in (1, 5))
        scalars = tf.stack([cross_entropy, aux_cross_entropy, top_1, top_5])
        if self.forward_only:
            return TowerResult([], [], scalars)
        statistics = [output.statistics[name] for name in self.statistics_names]
        return TowerResult(gradients, statistics, scalars)

    def _gradients(self, tape: tf.GradientTape, loss, start) -> list[tf.Tensor]:
        gradients = tape.gradient(loss, self.trainable, output_gradients=start)
        unused = [n for n, g in zip(self.network.trainable, gradients, strict=True) if g is None]
        if unused:
            raise ValueError(f"trainable variables without a gradient: {', '.join(unused)}")
        return [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients]


def _random_key(seed: int, step, tower, micro_batch: int) -> tf.Tensor:
    """int32 [2], different for every (step, tower, micro-batch) of a run with `seed`."""
    key = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
    return _fold_in(_fold_in(key, tower), micro_batch)
