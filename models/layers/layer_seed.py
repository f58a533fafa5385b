"""Where a random layer takes its seed from."""

from __future__ import annotations

import keras
import tensorflow as tf

from models import forward_pass


def layer_seed(layer_name: str, generator: keras.random.SeedGenerator) -> tf.Tensor:
    """An int32 [2] seed, of the network call and the layer's name.

    In plain Keras use there is no such call, and `generator` gives the seed.

    Keras draws from a counter that a MirroredStrategy keeps equal on all towers, so that all of
    them would drop the same units; the seed of a network call differs per tower and needs no
    counter to resume.
    """
    current_pass = forward_pass.current()
    if current_pass is None:
        return tf.bitcast(tf.convert_to_tensor(generator.next()), tf.int32)
    return current_pass.layer_seed(layer_name)
