"""Prints the peak memory of this process in bytes after two training steps.

python -m tests.models.peak_memory NAME BATCH_SIZE [--recompute]
"""

from __future__ import annotations

import sys

import tensorflow as tf

from models import registry


def main(name: str, batch_size: int, *, recompute: bool) -> None:
    # One operation at a time: otherwise chance decides how many have their outputs at once.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    spec = registry.get(name)
    network = spec.build(num_classes=1000, image_size=spec.image_size)
    if recompute:
        network = network.recomputing()
    variables = [network.variables[key] for key in network.trainable]
    shape = [batch_size, spec.image_size, spec.image_size, 3]

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        images = tf.zeros(shape, tf.uint8)
        labels = tf.zeros([batch_size], tf.int32)
        with tf.GradientTape() as tape:
            logits = network(images, training=True, seed=tf.constant([1, 2])).logits
            cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
            loss = tf.reduce_mean(cross_entropy(labels, logits))
        return tape.gradient(loss, variables)

    for _ in range(2):
        step()
    print(peak_bytes())


def peak_bytes() -> int:
    """Returns the most memory that this process had at once.

    getrusage is of no use for it: a process begins there with the memory of the one that starts it.
    """
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    kilobyte = 1024
    return int(line.split()[1]) * kilobyte


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), recompute="--recompute" in sys.argv)
