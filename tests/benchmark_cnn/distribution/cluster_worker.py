"""A worker of a cluster, or a process that trains alone, on a small network: for the tests.

    python -m tests.benchmark_cnn.distribution.cluster_worker JSON

The JSON object holds the flags, and `network`, the arguments of ConvNetwork.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from common import commands
from tests.benchmark_cnn import engine
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    Spec,
    random_examples,
    several_labels,
)

EXAMPLES = 50  # no multiple of a number of towers: an evaluation has padding
GLOBAL_BATCH = 24
STEPS = 6
EVERYTHING = {
    **engine.EVERYTHING,
    "eval_every_steps": 4,
    "save_model_steps": 2,
    "display_every": 1,
    "num_warmup_batches": 0,
}


class DealtData(ArrayData):
    """Deals the stream of ArrayData out in blocks, so that the global batches stay what they are.

    A block is what the towers of a worker take at once. Block k goes to worker k mod count.
    """

    def __init__(self, num_local_towers, multi_label=False, bad_batch=None):
        images, labels = random_examples(EXAMPLES if bad_batch is None else 8 * GLOBAL_BATCH)
        if bad_batch is not None:
            images = images.astype(np.float32)
            images[(bad_batch + 1) * GLOBAL_BATCH - 1, 0, 0, 0] = np.nan
        super().__init__(images, several_labels(labels) if multi_label else labels)
        self._num_local_towers = num_local_towers

    def train_batches(
        self, *, batch_size, image_size, seed, start_example=0, shard=(0, 1), subset="train"
    ):
        index, count = shard
        whole = super().train_batches(batch_size=1, image_size=image_size, seed=seed)
        blocks = whole.unbatch().batch(self._num_local_towers * batch_size).shard(count, index)
        batches = blocks.unbatch().skip(start_example).batch(batch_size, drop_remainder=True)
        if image_size == self.images.shape[1]:
            return batches
        size = [image_size, image_size]
        return batches.map(lambda images, *rest: (tf.image.resize(images, size, "nearest"), *rest))


def train(*, network, workers=1, bad_batch=None, **flags):
    """Trains; `flags` without a batch size, which follows from the number of towers.

    `bad_batch` is the global batch, from 0, that has a NaN.
    """
    flags = {**EVERYTHING, "num_batches": STEPS, "num_gpus": 1, **flags}
    towers = workers * flags["num_gpus"] * flags["gradient_accumulation_steps"]
    params = make_params(device="cpu", batch_size=GLOBAL_BATCH // towers, **flags)
    spec = Spec(lambda: ConvNetwork(**network))
    multi_label = flags.get("loss") == "bce"
    return training.train(params, spec, DealtData(flags["num_gpus"], multi_label, bad_batch))


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    sys.exit(commands.run(lambda: train(**settings) and None, debug=False))
