"""A tower's part of a step: forward pass, loss and backward pass of its share of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from benchmark_cnn.distribution.devices import HOST
from benchmark_cnn.interfaces import BatchAugmentation, MixedLabels, Network
from benchmark_cnn.objective.distillation import TaughtLabels
from benchmark_cnn.objective.losses import AUXILIARY_WEIGHT
from benchmark_cnn.step import metrics

SCALARS = ("cross_entropy", "aux_cross_entropy", "top_1", "top_5")
# Folded into the tower's key for its batch augmentation, so that no layer draws the same numbers.
_AUGMENTATION = 0x6D6978
_fold_in: Any = tf.random.fold_in  # the stubs say it returns an int


class TowerResult(NamedTuple):
    """Means over the examples of a tower.

    Attributes:
        gradients: one float32 tensor per trained variable, multiplied by the loss scale.
        statistics: the next value of each batch-norm moving statistic, float32.
        scalars: float32 [len(SCALARS)].
    """

    gradients: list[tf.Tensor]
    statistics: list[tf.Tensor]
    scalars: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Tower:
    """How every tower runs `network`.

    Attributes:
        loss: (ForwardResult, labels) -> (cross entropy, auxiliary cross entropy), scalars. With
            `augment`, the labels are MixedLabels.
        augment: changes a batch before the forward pass, or None.
        teacher: images -> (logits, features) that are targets, too, so that the labels of `loss`
            are TaughtLabels; or None.
        frozen: checkpoint names of the variables that are not trained.
    """

    network: Network
    loss: Callable
    augment: BatchAugmentation | None = None
    teacher: Callable[[tf.Tensor], tuple] | None = None
    frozen: frozenset[str] = frozenset()
    xla_compile: bool = False
    forward_only: bool = False

    @property
    def trained_names(self) -> list[str]:
        """Checkpoint names of the variables that gradients update."""
        return [name for name in self.network.trainable if name not in self.frozen]

    @property
    def trained(self) -> list[tf.Variable]:
        return [self.network.variables[name] for name in self.trained_names]

    @property
    def statistics_names(self) -> list[str]:
        """Checkpoint names of the moving statistics that move: those that are not trainable."""
        others = self.frozen.union(self.network.trainable)
        return [name for name in self.network.variables if name not in others]

    def run(self, micro_batches, *, seed: int, step, loss_scale) -> TowerResult:
        """Computes the gradients of this tower's mean loss. Called inside a tower.

        Args:
            micro_batches: one or more pairs of images [B, H, W, 3] uint8 or float32, 0..255, and
                labels [B] int32, 0-based; their gradients are averaged.
            seed, step: with the numbers of tower and micro-batch, the key of all randomness.
            loss_scale: float32 scalar tensor, or None.
        """
        return self.compute(self.prepare(micro_batches, seed=seed, step=step), loss_scale)

    def prepare(self, micro_batches, *, seed: int, step) -> list[tuple]:
        """Augments the batches; returns (images, labels, key) of each. See `run`.

        It is not compiled: XLA draws other random numbers.
        """
        tower = tf.distribute.get_replica_context().replica_id_in_sync_group
        prepared = []
        for number, (images, labels) in enumerate(micro_batches):
            key = _random_key(seed, step, tower, number)
            if self.network.background_class:
                labels = metrics.after_background(labels)
            if self.augment is not None:
                with tf.device(HOST):
                    augmentation_key = _fold_in(key, _AUGMENTATION)
                images, labels = self.augment(images, labels, augmentation_key)
            prepared.append((images, labels, key))
        return prepared

    def compute(self, prepared, loss_scale) -> TowerResult:
        """Runs the forward and backward passes of what `prepare` returned; means over them."""
        compute = self._forward_backward
        if self.xla_compile:
            # One function per tower: a shared trace would hold another tower's variables.
            compute = tf.function(compute, jit_compile=True, autograph=False)
        total: Any = None
        for images, labels, key in prepared:
            # One micro-batch after the other, so that memory holds the activations of one.
            with tf.control_dependencies([] if total is None else tf.nest.flatten(total)):
                images = tf.identity(images)
            result = compute(images, labels, key, loss_scale)
            total = result if total is None else tf.nest.map_structure(tf.add, total, result)
        if len(prepared) > 1:
            total = tf.nest.map_structure(lambda t: t / len(prepared), total)
        return total

    def _forward_backward(self, images, labels, key, loss_scale) -> TowerResult:
        targets = labels
        if self.teacher is not None:  # outside of the tape: it is not trained
            targets = TaughtLabels(labels, *self.teacher(images))
        # A tape that does not watch the frozen variables records nothing below the lowest trained
        # layer: there is no backward pass.
        with tf.GradientTape(watch_accessed_variables=not self.frozen) as tape:
            if self.frozen:
                tape.watch(self.trained)
            output = self.network(
                images, training=not self.forward_only, seed=key, frozen=self.frozen
            )
            cross_entropy, aux_cross_entropy = self.loss(output, targets)
            loss = cross_entropy + AUXILIARY_WEIGHT * aux_cross_entropy
        # The backward pass starts from the value of the loss. Where a gradient needs only the shape
        # of a weight's output, TensorFlow's graph optimizer drops the edge that orders the forward
        # pass before the weight's update, and the loss is sometimes that of the new weight.
        start, cross_entropy, aux_cross_entropy = tf.identity_n(
            [
                tf.ones([]) if loss_scale is None else loss_scale,
                cross_entropy,
                aux_cross_entropy,
            ]
        )
        gradients = [] if self.forward_only else self._gradients(tape, loss, start)
        label = labels.first if isinstance(labels, MixedLabels) else labels
        rank = metrics.rank(tf.stop_gradient(output.logits), label)
        top_1, top_5 = (tf.reduce_mean(tf.cast(rank < k, tf.float32)) for k in (1, 5))
        scalars = tf.stack([cross_entropy, aux_cross_entropy, top_1, top_5])
        if self.forward_only:
            return TowerResult([], [], scalars)
        statistics = [output.statistics[name] for name in self.statistics_names]
        return TowerResult(gradients, statistics, scalars)

    def _gradients(self, tape: tf.GradientTape, loss, start) -> list[tf.Tensor]:
        gradients = tape.gradient(loss, self.trained, output_gradients=start)
        unused = [n for n, g in zip(self.trained_names, gradients, strict=True) if g is None]
        if unused:
            raise ValueError(f"trainable variables without a gradient: {', '.join(unused)}")
        return [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients]


def _random_key(seed: int, step, tower, micro_batch: int) -> tf.Tensor:
    """Returns a key, int32 [2], that differs for every step, tower and micro-batch of a run.

    Kernels of GPUs read seeds from the host's memory, and write random numbers to their own.
    """
    with tf.device(HOST):
        key = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
        return _fold_in(_fold_in(key, tower), micro_batch)
