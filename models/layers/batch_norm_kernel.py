"""Batch norm on TensorFlow's fused kernel, for the layers of Keras and of TF-Slim alike."""

from __future__ import annotations

import tensorflow as tf

from models.layers.sync_batch_norm import synchronized_batch_norm


def normalize_with_batch_statistics(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    *,
    moving_mean: tf.Tensor,
    epsilon: float,
    layout: str,
    synchronized: bool,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises with the moments of the batch, or of all towers' batches with `synchronized`.

    inputs: [B, H, W, C] or, with layout "NCHW", [B, C, H, W]. gamma, beta, moving_mean: float32
    [C]. Returns (outputs, mean, variance): outputs as inputs, the rest float32 [C], the variance
    divided by N - 1 over the N values of a channel. `moving_mean` is where the moments of several
    towers are taken from (models/layers/sync_batch_norm.py).
    """
    if synchronized and _num_towers() > 1:
        return synchronized_batch_norm(
            inputs, gamma, beta, shift=moving_mean, epsilon=epsilon, layout=layout
        )
    unused = tf.zeros([0], tf.float32)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=unused,
        variance=unused,
        epsilon=epsilon,
        data_format=layout,
        is_training=True,
    )
    return outputs, mean, variance


def normalize_with_moving_statistics(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    *,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
    layout: str,
) -> tf.Tensor:
    """Normalises with these moments, float32 [C]; the rest is as with batch statistics."""
    outputs, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        data_format=layout,
        is_training=False,
    )
    return outputs


def _num_towers() -> int:
    replica_context = tf.distribute.get_replica_context()
    return 1 if replica_context is None else replica_context.num_replicas_in_sync
