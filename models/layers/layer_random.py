"""The random numbers of a layer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models import forward_pass


def layer_uniform(
    layer_name: str, shape: tf.Tensor, generator: keras.random.SeedGenerator | None
) -> tf.Tensor:
    """Uniform float32 numbers in [0, 1] that depend on the call's seed and the layer's name only.

    In plain Keras use there is no such call, and `generator` gives the seed. Keras always draws so,
    from a counter that a MirroredStrategy keeps equal on all towers: all of them would drop the
    same units, and a resumed run would need that counter.

    The bits of Philox are the same with and without XLA; TensorFlow's own floats are not.

    Raises:
      RuntimeError: neither a call with a seed nor a generator.
    """
    current_pass = forward_pass.current()
    if current_pass is not None:
        seed = current_pass.layer_seed(layer_name)
    elif generator is not None:
        seed = tf.convert_to_tensor(generator.next())
    else:
        raise RuntimeError(f"layer {layer_name!r} runs only in a Network: there is no forward pass")
    full_range: Any = None
    bits = tf.random.stateless_uniform(
        shape, seed, full_range, full_range, dtype=tf.uint32, alg="philox"
    )
    return tf.cast(bits, tf.float32) * 2.0**-32
