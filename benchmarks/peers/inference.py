"""Ways to answer one batch of random images: with folded batch norm, as trained, and by Keras.

Each function builds a candidate and returns a call that answers the batch `steps` times. TensorFlow
is imported by the process that calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import training

if TYPE_CHECKING:
    from benchmarks.rounds import Run


def folded(model: str, steps: int, *, image_size: int, batch_size: int, dtype: str) -> Run:
    """Answers as eval.py and prediction.py do: batch norm is part of the convolutions."""
    network = training.build(model, image_size, dtype=dtype).for_inference()
    network.update()
    return _answers(network, steps, image_size, batch_size)


def as_trained(model: str, steps: int, *, image_size: int, batch_size: int) -> Run:
    """Answers by a tf.function over the network as it is trained."""
    network = training.build(model, image_size)
    return _answers(
        lambda images: network(images, training=False).logits, steps, image_size, batch_size
    )


def _answers(function: Any, steps: int, image_size: int, batch_size: int) -> Run:
    import tensorflow as tf

    images = tf.constant(training.batch(image_size, batch_size)[0])
    answer: Any = tf.function(function, autograph=False)

    def run() -> None:
        for _ in range(steps):
            answer(images).numpy()

    return run


def predict(model: str, steps: int, *, image_size: int, batch_size: int) -> Run:
    """Answers by `predict` of the same network in Keras' own layers."""
    network = training.keras_model(model, image_size)
    data = training.repeated(training.batch(image_size, batch_size)[:1])

    def run() -> None:
        network.predict(data, steps=steps, verbose=0)

    return run
